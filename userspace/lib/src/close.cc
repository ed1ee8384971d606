// SPDX-License-Identifier: LGPL-2.1-or-later
// close and its relatives, in the place of libc's: see close.hpp. dup2 and dup3, which give a
// number to another file in one step, have taken the offer back when they return.
//
// They are exported without a symbol version, as those in sigaction.cc.
#include "close.hpp"

#include <atomic>
#include <cstddef>
#include <sys/syscall.h>
#include <unistd.h>

// libc's own, which has this second name.
extern "C" int __close(int fd);

namespace stm::library {
namespace {

// Numbers are small and dense. Two that share a count only cost a system call now and then.
constexpr std::size_t kCounts = 4096;
constinit std::atomic<unsigned> counts[kCounts];

std::atomic<unsigned>& count_of(unsigned fd) {
    return counts[fd % kCounts];
}

// The system call that follows is after it for whoever gets the number.
void count_close(unsigned fd) {
    count_of(fd).fetch_add(1, std::memory_order_seq_cst);
}

void count_closes(unsigned first, unsigned last) {
    if (last - first >= kCounts) // all of them
        last = first + (kCounts - 1);
    for (unsigned fd = first; fd - first <= last - first; ++fd)
        count_close(fd);
}

} // namespace

unsigned closes_of(int fd) {
    return count_of(static_cast<unsigned>(fd)).load(std::memory_order_acquire);
}

} // namespace stm::library

using stm::library::count_close;
using stm::library::count_closes;

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
    (void)close_range(first < 0 ? 0 : static_cast<unsigned>(first), ~0U, 0);
}

#pragma GCC visibility pop
} // extern "C"

bool stm::library::closes_are_counted() {
    // The first is what the program finds: not ours if this library was loaded by dlopen.
    int (*volatile const found)(int) = &::close;
    int (*volatile const ours)(int) = &stm_library_close;
    return found == ours;
}
