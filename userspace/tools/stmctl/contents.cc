// SPDX-License-Identifier: GPL-2.0
#include "contents.hpp"

#include "common/failure.hpp"
#include "common/text.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

namespace stm::tools {
namespace {

constexpr std::size_t kChunk = 256 * 1024; // what the module reads and writes at once
constexpr std::size_t kBlock = 4096;       // what becomes a hole or stays untouched

Failure stream_failure(const char* which) {
    return {Exit::failed, fmt::format("{}: {}", which, std::strerror(errno))};
}

// Standard output that leaves holes where it is a file that can have them.
class Output {
public:
    Output() {
        struct stat status;
        int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
        sparse_ = ::fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode) && flags >= 0 &&
                  (flags & O_APPEND) == 0;
        // An older file may have other bytes where the holes would be.
        off_t position = sparse_ ? ::lseek(STDOUT_FILENO, 0, SEEK_CUR) : -1;
        if (position < 0 || position < status.st_size)
            sparse_ = false;
    }

    void put(const char* data, std::size_t size) {
        while (size > 0) {
            std::size_t block = std::min(size, kBlock);
            bool zero = std::all_of(data, data + block, [](char byte) { return byte == 0; });
            if (sparse_ && zero) {
                if (::lseek(STDOUT_FILENO, static_cast<off_t>(block), SEEK_CUR) < 0)
                    throw stream_failure("standard output");
                data += block;
                size -= block;
                continue;
            }
            ssize_t put = ::write(STDOUT_FILENO, data, block);
            if (put < 0 && errno == EINTR)
                continue;
            if (put < 0)
                throw stream_failure("standard output");
            data += put;
            size -= static_cast<std::size_t>(put);
        }
    }

    // A hole at the very end is made by giving the file its length.
    void finish() {
        if (!sparse_)
            return;
        off_t end = ::lseek(STDOUT_FILENO, 0, SEEK_CUR);
        if (end < 0 || ::ftruncate(STDOUT_FILENO, end) < 0)
            throw stream_failure("standard output");
    }

private:
    bool sparse_ = false;
};

// Fills the buffer from standard input unless that ends first.
std::size_t read_input(std::vector<char>& buffer) {
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        ssize_t got = ::read(STDIN_FILENO, buffer.data() + filled, buffer.size() - filled);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            throw stream_failure("standard input");
        if (got == 0)
            break;
        filled += static_cast<std::size_t>(got);
    }
    return filled;
}

} // namespace

void dump_region(const Module& module, const Selector& region) {
    Descriptor handle = module.open(region, Access::read);
    Output output;
    std::vector<char> buffer(kChunk);
    for (off_t position = 0;;) {
        ssize_t got = ::pread(handle.get(), buffer.data(), buffer.size(), position);
        if (got < 0)
            throw region_failure(errno, region.text(), region.argument());
        if (got == 0)
            break;
        output.put(buffer.data(), static_cast<std::size_t>(got));
        position += got;
    }
    output.finish();
}

void load_region(const Module& module, const Selector& region) {
    Descriptor handle = module.open(region, Access::read_write);
    // Seeking counts as the first use, which gives a region its size.
    off_t end = ::lseek(handle.get(), 0, SEEK_END);
    if (end < 0)
        throw region_failure(errno, region.text(), region.argument());
    auto room = static_cast<std::uint64_t>(end);
    std::vector<char> input(kChunk);
    std::vector<char> present(kChunk);
    std::uint64_t position = 0;
    while (std::size_t filled = read_input(input)) {
        std::size_t fits = std::min<std::uint64_t>(filled, room - position);
        ssize_t got = ::pread(handle.get(), present.data(), fits, static_cast<off_t>(position));
        if (got < 0)
            throw region_failure(errno, region.text(), region.argument());
        for (std::size_t at = 0; at < fits; at += kBlock) {
            std::size_t block = std::min(kBlock, fits - at);
            if (at + block <= static_cast<std::size_t>(got) &&
                std::memcmp(&input[at], &present[at], block) == 0)
                continue;
            ssize_t put =
                ::pwrite(handle.get(), &input[at], block, static_cast<off_t>(position + at));
            if (put < 0)
                throw region_failure(errno, region.text(), region.argument());
            if (static_cast<std::size_t>(put) != block)
                throw Failure(Exit::failed, "the region took less than it has room for");
        }
        position += fits;
        if (fits < filled)
            throw Failure(
                Exit::failed,
                fmt::format("the input is longer than region '{}', which has {} bytes; these "
                            "were written",
                            printable(region.text()), room));
    }
}

} // namespace stm::tools
