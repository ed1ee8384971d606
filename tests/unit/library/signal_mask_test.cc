// SPDX-License-Identifier: GPL-2.0
// The library blocks all signals for a moment when a program installs a handler, and when it forks.
// The kernel may fail to read the new mask, or to write the old one: then the thread's mask must
// not stay what it was for that moment.
#include "actions.hpp"

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr std::size_t kBytesOfMask = 8; // the kernel's

int failing = 0; // which change of the mask from now on fails, 1 is the next; 0: none

long kernel(long number, const long (&arguments)[6]) {
    long result = number;
    register long fourth asm("r10") = arguments[3];
    register long fifth asm("r8") = arguments[4];
    register long sixth asm("r9") = arguments[5];
    asm volatile("syscall"
                 : "+a"(result)
                 : "D"(arguments[0]), "S"(arguments[1]), "d"(arguments[2]), "r"(fourth), "r"(fifth),
                   "r"(sixth)
                 : "rcx", "r11", "memory");
    if (result >= 0 || result < -4095)
        return result;
    errno = static_cast<int>(-result);
    return -1;
}

sigset_t mask_of_thread() {
    sigset_t mask;
    sigemptyset(&mask);
    ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, kBytesOfMask);
    return mask;
}

} // namespace

// In the place of libc's, with the kernel's failures: a new mask that cannot be read is not set;
// an old one that cannot be written is lost when the new one is set already.
extern "C" long syscall(long number, ...) noexcept {
    long arguments[6];
    std::va_list list;
    va_start(list, number);
    for (long& argument : arguments)
        argument = va_arg(list, long);
    va_end(list);
    if (number == SYS_rt_sigprocmask && failing > 0 && --failing == 0) {
        if (arguments[1] != 0 && arguments[2] != 0) {
            arguments[2] = 0;
            kernel(number, arguments);
        }
        errno = EFAULT;
        return -1;
    }
    return kernel(number, arguments);
}

namespace {

template <typename Action>
void expect_same_mask_after(const Action& action) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    ASSERT_EQ(::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, kBytesOfMask), 0);
    for (int call = 1;; ++call) {
        failing = call;
        action();
        const bool failed = failing == 0;
        failing = 0;
        const sigset_t after = mask_of_thread();
        for (int signal = 1; signal < NSIG; ++signal)
            ASSERT_EQ(sigismember(&after, signal), signal == SIGUSR2 ? 1 : 0)
                << "signal " << signal << " when call " << call << " fails";
        if (!failed) {
            EXPECT_GT(call, 1) << "it calls it";
            break;
        }
    }
}

TEST(SignalMask, IsWhatItWasAfterSigactionWhoseSystemCallsFail) {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    expect_same_mask_after(
        [&] { EXPECT_EQ(stm::library::program_action(SIGUSR1, &ignore, nullptr), 0); });
}

TEST(SignalMask, IsWhatItWasAfterAForkWhoseSystemCallsFail) {
    expect_same_mask_after([] {
        stm::library::lock_actions();
        stm::library::unlock_actions();
    });
}

} // namespace
