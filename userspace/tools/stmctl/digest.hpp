// SPDX-License-Identifier: GPL-2.0
// Digests of many bytes, which several threads can take: XXH3 of 128 bits of each 256 KiB, and of
// these digests. The manual says how to take it by other programs: stmctl(1), "copy".
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fmt/format.h>
#include <memory>
#include <new>
#include <string>
#include <vector>
#include <xxhash.h>

namespace stm::tools {

/** Of bytes one behind the other. */
class Digest {
public:
    Digest() : state_(::XXH3_createState(), &::XXH3_freeState) {
        if (!state_)
            throw std::bad_alloc();
        ::XXH3_128bits_reset(state_.get());
    }
    void add(const void* data, std::size_t size) {
        ::XXH3_128bits_update(state_.get(), data, size);
    }
    void add_zeros(std::uint64_t size) {
        static const char zeros[64 * 1024] = {};
        while (size != 0) {
            const auto part = std::min<std::uint64_t>(size, sizeof zeros);
            add(zeros, part);
            size -= part;
        }
    }
    /** In hexadecimal. */
    [[nodiscard]] std::string text() const {
        const XXH128_hash_t hash = ::XXH3_128bits_digest(state_.get());
        return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
    }

private:
    std::unique_ptr<XXH3_state_t, decltype(&::XXH3_freeState)> state_;
};

/** Of bytes in parts, of which the last one may be shorter. Threads may set different ones. */
class PartDigests {
public:
    static constexpr std::uint64_t kPart = 256 * 1024;

    explicit PartDigests(std::uint64_t size) : size_(size), parts_((size + kPart - 1) / kPart) {}

    /** An empty text: it is not known. */
    void set(std::uint64_t part, std::string digest) { parts_[part] = std::move(digest); }
    [[nodiscard]] bool has(std::uint64_t part) const { return !parts_[part].empty(); }
    [[nodiscard]] std::uint64_t count() const { return parts_.size(); }
    [[nodiscard]] std::uint64_t bytes_of(std::uint64_t part) const {
        return std::min(kPart, size_ - part * kPart);
    }
    /** Of all of them; those that are not known have zeros. */
    [[nodiscard]] std::string text() const {
        Digest all;
        std::string zeros;
        for (std::uint64_t part = 0; part < parts_.size(); ++part) {
            const bool shorter = bytes_of(part) != kPart;
            if (!has(part) && (zeros.empty() || shorter)) {
                Digest digest;
                digest.add_zeros(bytes_of(part));
                zeros = digest.text();
            }
            const std::string line = (has(part) ? parts_[part] : zeros) + "\n";
            all.add(line.data(), line.size());
        }
        return all.text();
    }

private:
    std::uint64_t size_;
    std::vector<std::string> parts_;
};

} // namespace stm::tools
