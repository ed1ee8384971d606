// SPDX-License-Identifier: GPL-2.0
// Transactions through the entries of the module: who has which, how they end, and what is left of
// them when memory or threads come to an end. What they mean is tests/unit/protocol/.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <thread>

namespace stm::test {
namespace {

using simulated::AsThread;
using simulated::OtherThread;

class Transactions : public KernelTest {
protected:
    static constexpr std::uint64_t kBytes = 1 << 20;
    File file = open(control, "tx", kCreate, {kBytes, 0, 0666});
    File other = open(control, "tx", kOpen, {0, 0, 0});

    static void put(const File& to, std::uint64_t position, std::uint64_t value) {
        ASSERT_EQ(write(to, position, &value, sizeof(value)), static_cast<long>(sizeof(value)));
    }
    static std::uint64_t get(const File& from, std::uint64_t position) {
        std::uint64_t value = 0;
        EXPECT_EQ(read(from, position, &value, sizeof(value)), static_cast<long>(sizeof(value)));
        return value;
    }
    // Somebody else commits a write.
    void disturb(std::uint64_t position, std::uint64_t value = 77) {
        std::thread([&] { put(other, position, value); }).join();
    }
};

TEST_F(Transactions, AreSeenByOthersAfterTheirCommit) {
    EXPECT_EQ(start(file), 1);
    put(file, 8, 5);
    EXPECT_EQ(get(file, 8), 5u);
    EXPECT_EQ(get(other, 8), 0u) << "another handle, another transaction";
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 8), 5u);
    EXPECT_EQ(commit(file), -EINVAL);
    EXPECT_EQ(info_of(file).resident_bytes, kPage);
}

TEST_F(Transactions, AreWithoutEffectWhenCancelled) {
    EXPECT_EQ(cancel(file), -EINVAL);
    EXPECT_EQ(validate(file), -EINVAL);
    EXPECT_EQ(start(file), 1);
    put(file, 8, 5);
    EXPECT_EQ(start(file), 2);
    put(file, 16, 6);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(get(file, 16), 0u);
    EXPECT_EQ(get(file, 8), 5u);
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(cancel(file, STM_CANCEL_ALL), 0);
    EXPECT_EQ(get(other, 8), 0u);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(transaction_of(file).last_reason, unsigned{STM_REASON_CANCEL});
}

TEST_F(Transactions, ConflictWhenWhatTheyReadHasChanged) {
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 0), 0u);
    EXPECT_EQ(validate(file), 0);
    disturb(0);
    EXPECT_EQ(validate(file), -EAGAIN);
    put(file, 4096, 1);
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(transaction_of(file).conflicts, 1u);
    EXPECT_EQ(get(other, 4096), 0u);
    EXPECT_EQ(start(file, STM_START_RESTART), 1);
    EXPECT_EQ(get(file, 0), 77u);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Transactions, RefuseWhatTheyDoNotKnow) {
    EXPECT_EQ(start(file, 0x4), -EINVAL);
    EXPECT_EQ(start(file, 0x80), -EINVAL);
    EXPECT_EQ(start(file, STM_START_SIGNAL(65)), -EINVAL);
    EXPECT_EQ(start(file, ~std::uint64_t{0}), -EINVAL);
    EXPECT_EQ(start(file, std::uint64_t{1} << 16), -EINVAL);
    EXPECT_EQ(start(file, std::uint64_t{1} << 31), -EINVAL);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_COMMIT, 1), -EINVAL);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_VALIDATE, 1), -EINVAL);
    EXPECT_EQ(cancel(file, 2), -EINVAL);
    EXPECT_EQ(start(open(control, "plain")), -EOPNOTSUPP);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    auto transaction = argument_of<stm_transaction>(1);
    EXPECT_EQ(request(file, STM_IOC_TRANSACTION, transaction), -EINVAL);
    auto waiting = argument_of<stm_wait>(1);
    EXPECT_EQ(request(file, STM_IOC_WAIT, waiting), -EINVAL);
    for (const std::uint32_t flags :
         {0u, unsigned{STM_BY_NEXT}, unsigned{STM_BY_NAME | STM_BY_ID},
          unsigned{STM_BY_NAME | STM_STATISTICS_OF_HANDLE}, unsigned{STM_BY_HANDLE | 0x20}}) {
        auto statistics = argument_of<stm_statistics>(flags, "tx");
        EXPECT_EQ(request(file, STM_IOC_STATISTICS, statistics), -EINVAL) << flags;
    }
}

TEST_F(Transactions, MakeTheControlHandleAUserOfTheDefaultRegion) {
    const File node = File::node(0);
    EXPECT_EQ(info_of(node).handles, 0u);
    EXPECT_EQ(start(node), 1);
    EXPECT_EQ(info_of(node).handles, 1u);
    EXPECT_EQ(cancel(node), 0);
}

TEST_F(Transactions, BelongToOneThread) {
    EXPECT_EQ(start(file), 1);
    put(file, 0, 1);
    std::thread([&] {
        EXPECT_EQ(commit(file), -EINVAL);
        EXPECT_EQ(get(file, 0), 0u);
        EXPECT_EQ(start(file), 1);
        put(file, 64, 2);
        EXPECT_EQ(commit(file), 0);
    }).join();
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 1u);
    EXPECT_EQ(get(other, 64), 2u);
}

TEST_F(Transactions, EndWithTheFile) {
    EXPECT_EQ(start(file), 1);
    put(file, 0, 1);
    file.close();
    EXPECT_EQ(get(other, 0), 0u);
    EXPECT_EQ(statistics_of(other).aborts[STM_REASON_KILLED], 1u) << "counted all the same";
}

TEST_F(Transactions, EndWithTheirThread) {
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        put(file, 0, 1);
    }).join();
    EXPECT_EQ(start(file), 1) << "this one takes its context over";
    EXPECT_EQ(get(file, 0), 0u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_KILLED], 1u);
    EXPECT_EQ(simulated::live().thread_references, 1);
}

TEST_F(Transactions, GoOnWhenADuplicateOfTheirDescriptorIsClosed) {
    EXPECT_EQ(start(file), 1);
    put(file, 0, 1);
    std::thread([&] { stm_core_flush(file.get(), simulated::still_open()); }).join();
    stm_core_flush(file.get(), simulated::still_open());
    put(file, 64, 2);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 1u);
    EXPECT_EQ(get(other, 64), 2u);
}

TEST_F(Transactions, FailUntilToldWhenTheLastDescriptorIsClosed) {
    const auto lose = [&] {
        EXPECT_EQ(start(file), 1);
        put(file, 0, 1);
        stm_core_flush(file.get(), simulated::kLastDescriptor);
    };
    const auto everything_fails = [&] {
        std::uint64_t value = 5;
        EXPECT_EQ(transaction_of(file).depth, 1u);
        EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_CLOSED});
        EXPECT_EQ(read(file, 0, &value, sizeof(value)), -ECANCELED);
        EXPECT_EQ(write(file, 0, &value, sizeof(value)), -ECANCELED);
        EXPECT_EQ(validate(file), -ECANCELED);
        EXPECT_EQ(start(file), -ECANCELED);
        EXPECT_EQ(get(other, 0), 0u);
    };
    lose();
    everything_fails();
    EXPECT_EQ(commit(file), -ECANCELED);
    lose();
    everything_fails();
    EXPECT_EQ(cancel(file), 0);
    lose();
    everything_fails();
    EXPECT_EQ(wait(file, 0), -EDEADLK) << "it has read nothing";
    EXPECT_EQ(start(file, STM_START_RESTART), 1);
    EXPECT_EQ(get(file, 0), 0u);
    stm_core_flush(file.get(), simulated::kLastDescriptor);
    EXPECT_EQ(wait(file, 0), -ECANCELED);
    EXPECT_EQ(start(file), 1);
    put(file, 0, 3);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 3u);
    EXPECT_EQ(statistics_of(other).aborts[STM_REASON_CLOSED], 4u);
}

TEST_F(Transactions, FailOnlyInTheProcessThatHasNoDescriptorLeft) {
    Process child(200, kRoot, "child");
    OtherThread second;
    OtherThread of_child;
    EXPECT_EQ(start(file), 1);
    {
        const AsThread it(second);
        EXPECT_EQ(start(file), 1);
    }
    {
        const As now(child);
        const AsThread it(of_child);
        EXPECT_EQ(start(file), 1);
        put(file, 0, 1);
    }
    stm_core_flush(file.get(), simulated::kLastDescriptor);
    EXPECT_EQ(commit(file), -ECANCELED);
    {
        const AsThread it(second);
        EXPECT_EQ(commit(file), -ECANCELED) << "threads of one process have the same descriptors";
    }
    {
        const As now(child);
        const AsThread it(of_child);
        EXPECT_EQ(commit(file), 0) << "another process has its own";
    }
    EXPECT_EQ(get(other, 0), 1u);
}

TEST_F(Transactions, KeepNobodyFromCommittingWhenTheirFileIsLost) {
    File mutex = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    const File second = open(control, "mutex", kOpen, {0, 0, 0});
    EXPECT_EQ(start(mutex), 1);
    stm_core_flush(mutex.get(), simulated::kLastDescriptor);
    std::thread([&] {
        EXPECT_EQ(start(second), 1) << "the token is free";
        EXPECT_EQ(commit(second), 0);
    }).join();
    EXPECT_EQ(commit(mutex), -ECANCELED);
}

// Another thread closes the last descriptor while a start waits, or anywhere else in it.
TEST_F(Transactions, NeverRunWithoutADescriptorThatWasClosedDuringTheirStart) {
    const File second = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    unsigned refused = 0;
    for (std::size_t nth = 1;; ++nth) {
        SCOPED_TRACE(testing::Message() << "step " << nth);
        const File mutex = open(control, "mutex", kOpen, {0, 0, 0});
        ASSERT_EQ(map(mutex, 0, 1, STM_MAP_WRITE), 0);
        OtherThread closing;
        long started = 0;
        bool happened = false;
        {
            const Interleave point(nth, [&] {
                const AsThread it(closing);
                stm_core_flush(mutex.get(), simulated::closed_for_good());
            });
            started = start(mutex);
            happened = point.happened();
        }
        if (!happened) {
            EXPECT_EQ(started, 1);
            EXPECT_EQ(commit(mutex), 0);
            break;
        }
        EXPECT_TRUE(started == 1 || started == -ECANCELED) << started;
        refused += started == -ECANCELED;
        std::thread([&] {
            const simulated::Sleepless unless_it_waits;
            ASSERT_EQ(start(second), 1) << "the token is free";
            EXPECT_EQ(commit(second), 0);
        }).join();
        EXPECT_EQ(commit(mutex), started == 1 ? -ECANCELED : -EINVAL);
    }
    EXPECT_GE(refused, 2u);
}

TEST_F(Transactions, OfANewThreadHaveNoHistoryOfTheOneWhoseContextItGets) {
    OtherThread ending;
    {
        const AsThread it(ending);
        for (unsigned turn = 1; turn <= 3; ++turn) {
            EXPECT_EQ(start(file), 1);
            EXPECT_EQ(get(file, 0), turn == 1 ? 0u : 77u);
            disturb(0);
            put(file, 64, 1);
            EXPECT_EQ(commit(file), -EAGAIN);
            EXPECT_EQ(transaction_of(file).conflicts, turn);
        }
    }
    ending.end();
    OtherThread fresh;
    const AsThread it(fresh);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(transaction_of(file).conflicts, 0u);
    EXPECT_EQ(transaction_of(file).longest_streak, 0u);
    EXPECT_EQ(transaction_of(file).last_reason, unsigned{STM_REASON_NONE});
    EXPECT_EQ(commit(file), 0);
}

// A handler without SA_RESTART has run: Linux does not call again, and the program may not care.
TEST_F(Transactions, AreNotCommittedAfterAWaitThatASignalEnded) {
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 0), 0u);
    put(file, 64, 1);
    auto argument = argument_of<stm_wait>(STM_WAIT_KEEP);
    argument.timeout_ns = STM_WAIT_FOREVER;
    {
        const simulated::Sleepless until_a_signal;
        EXPECT_EQ(request(file, STM_IOC_WAIT, argument), -512) << "ERESTARTSYS";
    }
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(commit(file), -ECANCELED);
    EXPECT_EQ(get(other, 64), 0u);
}

// A thread that ends looks at contexts while another one, of a process that shares the handle,
// takes over the very one that was its own.
TEST_F(Transactions, OfAThreadThatTookAContextOverSurviveTheEndOfTheOneBefore) {
    for (std::size_t nth = 1;; ++nth) {
        SCOPED_TRACE(testing::Message() << "step " << nth);
        OtherThread ending;
        OtherThread fresh;
        {
            const AsThread it(ending);
            EXPECT_EQ(start(file), 1);
            put(file, 0, 1);
        }
        ending.end();
        bool happened = false;
        {
            const AsThread it(ending);
            const Interleave point(nth, [&] {
                const AsThread me(fresh);
                EXPECT_EQ(start(file), 1);
                put(file, 64, nth);
            });
            stm_core_flush(file.get(), simulated::kLastDescriptor);
            happened = point.happened();
        }
        if (!happened)
            break;
        const AsThread me(fresh);
        EXPECT_EQ(transaction_of(file).depth, 1u);
        EXPECT_EQ(get(other, 64), nth - 1) << "nothing of it before its commit";
        EXPECT_EQ(commit(file), 0);
        EXPECT_EQ(get(other, 64), nth);
        EXPECT_EQ(get(other, 0), 0u);
    }
}

// exec changes the program and leaves the thread and its contexts, which the watchdog of another
// thread's transaction looks at in the middle of a call.
TEST_F(Transactions, OfSingleCallsAfterExecAreNotTakenForThoseOfTheProgramBefore) {
    std::vector<char> bytes(kBytes);
    EXPECT_EQ(read(file, 0, bytes.data(), 1), 1);
    simulated::exec();
    OtherThread second;
    {
        const AsThread it(second);
        EXPECT_EQ(start(file, STM_START_SIGNAL(SIGUSR1)), 1);
    }
    for (std::size_t nth = 1;; ++nth) {
        SCOPED_TRACE(testing::Message() << "step " << nth);
        const Interleave point(nth, [&] { simulated::run_timers(); });
        EXPECT_EQ(read(file, 0, bytes.data(), kBytes), static_cast<long>(kBytes));
        if (!point.happened())
            break;
    }
    const AsThread it(second);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Transactions, AreOverWhenACallInThemFails) {
    settings.max_stripes = 2;
    const File small = open(control, "tx", kOpen, {0, 0, 0});
    std::uint64_t value = 5;
    const auto write_at = [&](std::uint64_t position) {
        return write(small, position, &value, sizeof(value));
    };
    const auto over = [&](long error) {
        EXPECT_EQ(write_at(0), error);
        EXPECT_EQ(read(small, 0, &value, sizeof(value)), error);
        EXPECT_EQ(validate(small), error);
        EXPECT_EQ(start(small), error);
        EXPECT_EQ(commit(small), error);
        EXPECT_EQ(transaction_of(small).depth, 0u);
        EXPECT_EQ(get(other, 0), 0u);
    };
    EXPECT_EQ(start(small), 1);
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(write_at(64), 8);
    EXPECT_EQ(write_at(128), -E2BIG);
    over(-E2BIG);

    std::vector<char> much(1000);
    EXPECT_EQ(start(small), 1);
    EXPECT_EQ(write(small, 0, much.data(), much.size()), -E2BIG) << "nothing of it";
    over(-E2BIG);

    EXPECT_EQ(start(small), 1);
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(write_at(kBytes), -ENOSPC) << "behind the end";
    over(-ENOSPC);

    EXPECT_EQ(start(small), 1);
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(start(small), 2);
    EXPECT_EQ(write_at(kBytes), -ENOSPC);
    EXPECT_EQ(commit(small), -ENOSPC) << "an inner part of it";
    EXPECT_EQ(transaction_of(small).depth, 1u);
    over(-ENOSPC);

    EXPECT_EQ(start(small), 1);
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(start(small), 2);
    EXPECT_EQ(write_at(kBytes), -ENOSPC);
    EXPECT_EQ(cancel(small), 0);
    over(-ENOSPC);

    EXPECT_EQ(start(small), 1);
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(commit(small), 0) << "and the next one works";
}

TEST_F(Transactions, OfEndedThreadsAreDiscardedByAFlush) {
    File mutex = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    std::thread([&] { EXPECT_EQ(start(mutex), 1); }).join();
    stm_core_flush(mutex.get(), simulated::still_open());
    EXPECT_EQ(statistics_of(mutex).aborts[STM_REASON_KILLED], 1u);
    EXPECT_EQ(start(mutex), 1) << "the token is free";
    EXPECT_EQ(transaction_of(mutex).serial, 1u);
    EXPECT_EQ(commit(mutex), 0);
}

TEST_F(Transactions, EndWithExec) {
    EXPECT_EQ(start(file), 1);
    put(file, 0, 1);
    simulated::exec();
    EXPECT_EQ(commit(file), -EINVAL);
    EXPECT_EQ(get(file, 0), 0u);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Transactions, OfMoreThreadsThanAllowedAreRefused) {
    settings.max_contexts = 2;
    std::atomic<int> ready{0};
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (int number = 0; number < 2; ++number) {
        threads.emplace_back([&] {
            EXPECT_EQ(start(file), 1);
            ++ready;
            while (!over)
                std::this_thread::yield();
        });
        while (ready != number + 1)
            std::this_thread::yield();
    }
    EXPECT_EQ(start(file), -ENOSPC);
    char byte = 0;
    EXPECT_EQ(read(file, 0, &byte, 1), -ENOSPC);
    over = true;
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(start(file), 1) << "the threads have ended";
}

TEST_F(Transactions, AreTooBigAboveTheLimitOfStripes) {
    settings.max_stripes = 4;
    const File small = open(control, "tx", kOpen, {0, 0, 0});
    EXPECT_EQ(start(small), 1);
    char bytes[64 * 5] = {};
    const long result = write(small, 0, bytes, sizeof(bytes));
    EXPECT_EQ(result, -E2BIG);
    cancel(small);
}

// -- Signals and the watchdog --

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

// -- Waiting --

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

// -- The serial token --

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

// -- poll --

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

// -- Mappings --

// What a program does with a mapped transactional region. A load or a store that is not possible is
// null, as SIGSEGV.
class MappedTransactions : public Transactions {
protected:
    void SetUp() override {
        ASSERT_EQ(map(file, 0, kBytes / kPage, STM_MAP_WRITE), 0);
        ASSERT_EQ(map(other, 0, kBytes / kPage, STM_MAP_WRITE), 0);
    }
    static std::uint64_t* address(const File& of, std::uint64_t position, Access access) {
        const Fault found = fault(of, position / kPage, position / kPage, access);
        if (found.result != STM_FAULT_MAP)
            return nullptr;
        return reinterpret_cast<std::uint64_t*>(simulated::page_bytes(found.pages[0]) +
                                                position % kPage);
    }
    static std::uint64_t load(const File& of, std::uint64_t position) {
        const std::uint64_t* place = address(of, position, Access::load);
        return place == nullptr ? ~std::uint64_t{0} : *place;
    }
    static bool store(const File& of, std::uint64_t position, std::uint64_t value) {
        std::uint64_t* place = address(of, position, Access::store);
        if (place != nullptr)
            *place = value;
        return place != nullptr;
    }
};

TEST_F(MappedTransactions, LoadAndStore) {
    EXPECT_EQ(load(file, 8), 0u);
    EXPECT_FALSE(store(file, 8, 1)) << "no transaction";
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 8), 0u);
    EXPECT_TRUE(store(file, 8, 5));
    EXPECT_EQ(load(file, 8), 5u);
    EXPECT_EQ(get(file, 8), 5u) << "a read call sees it as well";
    EXPECT_EQ(load(other, 8), 0u) << "nobody else does";
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(load(other, 8), 5u);
    EXPECT_EQ(load(file, 8), 5u);
    EXPECT_FALSE(store(file, 8, 6));
}

TEST_F(MappedTransactions, LoadZerosWhereNothingWasWritten) {
    EXPECT_EQ(start(file), 1);
    const Fault found = fault(file, 2, 2);
    ASSERT_EQ(found.result, STM_FAULT_MAP);
    const std::uint8_t* bytes = simulated::page_bytes(found.pages[0]);
    EXPECT_TRUE(std::all_of(bytes, bytes + kPage, [](auto byte) { return byte == 0; }));
    EXPECT_EQ(commit(file), 0);
}

TEST_F(MappedTransactions, TakeTheirStoresBackWhenCancelled) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 8, 5));
    EXPECT_EQ(start(file), 2);
    EXPECT_TRUE(store(file, 8, 6));
    EXPECT_TRUE(store(file, 5 * kPage, 7));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 8), 5u);
    EXPECT_EQ(load(file, 5 * kPage), 0u);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 8), 0u);
}

TEST_F(MappedTransactions, TakeBackWhatSeveralInnerPartsStored) {
    EXPECT_EQ(start(file), 1);
    put(file, 8, 1); // by a call, before the page is touched
    EXPECT_EQ(start(file), 2);
    put(file, 16, 2);
    EXPECT_EQ(start(file), 3);
    EXPECT_TRUE(store(file, 24, 3));
    EXPECT_EQ(load(file, 8), 1u);
    EXPECT_EQ(load(file, 16), 2u);
    disturb(0); // dooms it, and is not to be seen
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(load(file, 24), 3u);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 0), 0u) << "the snapshot";
    EXPECT_EQ(load(file, 8), 1u);
    EXPECT_EQ(load(file, 16), 0u);
    EXPECT_EQ(load(file, 24), 0u);
    EXPECT_EQ(start(file), 2);
    EXPECT_TRUE(store(file, 24, 4));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 24), 0u);
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(get(other, 8), 0u);
}

TEST_F(MappedTransactions, StoreForEachInnerPartApart) {
    EXPECT_EQ(start(file), 1);
    for (const std::uint64_t depth : {2, 3, 4}) {
        EXPECT_EQ(start(file), static_cast<int>(depth));
        EXPECT_TRUE(store(file, 0, depth));
        EXPECT_TRUE(store(file, depth * kPage, depth));
    }
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 0), 3u);
    EXPECT_EQ(load(file, 4 * kPage), 0u);
    EXPECT_EQ(load(file, 3 * kPage), 3u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(store(file, 4 * kPage, 5));
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 3u);
    for (const auto& [page, value] : {std::pair{2, 2}, {3, 3}, {4, 5}})
        EXPECT_EQ(get(other, static_cast<std::uint64_t>(page) * kPage),
                  static_cast<std::uint64_t>(value));
}

// Two that each add one to the same number: what the second stores is what it finds there then.
TEST_F(MappedTransactions, ConflictWhenAnotherStoredTheSame) {
    for (const std::uint64_t before : {0, 1}) { // a page that does not exist, and one that does
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, load(file, 0) + 1));
        EXPECT_EQ(start(other), 1);
        EXPECT_TRUE(store(other, 0, load(other, 0) + 1));
        EXPECT_EQ(commit(other), 0);
        EXPECT_EQ(commit(file), -EAGAIN);
        EXPECT_EQ(get(file, 0), before + 1);
    }
}

// The other commit stands still at each of its steps in turn until this one has ended.
TEST_F(MappedTransactions, LoseNothingInTheMiddleOfAnotherCommit) {
    std::uint64_t expected = 0;
    std::size_t committed = 0;
    bool everywhere = false;
    for (std::size_t step = 1; !everywhere; ++step) {
        SCOPED_TRACE(testing::Message() << "step " << step);
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, load(file, 0) + 1));
        std::promise<bool> there;
        std::promise<void> over;
        long rivals = -1;
        std::thread rival([&] {
            EXPECT_EQ(start(other), 1);
            EXPECT_TRUE(store(other, 0, load(other, 0) + 1));
            EXPECT_TRUE(store(other, 2 * kPage, step));
            bool told = false;
            const simulated::InterleaveCommit interleaved(step, [&] {
                told = true;
                there.set_value(true);
                over.get_future().wait();
            });
            rivals = commit(other);
            if (!told)
                there.set_value(false);
        });
        everywhere = !there.get_future().get();
        const long own = commit(file);
        over.set_value();
        rival.join();
        EXPECT_TRUE(own == 0 || own == -EAGAIN) << own;
        EXPECT_TRUE(rivals == 0 || rivals == -EAGAIN) << rivals;
        expected += (own == 0 ? 1 : 0) + (rivals == 0 ? 1 : 0);
        committed += own == 0 ? 1 : 0;
        ASSERT_EQ(get(file, 0), expected);
    }
    EXPECT_GT(committed, 0u);
    EXPECT_GT(expected, committed);
}

TEST_F(MappedTransactions, ThatStoreNothingNewMayBeOfTheirSnapshot) {
    disturb(0, 5);
    disturb(3 * kPage, 1);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 3 * kPage), 1u);
    EXPECT_TRUE(store(file, 0, 5));
    disturb(3 * kPage, 2);
    EXPECT_EQ(commit(file), 0) << "it wrote nothing, and saw one snapshot";
}

TEST_F(MappedTransactions, ThatStoreWhatWasThereOnlyRead) {
    disturb(0, 5);
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 5));
    disturb(3 * kPage);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(transaction_of(file).last_reason, unsigned{STM_REASON_NONE});
    EXPECT_EQ(get(other, 0), 5u);
}

// The copy then differs from the region's page in many more bytes than were stored to.
TEST_F(MappedTransactions, LackNothingForWhatAnotherChanged) {
    const File small = open(control, "small", kCreate, {kBytes, 0});
    const File rival = open(control, "small", kOpen, {0, 0, 0});
    ASSERT_EQ(map(small, 0, kBytes / kPage, STM_MAP_WRITE), 0);
    EXPECT_EQ(start(small), 1);
    for (std::uint64_t page = 0; page < 4; ++page)
        EXPECT_TRUE(store(small, page * kPage, 1));
    const std::vector<std::uint8_t> bytes(4 * kPage, 0x55);
    EXPECT_EQ(write(rival, 0, bytes.data(), bytes.size()), static_cast<long>(bytes.size()));
    const FailPoint point(1); // no memory for the log of all that
    EXPECT_EQ(commit(small), -EAGAIN);
}

TEST_F(MappedTransactions, MixWithCalls) {
    EXPECT_EQ(start(file), 1);
    put(file, 8, 1);
    EXPECT_EQ(load(file, 8), 1u);
    EXPECT_TRUE(store(file, 16, 2));
    put(file, 24, 3);
    EXPECT_EQ(load(file, 24), 3u);
    EXPECT_EQ(get(file, 16), 2u);
    EXPECT_EQ(commit(file), 0);
    for (const std::uint64_t value : {1, 2, 3})
        EXPECT_EQ(get(other, 8 * value), value);
}

TEST_F(MappedTransactions, ConflictByWhatTheyLoaded) {
    EXPECT_EQ(start(file, STM_START_SIGNAL(SIGUSR1)), 1);
    EXPECT_EQ(load(file, 0), 0u);
    disturb(0);
    disturb(3 * kPage);
    EXPECT_EQ(load(file, 0), 0u) << "the snapshot";
    EXPECT_EQ(fault(file, 3, 3).result, STM_FAULT_FORBIDDEN) << "there is none for this page";
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{SIGUSR1});
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(load(file, 0), 77u);
}

TEST_F(MappedTransactions, BelongToOneThreadOfAProcess) {
    EXPECT_EQ(start(file), 1);
    std::thread([&] {
        EXPECT_EQ(start(file), -EBUSY);
        EXPECT_EQ(start(other), 1) << "another handle";
        EXPECT_EQ(cancel(other), 0);
        Process child(200, kRoot, "child");
        const As now(child);
        EXPECT_EQ(start(file), 1) << "another address space";
        EXPECT_TRUE(store(file, 0, 1));
        EXPECT_EQ(commit(file), 0);
        simulated::unmap_all(file.view());
    }).join();
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(get(file, 0), 1u);
}

TEST_F(MappedTransactions, OfEndedThreadsLeaveNothingInTheMapping) {
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }).join();
    stm_core_flush(file.get(), simulated::still_open());
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 0), 0u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(load(other, 0), 0u);
}

TEST_F(MappedTransactions, OfEndedThreadsAreFoundByTheWatchdog) {
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }).join();
    EXPECT_NE(simulated::mapped_page(file.view(), 0), nullptr);
    EXPECT_EQ(simulated::run_timers(), 1u);
    EXPECT_EQ(simulated::mapped_page(file.view(), 0), nullptr);
    EXPECT_EQ(simulated::run_timers(), 0u);
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_KILLED], 1u);
    EXPECT_EQ(load(file, 0), 0u);
}

TEST_F(MappedTransactions, OfEndedThreadsAreFoundByAFault) {
    settings.watchdog_ms = 0;
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }).join();
    EXPECT_EQ(simulated::run_timers(), 0u);
    EXPECT_EQ(load(file, kPage), 0u) << "it has no view any more";
    EXPECT_FALSE(store(file, kPage, 1));
    EXPECT_EQ(simulated::run_timers(), 1u);
    EXPECT_EQ(load(file, 0), 0u);
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_KILLED], 1u);
}

// A fault has found a page of a transaction, and maps it only when that has been ended by someone
// else.
TEST_F(MappedTransactions, EndedFromOutsideLeaveNoPageToAFaultInProgress) {
    const auto fault_during = [&](auto end) {
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
        stm_fault question{};
        question.memory = simulated::current_memory();
        question.index = question.last = 1;
        question.address = simulated::address_of(1);
        put(file, kPage, 9);
        std::promise<void> found;
        std::atomic<bool> ended{false};
        std::thread faulting([&] {
            const MmapLock held;
            ASSERT_EQ(stm_core_transactional_fault(file.get(), &question), STM_FAULT_MAP);
            found.set_value();
            // If nobody waits for this fault, the end comes first.
            for (int turn = 0; turn < 50 && !ended; ++turn)
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            simulated::map_page(file.view(), 1, question.pages[0], false);
        });
        found.get_future().wait();
        end();
        ended = true;
        faulting.join();
        EXPECT_EQ(simulated::mapped_page(file.view(), 0), nullptr);
        EXPECT_EQ(simulated::mapped_page(file.view(), 1), nullptr);
    };
    fault_during([&] { stm_core_flush(file.get(), simulated::kLastDescriptor); });
    EXPECT_FALSE(store(file, 0, 1)) << "it has no view any more";
    EXPECT_EQ(load(file, 0), 0u);
    EXPECT_EQ(commit(file), -ECANCELED);
    fault_during([&] {
        OtherThread closing;
        const AsThread it(closing);
        stm_core_flush(file.get(), simulated::kLastDescriptor);
    });
    EXPECT_FALSE(store(file, 0, 1));
    EXPECT_EQ(fault(file, 0, 0).result, STM_FAULT_OUTSIDE) << "until the thread has been told";
    EXPECT_EQ(commit(file), -ECANCELED);
    EXPECT_EQ(load(file, 0), 0u);
    fault_during([&] { EXPECT_EQ(commit(file), 0); });
    fault_during([&] {
        simulated::exec();
        EXPECT_EQ(transaction_of(file).depth, 0u);
    });
}

// Whoever shares the file may be in a call that holds its mmap_lock for as long as it likes.
TEST_F(MappedTransactions, OfEndedThreadsDoNotHoldUpTheClosesOfOtherProcesses) {
    Process child(200, kRoot, "child");
    OtherThread of_child;
    {
        const As now(child);
        const AsThread it(of_child);
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, 9));
    }
    of_child.end();
    std::promise<void> held;
    std::atomic<bool> over{false};
    bool waited = false;
    std::thread holder([&] {
        const As now(child);
        const MmapLock lock;
        held.set_value();
        for (int turn = 0; turn < 1000 && !over; ++turn)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        waited = !over;
    });
    held.get_future().wait();
    stm_core_flush(file.get(), simulated::still_open());
    over = true;
    holder.join();
    EXPECT_FALSE(waited);
    EXPECT_EQ(simulated::run_timers(), 1u) << "the watchdog takes it out";
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_KILLED], 1u);
    const As now(child);
    EXPECT_EQ(load(file, 0), 0u);
}

// A thread has closed its last descriptor, got the file again, and does not know yet that its
// transaction is over.
TEST_F(MappedTransactions, ThatAreLostStoreNothingIntoThoseOfOtherThreads) {
    OtherThread second;
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 9));
    stm_core_flush(file.get(), simulated::kLastDescriptor);
    {
        const AsThread it(second);
        EXPECT_EQ(start(file), -EBUSY);
    }
    EXPECT_EQ(load(file, kPage), 0u);
    disturb(kPage);
    EXPECT_EQ(load(file, kPage), 77u) << "as without a transaction";
    EXPECT_FALSE(store(file, kPage, 9));
    EXPECT_FALSE(store(file, 0, 9));
    EXPECT_EQ(fault(file, 2, 2, Access::store).result, STM_FAULT_FORBIDDEN);
    EXPECT_EQ(commit(file), -ECANCELED);
    {
        const AsThread it(second);
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, kPage, 5));
        EXPECT_EQ(load(file, 0), 0u);
        disturb(0);
        EXPECT_EQ(load(file, 0), 0u) << "what was committed is in no mapping any more";
        EXPECT_EQ(commit(file), -EAGAIN);
    }
    EXPECT_EQ(get(other, kPage), 77u);
}

// A process that shares the handle maps it first, while a transaction by calls runs here.
TEST_F(MappedTransactions, GetTheViewWhereverTheFirstMappingWas) {
    File late = open(control, "tx", kOpen, {0, 0, 0});
    Process child(200, kRoot, "child");
    EXPECT_EQ(start(late), 1);
    EXPECT_EQ(get(late, 0), 0u);
    {
        const As now(child);
        ASSERT_EQ(map(late, 0, 2, STM_MAP_WRITE), 0);
    }
    ASSERT_EQ(map(late, 0, 2, STM_MAP_WRITE), 0);
    disturb(0);
    disturb(kPage);
    EXPECT_EQ(fault(late, 1, 1).result, STM_FAULT_FORBIDDEN) << "it has read what was before";
    EXPECT_EQ(commit(late), -EAGAIN);
    EXPECT_EQ(start(late), 1);
    EXPECT_EQ(load(late, kPage), 77u);
    EXPECT_TRUE(store(late, kPage, 5));
    EXPECT_EQ(commit(late), 0);
    EXPECT_EQ(get(other, kPage), 5u);

    OtherThread second;
    File shared = open(control, "tx", kOpen, {0, 0, 0});
    EXPECT_EQ(start(shared), 1);
    {
        const AsThread it(second);
        EXPECT_EQ(start(shared), 1);
    }
    {
        const As now(child);
        ASSERT_EQ(map(shared, 0, 2, STM_MAP_WRITE), 0);
    }
    EXPECT_EQ(map(shared, 0, 2, STM_MAP_WRITE), -EBUSY) << "two transactions of one process";
    EXPECT_EQ(commit(shared), 0);
    EXPECT_EQ(map(shared, 0, 2, STM_MAP_WRITE), 0);
    const AsThread it(second);
    EXPECT_EQ(load(shared, kPage), 5u);
    EXPECT_EQ(commit(shared), 0);
    simulated::unmap_all(late.view());
    simulated::unmap_all(shared.view());
}

TEST_F(MappedTransactions, LetOtherThreadsWaitWhenDoomed) {
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 0), 0u);
    disturb(0);
    disturb(3 * kPage);
    std::thread([&] { EXPECT_EQ(fault(file, 3, 3).result, STM_FAULT_WAIT); }).join();
    EXPECT_EQ(fault(file, 3, 3).result, STM_FAULT_FORBIDDEN);
    EXPECT_EQ(cancel(file), 0);
    std::thread([&] { EXPECT_EQ(load(file, 3 * kPage), 77u); }).join();
}

TEST_F(MappedTransactions, BeganBeforeTheMappingSeeIt) {
    File late = open(control, "tx", kOpen, {0, 0, 0});
    EXPECT_EQ(start(late), 1);
    put(late, 0, 4);
    ASSERT_EQ(map(late, 0, 1, STM_MAP_WRITE), 0);
    EXPECT_EQ(load(late, 0), 4u);
    EXPECT_TRUE(store(late, 8, 5));
    EXPECT_EQ(commit(late), 0);
    EXPECT_EQ(get(other, 0), 4u);
    EXPECT_EQ(get(other, 8), 5u);
}

TEST_F(MappedTransactions, WriteOnlyWhatTheyStored) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 1));
    EXPECT_EQ(start(other), 1);
    EXPECT_EQ(get(other, 1024), 0u); // of the same page
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(validate(other), 0);
    EXPECT_EQ(commit(other), 0);
}

TEST_F(MappedTransactions, ThatBeganBeforeTheMappingLeaveItWhenTheirThreadEnds) {
    File late = open(control, "tx", kOpen, {0, 0, 0});
    std::thread([&] {
        EXPECT_EQ(start(late), 1);
        ASSERT_EQ(map(late, 0, 1, STM_MAP_WRITE), 0);
        EXPECT_TRUE(store(late, 0, 9));
    }).join();
    EXPECT_EQ(simulated::run_timers(), 1u);
    EXPECT_EQ(simulated::mapped_page(late.view(), 0), nullptr);
    EXPECT_EQ(load(late, 0), 0u);
}

TEST_F(MappedTransactions, DoNotReuseAPageThatIsPinned) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 1));
    stm_page* pinned = simulated::mapped_page(file.view(), 0);
    stm_linux_page_get(pinned); // for input or output
    EXPECT_EQ(commit(file), 0);
    *reinterpret_cast<std::uint64_t*>(simulated::page_bytes(pinned)) = 1234;
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(load(file, kPage), 0u);
    EXPECT_NE(simulated::mapped_page(file.view(), 1), pinned);
    EXPECT_EQ(load(file, 0), 1u);
    EXPECT_NE(simulated::mapped_page(file.view(), 0), pinned);
    EXPECT_TRUE(store(file, kPage, 1));
    EXPECT_EQ(commit(file), 0);
    stm_linux_page_release(pinned);
    EXPECT_EQ(get(other, 0), 1u);
}

TEST_F(MappedTransactions, EndWithTheirFileAndItsMapping) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 1));
    file.close();
    EXPECT_EQ(load(other, 0), 0u);
}

TEST_F(MappedTransactions, FaultOutsideOfTheRegionInNoWay) {
    EXPECT_EQ(start(file), 1);
    for (const std::uint64_t index : {kBytes / kPage, kBytes / kPage + 1, ~std::uint64_t{0}}) {
        EXPECT_EQ(fault(file, index, index).result, STM_FAULT_OUTSIDE);
        EXPECT_EQ(fault(file, index, index, Access::store).result, STM_FAULT_OUTSIDE);
    }
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(MappedTransactions, SurviveEachFailureWhole) {
    std::size_t points = 0;
    for (;; ++points) {
        SCOPED_TRACE(testing::Message() << "point " << points + 1);
        File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        ASSERT_EQ(map(fresh, 0, 8, STM_MAP_WRITE), 0);
        bool went = false;
        Failure failure = Failure::none;
        {
            const FailPoint point(points + 1);
            std::uint64_t value = 4;
            const auto call = [&](std::uint64_t position) {
                UserBuffer buffer(&value, sizeof(value));
                return stm_core_write(fresh.get(), buffer.get(), position) == sizeof(value);
            };
            went = start(fresh) == 1 && store(fresh, 0, 3) && call(8) && store(fresh, kPage, 5) &&
                   start(fresh) == 2 && store(fresh, 0, 6) && store(fresh, 2 * kPage, 6) &&
                   call(3 * kPage) && commit(fresh) == 0 && start(fresh) == 2 &&
                   store(fresh, 0, 7) && cancel(fresh) == 0 && commit(fresh) == 0;
            failure = point.happened();
        }
        EXPECT_EQ(went, failure == Failure::none);
        if (transaction_of(fresh).depth != 0) {
            EXPECT_EQ(cancel(fresh, STM_CANCEL_ALL), 0);
        }
        const File check = open(control, "fresh", kOpen, {0, 0, 0});
        if (went) {
            EXPECT_EQ(get(check, 0), 6u);
            EXPECT_EQ(get(check, 8), 4u);
            EXPECT_EQ(get(check, kPage), 5u);
            EXPECT_EQ(get(check, 2 * kPage), 6u);
            EXPECT_EQ(get(check, 3 * kPage), 4u);
        } else {
            EXPECT_EQ(read_string(check, 0, 4 * kPage), std::string(4 * kPage, '\0'));
        }
        fresh.close();
        EXPECT_EQ(destroy_handle(check), 0);
        if (went)
            break;
    }
    std::printf("[  points  ] %-34s %zu\n", "a mapped transaction", points);
    EXPECT_GE(points, 10u);
}

// -- Failures --

TEST_F(Transactions, SurviveEachFailureWhole) {
    std::size_t points = 0;
    for (;; ++points) {
        SCOPED_TRACE(testing::Message() << "point " << points + 1);
        const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        long result = 0;
        Failure failure = Failure::none;
        {
            const FailPoint point(points + 1);
            auto bytes = pattern(3 * kPage);
            result = start(fresh);
            if (result == 1)
                result = write(fresh, 100, bytes.data(), bytes.size());
            if (result >= 0)
                result = read(fresh, 5 * kPage, bytes.data(), bytes.size());
            if (result >= 0)
                result = start(fresh);
            if (result >= 0)
                result = write(fresh, 7 * kPage, bytes.data(), 10);
            if (result >= 0)
                result = commit(fresh);
            if (result >= 0)
                result = commit(fresh);
            failure = point.happened();
        }
        const bool over = transaction_of(fresh).depth == 0;
        if (!over) {
            EXPECT_EQ(cancel(fresh, STM_CANCEL_ALL), 0);
        }
        if (failure == Failure::none) {
            EXPECT_EQ(result, 0);
            EXPECT_EQ(info_of(fresh).resident_bytes, 5 * kPage);
            EXPECT_EQ(destroy_handle(fresh), 0);
            break;
        }
        EXPECT_EQ(result, simulated::errno_of(failure));
        EXPECT_EQ(read_string(fresh, 0, 8 * kPage), std::string(8 * kPage, '\0'));
        // And it works again.
        EXPECT_EQ(start(fresh), 1);
        put(fresh, 0, 3);
        EXPECT_EQ(commit(fresh), 0);
        EXPECT_EQ(get(fresh, 0), 3u);
        EXPECT_EQ(destroy_handle(fresh), 0);
    }
    std::printf("[  points  ] %-34s %zu\n", "a transaction", points);
    EXPECT_GE(points, 10u);
}

// Within a transaction a call that fails in the middle, for want of memory, fails the transaction:
// nothing is committed. One whose buffer ends tells what of it is a part of the transaction: no
// byte more is committed.
TEST_F(MappedTransactions, CommitAllThatACallToldOrNothing) {
    const std::size_t length = 150'000; // more than one piece
    const auto bytes = pattern(length);
    for (std::size_t nth = 1;; nth += nth < 40 ? 1 : 7) {
        SCOPED_TRACE(testing::Message() << "point " << nth);
        File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        ASSERT_EQ(map(fresh, 0, kBytes / kPage, STM_MAP_WRITE), 0);
        EXPECT_EQ(start(fresh), 1);
        // Pages of the transaction's own, between others.
        EXPECT_NE(load(fresh, 5 * kPage), 1u);
        EXPECT_TRUE(store(fresh, 30 * kPage, 0));
        auto memory = bytes;
        UserBuffer buffer(memory.data(), length);
        long result = 0;
        Failure failure = Failure::none;
        {
            const FailPoint point(nth);
            result = stm_core_write(fresh.get(), buffer.get(), 100);
            failure = point.happened();
        }
        const bool over = result < 0 && result != -EFAULT;
        EXPECT_EQ(commit(fresh), over ? result : 0);
        EXPECT_TRUE(!over || result == simulated::errno_of(failure));
        const std::size_t done = result < 0 ? 0 : static_cast<std::size_t>(result);
        EXPECT_EQ(buffer.consumed(), done);
        EXPECT_TRUE(done == length || failure != Failure::none);
        std::vector<std::uint8_t> expected(kBytes);
        std::copy_n(bytes.begin(), done, expected.begin() + 100);
        std::vector<std::uint8_t> back(kBytes);
        EXPECT_EQ(read(fresh, 0, back.data(), kBytes), static_cast<long>(kBytes));
        EXPECT_TRUE(back == expected) << done << " bytes told";
        EXPECT_EQ(destroy_handle(fresh), 0);
        if (failure == Failure::none)
            break;
    }
}

// A call is atomic up to 16 MiB: one that fails has not happened at all.
TEST_F(Transactions, OfSingleCallsAreAllOrNothing) {
    const std::size_t length = 200'000; // more than one piece
    const auto bytes = pattern(length);
    std::size_t points = 0;
    // Not every page: they are all alike.
    for (std::size_t nth = 1;; nth += nth < 20 ? 1 : 7) {
        SCOPED_TRACE(testing::Message() << "point " << nth);
        const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        auto memory = bytes;
        UserBuffer buffer(memory.data(), length);
        long result = 0;
        Failure failure = Failure::none;
        {
            const FailPoint point(nth);
            result = stm_core_write(fresh.get(), buffer.get(), 5);
            failure = point.happened();
        }
        if (failure != Failure::none)
            ++points;
        std::vector<std::uint8_t> back(length);
        EXPECT_EQ(read(fresh, 5, back.data(), length), static_cast<long>(length));
        if (result < 0) {
            EXPECT_EQ(result, simulated::errno_of(failure));
            EXPECT_EQ(buffer.consumed(), 0u);
            EXPECT_TRUE(back == std::vector<std::uint8_t>(length));
        } else {
            const auto done = static_cast<std::size_t>(result);
            EXPECT_EQ(buffer.consumed(), done);
            EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + result, back.begin()));
            EXPECT_TRUE(done == length || failure == Failure::buffer);
        }
        EXPECT_EQ(destroy_handle(fresh), 0);
        if (failure == Failure::none)
            break;
    }
    std::printf("[  points  ] %-34s %zu (some left out)\n", "a write call of 200 kB", points);
}

// -- Threads --

TEST_F(Transactions, OfManyThreadsLoseNoCount) {
    constexpr int kThreads = 6;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
    std::array<std::uint64_t, kThreads> done{};
    std::atomic<bool> over{false};
    std::thread watchdog([&] {
        while (!over) {
            simulated::run_timers();
            std::this_thread::yield();
        }
    });
    std::vector<std::thread> threads;
    for (int number = 0; number < kThreads; ++number) {
        threads.emplace_back([&, number] {
            // Half of them share a handle.
            File mine = open(control, "tx", kOpen, {0, 0, 0});
            const File& used = number % 2 == 0 ? mine : file;
            std::uint64_t& count = done[static_cast<std::size_t>(number)];
            while (std::chrono::steady_clock::now() < end) {
                if (start(used, STM_START_RESTART | STM_START_SIGNAL(SIGUSR1)) != 1)
                    continue;
                std::uint64_t one = 0;
                std::uint64_t two = 0;
                if (read(used, 0, &one, sizeof(one)) < 0 || read(used, 4096, &two, sizeof(two)) < 0)
                    continue;
                EXPECT_EQ(one, two) << "a snapshot shows one moment";
                ++one;
                if (write(used, 0, &one, sizeof(one)) < 0 ||
                    write(used, 4096, &one, sizeof(one)) < 0)
                    continue;
                if (commit(used) == 0)
                    ++count;
            }
            cancel(used, STM_CANCEL_ALL);
            simulated::take_signals();
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    over = true;
    watchdog.join();
    std::uint64_t sum = 0;
    for (const std::uint64_t count : done)
        sum += count;
    EXPECT_GT(sum, 0u);
    EXPECT_EQ(get(file, 0), sum);
    EXPECT_EQ(get(file, 4096), sum);
    const stm_statistics statistics = statistics_of(file);
    EXPECT_EQ(statistics.commits, sum);
    std::printf("[  rounds  ] %llu commits, %llu serial\n", static_cast<unsigned long long>(sum),
                static_cast<unsigned long long>(statistics.serial));
}

} // namespace
} // namespace stm::test
