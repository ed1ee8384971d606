// SPDX-License-Identifier: LGPL-2.1-or-later
// close and its relatives, in the place of libc's: see close.hpp. dup2 and dup3 give a number to
// another file in one step; when they return the kernel has taken its offer back.
//
// The functions are exported without a symbol version, like those in sigaction.cc.
#include "close.hpp"

#include "give_up.hpp"
#include "warm.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

// libc's own close, by its second name.
extern "C" int __close(int fd);

namespace stm::library {
namespace {

// Numbers are small and dense. If two share a count, that only costs a system call now and then.
constexpr std::size_t kCounts = 4096;
constinit std::atomic<unsigned> counts[kCounts];

std::atomic<unsigned>& count_of(unsigned fd) {
    return counts[fd % kCounts];
}

// For any thread that gets the number, the system call that follows comes after this.
void count_close(unsigned fd) {
    count_of(fd).fetch_add(1, std::memory_order_seq_cst);
    forget_warm(fd, fd);
}

void count_closes(unsigned first, unsigned last) {
    forget_warm(first, last);
    if (last - first >= kCounts) // all of them
        last = first + (kCounts - 1);
    for (unsigned fd = first; fd - first <= last - first; ++fd)
        count_of(fd).fetch_add(1, std::memory_order_seq_cst);
}

// The descriptors of the calling process, as /proc lists them. It allocates no memory, because
// closefrom is called between fork and exec. It is no cancellation point, unlike close and open.
class OpenDescriptors {
public:
    // If no descriptor is free for /proc, descriptors from `first` on are closed one by one until
    // one is.
    explicit OpenDescriptors(unsigned first) {
        for (unsigned fd = first; (folder_ = open_folder()) < 0 && errno == EMFILE; ++fd) {
            if (fd > kLastDescriptor)
                break;
            count_close(fd);
            ::syscall(SYS_close, fd);
        }
    }
    ~OpenDescriptors() {
        if (folder_ >= 0)
            ::syscall(SYS_close, folder_);
    }
    OpenDescriptors(const OpenDescriptors&) = delete;
    OpenDescriptors& operator=(const OpenDescriptors&) = delete;

    // Closes all from `first` on. Returns false if they cannot be listed.
    [[nodiscard]] bool close_from(unsigned first) {
        if (folder_ < 0)
            return false;
        for (;;) {
            const long bytes = ::syscall(SYS_getdents64, folder_, entries_, sizeof entries_);
            if (bytes < 0)
                return false;
            if (bytes == 0)
                return true;
            if (close_listed(static_cast<std::size_t>(bytes), first) &&
                ::lseek(folder_, 0, SEEK_SET) < 0) // the list has changed behind us
                return false;
        }
    }

private:
    static constexpr unsigned kLastDescriptor = 0x7fffffff;
    // A record of getdents64 has the inode's number, the next place, the length and the type before
    // the name.
    static constexpr std::size_t kLengthAt = 16;
    static constexpr std::size_t kNameAt = 19;

    static int open_folder() {
        return static_cast<int>(
            ::syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }

    bool close_listed(std::size_t bytes, unsigned first) {
        bool closed = false;
        std::uint16_t length = 0;
        for (std::size_t at = 0; at < bytes; at += length) {
            std::memcpy(&length, entries_ + at + kLengthAt, sizeof length);
            unsigned fd = 0;
            const char* digit = entries_ + at + kNameAt;
            if (*digit == '.')
                continue;
            for (; *digit != '\0'; ++digit)
                fd = fd * 10 + static_cast<unsigned>(*digit - '0');
            if (fd < first || fd == static_cast<unsigned>(folder_))
                continue;
            count_close(fd);
            ::syscall(SYS_close, fd);
            closed = true;
        }
        return closed;
    }

    int folder_ = -1;
    char entries_[1024];
};

} // namespace

const std::atomic<unsigned>* closes_place_of(int fd) {
    return &count_of(static_cast<unsigned>(fd));
}

unsigned closes_of(int fd) {
    return count_of(static_cast<unsigned>(fd)).load(std::memory_order_acquire);
}

} // namespace stm::library

using stm::library::count_close;
using stm::library::count_closes;
using stm::library::OpenDescriptors;

extern "C" {

[[gnu::visibility("hidden")]] int stm_library_close(int fd) {
    count_close(static_cast<unsigned>(fd));
    return __close(fd);
}

#pragma GCC visibility push(default)

[[gnu::alias("stm_library_close")]] int close(int fd);

int close_range(unsigned first, unsigned last, int flags) noexcept {
    if (first <= last)
        count_closes(first, last);
    return static_cast<int>(::syscall(SYS_close_range, first, last, flags));
}

void closefrom(int first) noexcept {
    const unsigned from = first < 0 ? 0 : static_cast<unsigned>(first);
    if (close_range(from, ~0U, 0) == 0)
        return;
    // The kernel does not have that call, or a filter refuses it.
    OpenDescriptors all(from);
    if (!all.close_from(from))
        stm::library::give_up("stm: closefrom(%d): the open descriptors cannot be listed\n", first);
}

#pragma GCC visibility pop
} // extern "C"

bool stm::library::closes_are_counted() {
    // The function that the program finds. It is not ours if this library was loaded by dlopen.
    int (*volatile const found)(int) = &::close;
    int (*volatile const ours)(int) = &stm_library_close;
    return found == ours;
}
