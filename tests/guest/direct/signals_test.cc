// SPDX-License-Identifier: GPL-2.0
// A commit is interrupted, and its thread does not come back to it: by exec, by the end of the
// thread alone, or by a jump out of a signal handler.
#include "committer.hpp"

#include <algorithm>
#include <csetjmp>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr std::uint64_t kFirst = 128;
constexpr std::uint64_t kSecond = kPage + 640;
constexpr long kAmount = 1000;

class DirectSignals : public testing::Test {
protected:
    Committer::Body adding(long amount) {
        return [this, amount](stm_tx* tx) {
            if (add(tx, region, kFirst, amount) == 0)
                static_cast<void>(add(tx, region, kSecond, amount));
        };
    }
    // Some of them, from the begin of the commit to its end.
    std::vector<Moment> some_moments() {
        Committer committer(region, adding(0), adding(0));
        const std::vector<Moment> all = moments_of(committer);
        std::vector<Moment> some;
        for (std::size_t i = 0; i < all.size(); i += std::max<std::size_t>(1, all.size() / 16))
            some.push_back(all[i]);
        return some;
    }
    void clear() {
        set_value(region, kFirst, 0);
        set_value(region, kSecond, 0);
    }
    // Whether the commit has happened, beside so much that others have added. Another one can
    // follow at once.
    bool has_happened(long others) {
        const double begun = now();
        EXPECT_TRUE(atomically(region, 0, adding(1)));
        EXPECT_LT(now() - begun, 0.5 * time_scale());
        const long value = value_at(region, kFirst);
        EXPECT_EQ(value_at(region, kSecond), value);
        EXPECT_TRUE(value == others + 1 || value == others + 1 + kAmount) << value;
        return value > kAmount;
    }

    TypedRegion region{"signals", 4 * kPage, STM_DIRECT};
};

void run_another_program() {
    ::execl("/bin/sh", "sh", "-c", "exit 0", nullptr);
    ::_exit(1);
}

TEST_F(DirectSignals, AnExecInTheMiddleLeavesAllOrNothing) {
    const auto prepare = [this](stm_tx* tx) {
        std::signal(SIGUSR1, [](int) { run_another_program(); });
        adding(0)(tx);
    };
    unsigned happened = 0;
    unsigned execs = 0;
    for (const Moment& moment : some_moments()) {
        clear();
        Committer committer(region, prepare, adding(kAmount));
        if (!committer.run_to(moment.address, moment.times))
            continue;
        ASSERT_TRUE(committer.go_on(SIGUSR1)) << "it stops before the new program begins";
        ++execs;
        happened += has_happened(0) ? 1 : 0;
        EXPECT_EQ(committer.finish(), 0);
    }
    EXPECT_GT(happened, 0u);
    EXPECT_LT(happened, execs);
}

// The thread that commits ends for it.
TEST_F(DirectSignals, AnExecByAnotherThreadLeavesAllOrNothing) {
    unsigned happened = 0;
    unsigned execs = 0;
    for (const Moment& moment : some_moments()) {
        clear();
        int start[2];
        int running[2];
        ASSERT_EQ(::pipe2(start, O_CLOEXEC), 0);
        ASSERT_EQ(::pipe2(running, O_CLOEXEC), 0);
        const Fd start_end(start[0]);
        const Fd start_begin(start[1]);
        const Fd running_end(running[0]);
        Fd running_begin(running[1]);
        const auto prepare = [&](stm_tx* tx) {
            std::thread([from = start_end.get()] {
                char byte = 0;
                if (::read(from, &byte, 1) == 1)
                    run_another_program();
            }).detach();
            adding(0)(tx);
        };
        Committer committer(region, prepare, adding(kAmount));
        running_begin.reset();
        if (!committer.run_to(moment.address, moment.times))
            continue;
        ASSERT_EQ(::write(start_begin.get(), "x", 1), 1);
        char byte = 0;
        ASSERT_EQ(::read(running_end.get(), &byte, 1), 0) << "closed by exec";
        ++execs;
        happened += has_happened(0) ? 1 : 0;
        EXPECT_EQ(committer.finish(), 0);
    }
    EXPECT_GT(happened, 0u);
    EXPECT_LT(happened, execs);
}

// The others of its process go on.
TEST_F(DirectSignals, TheEndOfAThreadAloneLeavesAllOrNothing) {
    unsigned happened = 0;
    unsigned ends = 0;
    for (const Moment& moment : some_moments()) {
        clear();
        int start[2];
        ASSERT_EQ(::pipe2(start, O_CLOEXEC), 0);
        const Fd start_end(start[0]);
        const Fd start_begin(start[1]);
        const auto prepare = [&](stm_tx* tx) {
            std::signal(SIGUSR1, [](int) { ::syscall(SYS_exit, 0); });
            std::thread([this, from = start_end.get()] {
                char byte = 0;
                if (::read(from, &byte, 1) == 1)
                    ::_exit(atomically(region, 0, adding(1)) ? 0 : 1);
            }).detach();
            adding(0)(tx);
        };
        Committer committer(region, prepare, adding(kAmount));
        if (!committer.run_to(moment.address, moment.times))
            continue;
        committer.let_go(SIGUSR1);
        ++ends;
        happened += has_happened(0) ? 1 : 0;
        ASSERT_EQ(::write(start_begin.get(), "x", 1), 1);
        EXPECT_EQ(committer.end(), 0);
        has_happened(2);
    }
    EXPECT_GT(happened, 0u);
    EXPECT_LT(happened, ends);
}

sigjmp_buf outside;
volatile std::sig_atomic_t may_leave = 0;

// STM_TX_AGAIN, or 0 if it is over.
int commit_or_leave(stm_tx* tx) {
    if (sigsetjmp(outside, 1) != 0) {
        stm_tx_cancel(tx);
        return 0;
    }
    may_leave = 1;
    const int result = stm_tx_commit(tx);
    may_leave = 0;
    return result;
}

// Nor do the other threads of its process.
TEST_F(DirectSignals, NobodyWaitsForACommitThatWasLeftByAJumpAndCancelled) {
    const auto prepare = [this](stm_tx* tx) {
        std::signal(SIGUSR1, [](int) {
            if (may_leave != 0) {
                may_leave = 0;
                siglongjmp(outside, 1);
            }
        });
        ::alarm(static_cast<unsigned>(60 * time_scale()));
        adding(0)(tx);
    };
    const auto commit = [this](stm_tx* tx) {
        const int result = commit_or_leave(tx);
        if (result != 0)
            return result;
        // From here on the thread that has left it does nothing in the region.
        bool done = false;
        std::thread([&] { done = atomically(region, 0, adding(1)); }).join();
        return done ? 0 : -1;
    };
    for (const bool taken : {false, true}) {
        unsigned happened = 0;
        unsigned jumps = 0;
        for (const Moment& moment : some_moments()) {
            clear();
            Committer committer(region, prepare, adding(kAmount), commit);
            if (!committer.run_to(moment.address, moment.times))
                continue;
            ++jumps;
            if (taken) {
                ASSERT_TRUE(atomically(region, 0, adding(1)));
            }
            ASSERT_EQ(committer.finish(SIGUSR1), 0) << "taken: " << taken;
            happened += has_happened(taken ? 2 : 1) ? 1 : 0;
        }
        EXPECT_GT(happened, 0u);
        EXPECT_LT(happened, jumps);
    }
}

// Processes that conflict, back off and take the serial token, and leave that at any moment.
TEST_F(DirectSignals, TransactionsThatAreLeftAtRandomKeepTheirSum) {
    clear();
    std::vector<Child> children;
    for (int child = 0; child < 3; ++child)
        children.push_back(Child::doing([&] {
            std::signal(SIGALRM, [](int) {
                if (may_leave != 0) {
                    may_leave = 0;
                    siglongjmp(outside, 1);
                }
            });
            const itimerval often{{0, 1500}, {0, 1500}};
            ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
            const double end = now() + 2 * time_scale();
            for (long i = 1; now() < end; ++i) {
                stm_tx* const tx = stm_tx_begin(region, i % 50 == 0 ? STM_TX_SERIAL : 0);
                if (tx == nullptr) {
                    ASSERT_EQ(errno, EINTR);
                    continue;
                }
                int result = 0;
                do {
                    if (add(tx, region, kFirst, i) == 0)
                        static_cast<void>(add(tx, region, kSecond, -i));
                    result = commit_or_leave(tx);
                } while (result > 0);
                ASSERT_TRUE(result == 0 || errno == EINTR) << std::strerror(errno);
            }
        }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(value_at(region, kFirst), -value_at(region, kSecond));
    EXPECT_NE(value_at(region, kFirst), 0);
    EXPECT_TRUE(atomically(region, STM_TX_SERIAL, adding(1)));
}

} // namespace
