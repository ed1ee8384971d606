// SPDX-License-Identifier: GPL-2.0
// A process stops in the middle of a commit. Others are served, and when it goes on it has
// committed all or nothing.
#include "typed.hpp"

#include <csignal>
#include <ctime>
#include <sys/ptrace.h>
#include <sys/user.h>

using namespace stm::test;

namespace {

double now() {
    struct timespec time {};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

constexpr std::uint64_t kFirst = 128;
constexpr std::uint64_t kSecond = kPage + 640;

int add_to_both(stm_tx* tx, stm_region* region, long amount) {
    const int result = add(tx, region, kFirst, amount);
    return result != 0 ? result : add(tx, region, kSecond, amount);
}

TEST(DirectStops, AtEachInstructionOthersGoOnAndNothingIsLost) {
    const TypedRegion region("stops", 4 * kPage, STM_DIRECT);
    double longest = 0;
    unsigned stops = 0;
    bool in_time = true;
    for (unsigned at = 1; in_time; at += 3, ++stops) {
        set_value(region, kFirst, 0);
        set_value(region, kSecond, 0);
        std::fflush(stdout);
        const pid_t child = ::fork();
        if (child == 0) {
            ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            if (!atomically(region, 0,
                            [&](stm_tx* tx) { static_cast<void>(add_to_both(tx, region, 0)); }))
                ::_exit(1);
            stm_tx* const tx = stm_tx_begin(region, 0);
            bool first = true;
            int result = 0;
            do {
                static_cast<void>(add_to_both(tx, region, 1000));
                if (first)
                    ::raise(SIGSTOP);
                first = false;
                result = stm_tx_commit(tx);
            } while (result > 0);
            ::raise(SIGSTOP);
            ::_exit(result == 0 ? 0 : 1);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        for (unsigned i = 0; i < at && in_time; ++i) {
            ASSERT_EQ(::ptrace(PTRACE_SINGLESTEP, child, nullptr, 0), 0);
            ASSERT_EQ(::waitpid(child, &status, 0), child);
            in_time = WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
        }
        // It stands still. Others do not.
        const double begun = now();
        for (int i = 0; i < 3; ++i)
            ASSERT_TRUE(atomically(
                region, 0, [&](stm_tx* tx) { static_cast<void>(add_to_both(tx, region, 1)); }));
        longest = std::max(longest, now() - begun);
        // It goes on to its end.
        do {
            ASSERT_EQ(::ptrace(PTRACE_CONT, child, nullptr, 0), 0);
            ASSERT_EQ(::waitpid(child, &status, 0), child);
        } while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
        while (WIFSTOPPED(status)) {
            siginfo_t info{};
            user_regs_struct registers{};
            ::ptrace(PTRACE_GETSIGINFO, child, nullptr, &info);
            ::ptrace(PTRACE_GETREGS, child, nullptr, &registers);
            ASSERT_EQ(WSTOPSIG(status), SIGSTOP)
                << "at instruction " << at << ", address " << info.si_addr << ", code "
                << info.si_code << std::hex << ", at " << registers.rip;
            ASSERT_EQ(::ptrace(PTRACE_CONT, child, nullptr, 0), 0);
            ASSERT_EQ(::waitpid(child, &status, 0), child);
        }
        ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
        ASSERT_EQ(value_at(region, kFirst), 1003) << "at instruction " << at;
        ASSERT_EQ(value_at(region, kSecond), 1003) << "at instruction " << at;
    }
    std::printf("stopped at %u instructions; three transactions of another process took %.1f ms at "
                "most\n",
                stops, longest * 1e3);
    EXPECT_GT(stops, 20u);
    EXPECT_LT(longest, 0.5 * time_scale());
}

} // namespace
