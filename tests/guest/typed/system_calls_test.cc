// SPDX-License-Identifier: GPL-2.0
// How many system calls a typed transaction makes: none to read, one to commit.
#include "typed.hpp"

#include <csignal>
#include <memory>
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <vector>

using namespace stm::test;

namespace {

// Runs action() in a child, and counts the child's system calls between two calls of getppid().
int calls_of(const std::function<void()>& action) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        ::raise(SIGSTOP);
        action();
        ::_exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    int calls = 0;
    bool counting = false;
    while (::ptrace(PTRACE_SYSCALL, child, nullptr, 0) == 0 &&
           ::waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        if (WSTOPSIG(status) != (SIGTRAP | 0x80))
            continue;
        __ptrace_syscall_info call{};
        ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof call, &call);
        if (call.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        if (call.entry.nr == SYS_getppid)
            counting = !counting;
        else if (counting)
            ++calls;
    }
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    return calls;
}

// Does it once, and then ten times to be counted.
template <typename Action>
std::function<void()> counted(const Action& action) {
    return [action] {
        action();
        ::syscall(SYS_getppid);
        for (int i = 0; i < 10; ++i)
            action();
        ::syscall(SYS_getppid);
    };
}

TEST(TypedSystemCalls, NoneToRead) {
    const TypedRegion region("reads");
    const TypedRegion second("reads");
    for (const int flags : {0, STM_TX_READ_ONLY}) {
        EXPECT_EQ(calls_of(counted([&] {
                      long value = 0;
                      static char bytes[8 * kPage];
                      EXPECT_TRUE(atomically(region, flags, [&](stm_tx* tx) {
                          for (std::uint64_t i = 0; i < 100; ++i)
                              EXPECT_EQ(stm_tx_load(tx, region, i * 72, &value, sizeof value), 0);
                          EXPECT_EQ(stm_tx_load(tx, region, 5, bytes, sizeof bytes), 0);
                      }));
                  })),
                  0);
    }
    EXPECT_EQ(calls_of(counted([&] {
                  EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
                      long value = 0;
                      EXPECT_EQ(stm_tx_load(tx, region, 0, &value, sizeof value), 0);
                      EXPECT_EQ(stm_tx_load(tx, second, 0, &value, sizeof value), 0);
                  }));
              })),
              0)
        << "also in two regions";
}

TEST(TypedSystemCalls, OneToCommit) {
    const TypedRegion region("writes");
    const TypedRegion second("writes");
    EXPECT_EQ(calls_of(counted([&] {
                  EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
                      EXPECT_EQ(add(tx, region, 0, 1), 0);
                      EXPECT_EQ(add(tx, region, 640, 1), 0);
                  }));
              })),
              10);
    EXPECT_EQ(calls_of(counted([&] {
                  EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
                      EXPECT_EQ(add(tx, region, 0, 1), 0);
                      EXPECT_EQ(add(tx, second, 640, 1), 0);
                  }));
              })),
              10)
        << "also in two regions";
}

TEST(TypedSystemCalls, OneToCommitToADirectRegionWhileSomebodySleeps) {
    const TypedRegion region("direct", 8 * kPage, STM_DIRECT);
    Child waiter = Child::doing([&] {
        stm_tx* const tx = stm_tx_begin(region, 0);
        long value = 0;
        do {
            if (stm_tx_load(tx, region, 4096, &value, sizeof value) == 0 && value == 0)
                stm_tx_wait(tx, -1);
        } while (value == 0 || stm_tx_commit(tx) > 0);
    });
    EXPECT_TRUE(
        eventually([&] { return calls_of(counted([&] { set_value(region, 0, 1); })) == 10; }));
    set_value(region, 4096, 1);
    EXPECT_EQ(waiter.wait(), 0);
}

TEST(TypedSystemCalls, NoneToCommitToADirectRegion) {
    const TypedRegion region("direct", 8 * kPage, STM_DIRECT);
    EXPECT_EQ(calls_of(counted([&] { set_value(region, 0, value_at(region, 640) + 1); })), 0);

    // Where a program has polled and does not any more, one commit is told of.
    EXPECT_EQ(calls_of([&] {
                  set_value(region, 0, 1);
                  struct pollfd watched {
                      region.fd(), POLLIN, 0
                  };
                  EXPECT_GE(::poll(&watched, 1, 0), 0);
                  ::syscall(SYS_getppid);
                  for (int i = 0; i < 10; ++i)
                      set_value(region, 0, i);
                  ::syscall(SYS_getppid);
              }),
              1);
}

TEST(TypedSystemCalls, NoneToCommitToSeveralDirectRegionsInTurn) {
    std::vector<std::unique_ptr<TypedRegion>> regions;
    for (const char* name : {"first", "second", "third"})
        regions.push_back(std::make_unique<TypedRegion>(name, 8 * kPage, STM_DIRECT));
    EXPECT_EQ(calls_of(counted([&] {
                  for (const auto& region : regions)
                      set_value(*region, 0, value_at(*region, 640) + 1);
              })),
              0);
}

TEST(TypedSystemCalls, NoneToCancel) {
    const TypedRegion region("cancels");
    EXPECT_EQ(calls_of(counted([&] {
                  stm_tx* const tx = stm_tx_begin(region, 0);
                  EXPECT_EQ(add(tx, region, 0, 1), 0);
                  stm_tx_cancel(tx);
              })),
              0);
}

} // namespace
