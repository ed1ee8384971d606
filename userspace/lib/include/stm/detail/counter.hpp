// SPDX-License-Identifier: LGPL-2.1-or-later
// A number that many threads add to, and that few ask for.
#pragma once

#include <cstdint>
#include <stm/transaction.hpp>
#include <stm/var.hpp>
#include <unistd.h>

namespace stm::detail {

/** Spreads all bits of a number over all bits of another one. */
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
    return x ^ x >> 32;
}

/** Its threads add to different stripes, so they do not conflict. Zero bytes are zero. */
class counter {
public:
    /** Returns what this thread's part of it is then. */
    std::uint64_t add(const transaction& tx, std::uint64_t number) {
        // A thread that shares its part with another one, and conflicts, tries the next one.
        static thread_local const auto own = mix(static_cast<std::uint64_t>(::gettid()));
        var<std::uint64_t>& part = parts_[(own + tx.conflicts()) % kParts].number;
        const std::uint64_t sum = tx[part] + number;
        tx[part] = sum;
        return sum;
    }
    [[nodiscard]] std::uint64_t sum(const read_transaction& tx) const {
        std::uint64_t all = 0;
        for (const stripe& part : parts_)
            all += tx[part.number];
        return all;
    }

private:
    static constexpr std::uint64_t kParts = 8;
    struct alignas(64) stripe {
        var<std::uint64_t> number; // parts may be negative, modulo 2^64
    };
    stripe parts_[kParts];
};

/** The same in a container: made when it is first added to. Zero bytes are zero. */
class lazy_counter {
public:
    std::uint64_t add(const transaction& tx, std::uint64_t number) {
        ptr<counter> made = tx[counter_];
        if (made == nullptr)
            tx[counter_] = made = tx.make<counter>();
        return tx[made].add(tx, number);
    }
    [[nodiscard]] std::uint64_t sum(const read_transaction& tx) const {
        const ptr<counter> made = tx[counter_];
        return made == nullptr ? 0 : tx[made].sum(tx);
    }
    void clear(const transaction& tx) {
        tx.destroy(tx[counter_].get());
        tx[counter_] = nullptr;
    }

private:
    var<ptr<counter>> counter_;
};

} // namespace stm::detail
