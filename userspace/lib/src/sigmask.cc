// SPDX-License-Identifier: LGPL-2.1-or-later
// pthread_sigmask, sigprocmask and their relatives, in the place of libc's: see mask.hpp. They do
// what libc's do, except that within a transaction the signals of faults stay unblocked.
//
// They are exported without a symbol version, like those in sigaction.cc.
#include "mask.hpp"

#include <cerrno>

using stm::library::program_mask;
using stm::library::to_mask;
using stm::library::to_set;

namespace {

int with_errno(int error) {
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

int change_one(int how, int number) {
    sigset_t one;
    sigemptyset(&one);
    if (sigaddset(&one, number) < 0)
        return -1;
    return with_errno(program_mask(how, &one, nullptr));
}

// The masks of BSD: of the first 32 signals, signal N is bit N - 1.
int change_first(int how, int mask) {
    const sigset_t set = to_set(static_cast<unsigned>(mask));
    sigset_t before = to_set(0);
    if (with_errno(program_mask(how, &set, &before)) < 0)
        return -1;
    return static_cast<int>(to_mask(before));
}

} // namespace

extern "C" {

[[gnu::visibility("hidden")]] int stm_library_sigmask(int how, const sigset_t* set,
                                                      sigset_t* old) noexcept {
    return program_mask(how, set, old);
}

#pragma GCC visibility push(default)

[[gnu::alias("stm_library_sigmask")]] int pthread_sigmask(int how, const sigset_t* set,
                                                          sigset_t* old) noexcept;

int sigprocmask(int how, const sigset_t* set, sigset_t* old) noexcept {
    return with_errno(program_mask(how, set, old));
}

int sighold(int number) noexcept {
    return change_one(SIG_BLOCK, number);
}

int sigrelse(int number) noexcept {
    return change_one(SIG_UNBLOCK, number);
}

int sigblock(int mask) noexcept {
    return change_first(SIG_BLOCK, mask);
}

int sigsetmask(int mask) noexcept {
    return change_first(SIG_SETMASK, mask);
}

#pragma GCC visibility pop
} // extern "C"

bool stm::library::masks_are_seen() {
    // The function that the program finds. It is not ours if this library was loaded by dlopen.
    int (*volatile const found)(int, const sigset_t*, sigset_t*) = &::pthread_sigmask;
    int (*volatile const ours)(int, const sigset_t*, sigset_t*) = &stm_library_sigmask;
    return found == ours;
}
