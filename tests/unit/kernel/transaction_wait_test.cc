// SPDX-License-Identifier: GPL-2.0
// Transactions that wait: for a change of what they read, and for the serial token; and what is
// told to a thread whose transaction is doomed, and to one that polls.
#include "tests/unit/kernel/transaction_test.hpp"

#include <chrono>
#include <csignal>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

TEST_F(Transactions, ToldByASignalAreToldOnce) {
    EXPECT_EQ(start(file, STM_START_SIGNAL(SIGUSR1)), 1);
    EXPECT_EQ(get(file, 0), 0u);
    EXPECT_EQ(simulated::run_timers(), 1u);
    EXPECT_TRUE(simulated::take_signals().empty());
    disturb(0);
    EXPECT_EQ(simulated::run_timers(), 1u) << "it is looked at again while it runs";
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{SIGUSR1});
    EXPECT_EQ(simulated::run_timers(), 0u);
    char byte = 0;
    EXPECT_EQ(read(file, 0, &byte, 1), -EAGAIN);
    EXPECT_TRUE(simulated::take_signals().empty());
    EXPECT_EQ(statistics_of(file).signals, 1u);
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(Transactions, AreToldByTheCallThatFindsOut) {
    EXPECT_EQ(start(file, STM_START_SIGNAL(SIGUSR2)), 1);
    EXPECT_EQ(get(file, 0), 0u);
    disturb(0);
    disturb(64);
    std::uint64_t value = 0;
    EXPECT_EQ(read(file, 64, &value, sizeof(value)), -EAGAIN);
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{SIGUSR2});
    EXPECT_EQ(cancel(file), 0);
    simulated::run_timers();
    EXPECT_TRUE(simulated::take_signals().empty());
}

TEST_F(Transactions, AreNotToldAfterExec) {
    EXPECT_EQ(start(file, STM_START_SIGNAL(SIGUSR1)), 1);
    EXPECT_EQ(get(file, 0), 0u);
    disturb(0);
    simulated::exec();
    simulated::run_timers();
    EXPECT_TRUE(simulated::take_signals().empty());
}

TEST_F(Transactions, LeaveNoTimerBehindTheirFile) {
    EXPECT_EQ(start(file, STM_START_SIGNAL(SIGUSR1)), 1);
    file.close();
    EXPECT_EQ(simulated::run_timers(), 0u);
}

TEST_F(Transactions, ThatReadNothingDoNotWait) {
    EXPECT_EQ(wait(file), -EINVAL);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(wait(file), -EDEADLK);
    EXPECT_EQ(transaction_of(file).depth, 1u) << "it is not over";
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(Transactions, WaitUntilWhatTheyReadChanges) {
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 0), 0u);
    std::thread changer([&] {
        while (statistics_of(other).waiting == 0)
            std::this_thread::yield();
        put(other, 640, 1); // something else
        put(other, 0, 1);
    });
    EXPECT_EQ(wait(file), 0); // the simulation ends the test if nobody wakes it
    changer.join();
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(statistics_of(file).waits, 1u);
    EXPECT_EQ(statistics_of(file).waiting, 0u);
}

TEST_F(Transactions, DoNotWaitForWhatHasChangedAlready) {
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 0), 0u);
    disturb(0);
    EXPECT_EQ(wait(file), 0);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 0), 77u);
    EXPECT_EQ(wait(file, 1'000'000), -ETIMEDOUT);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 0), 77u);
    {
        const simulated::Dying killed;
        EXPECT_EQ(wait(file), -EINTR);
    }
    EXPECT_EQ(transaction_of(file).depth, 0u);
}

// A handler without SA_RESTART has run: Linux does not call again, and the program may not care.
class InterruptedWaits : public Transactions {
protected:
    void SetUp() override {
        EXPECT_EQ(start(file), 1);
        EXPECT_EQ(get(file, 0), 0u);
        put(file, 64, 1);
        auto argument = argument_of<stm_wait>(STM_WAIT_KEEP);
        argument.timeout_ns = STM_WAIT_FOREVER;
        const simulated::Sleepless until_a_signal;
        EXPECT_EQ(request(file, STM_IOC_WAIT, argument), -512) << "ERESTARTSYS";
        EXPECT_EQ(transaction_of(file).depth, 1u);
    }
    void expect_nothing_is_committed() {
        EXPECT_EQ(commit(file), -ECANCELED);
        EXPECT_EQ(get(other, 64), 0u);
    }
};

TEST_F(InterruptedWaits, LeaveNothingToCommit) {
    expect_nothing_is_committed();
}

TEST_F(InterruptedWaits, CancelTheCallsThatFollow) {
    std::uint64_t value = 5;
    EXPECT_EQ(read(file, 0, &value, sizeof(value)), -ECANCELED);
    EXPECT_EQ(write(file, 64, &value, sizeof(value)), -ECANCELED);
    EXPECT_EQ(validate(file), -ECANCELED);
    EXPECT_EQ(start(file), -ECANCELED);
    expect_nothing_is_committed();
}

TEST_F(Transactions, OfAMutexRegionRunAlone) {
    File mutex = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    constexpr int kThreads = 4;
    constexpr std::uint64_t kRounds = 50;
    std::vector<std::thread> threads;
    for (int number = 0; number < kThreads; ++number) {
        threads.emplace_back([&] {
            for (std::uint64_t round = 0; round < kRounds; ++round) {
                ASSERT_EQ(start(mutex), 1);
                put(mutex, 0, get(mutex, 0) + 1);
                ASSERT_EQ(commit(mutex), 0);
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(get(mutex, 0), kThreads * kRounds);
    EXPECT_EQ(statistics_of(mutex).serial, kThreads * kRounds);
}

TEST_F(Transactions, DoNotWaitForATokenOfTheirOwnThread) {
    const File one = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    const File two = open(control, "mutex", kOpen, {0, 0, 0});
    EXPECT_EQ(start(one), 1);
    EXPECT_EQ(start(two), -EDEADLK);
    char byte = 1;
    EXPECT_EQ(write(two, 0, &byte, 1), -EDEADLK);
    EXPECT_EQ(commit(one), 0);
    EXPECT_EQ(start(two), 1);
    EXPECT_EQ(commit(two), 0);
}

TEST_F(Transactions, EndTheWaitForATokenWhoseThreadHasEnded) {
    const File mutex = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    const File another = open(control, "mutex", kOpen, {0, 0, 0});
    std::thread([&] { EXPECT_EQ(start(another), 1); }).join();
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(start(mutex), 1);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
    EXPECT_EQ(commit(mutex), 0);
}

TEST_F(Transactions, AreNewsForWhoPolls) {
    EXPECT_NE(stm_core_poll_queue(file.get()), nullptr);
    EXPECT_EQ(stm_core_poll_ready(file.get()), 0);
    disturb(0);
    EXPECT_EQ(stm_core_poll_ready(file.get()), 1);
    EXPECT_EQ(get(file, 0), 77u);
    EXPECT_EQ(stm_core_poll_ready(file.get()), 0);
    EXPECT_EQ(start(file), 1);
    disturb(0, 78);
    EXPECT_EQ(stm_core_poll_ready(file.get()), 1);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(stm_core_poll_ready(file.get()), 0);
}

} // namespace
} // namespace stm::test
