// SPDX-License-Identifier: GPL-2.0
// How transactions end when their thread, their program or their last descriptor does.
#include "tests/unit/kernel/transaction_test.hpp"

#include <csignal>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

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
    for (EachMoment moment; moment.next();) {
        const File mutex = open(control, "mutex", kOpen, {0, 0, 0});
        ASSERT_EQ(map(mutex, 0, 1, STM_MAP_WRITE), 0);
        OtherThread closing;
        long started = 0;
        const auto close = [&] {
            const AsThread it(closing);
            stm_core_flush(mutex.get(), simulated::closed_for_good());
        };
        moment.in_the_middle(close, [&] { started = start(mutex); });
        if (!moment.happened()) {
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

// A thread that ends looks at contexts while another one, of a process that shares the handle,
// takes over the very one that was its own.
TEST_F(Transactions, OfAThreadThatTookAContextOverSurviveTheEndOfTheOneBefore) {
    for (EachMoment moment; moment.next();) {
        OtherThread ending;
        OtherThread fresh;
        {
            const AsThread it(ending);
            EXPECT_EQ(start(file), 1);
            put(file, 0, 1);
        }
        ending.end();
        const auto take_over = [&] {
            const AsThread me(fresh);
            EXPECT_EQ(start(file), 1);
            put(file, 64, moment.step());
        };
        {
            const AsThread it(ending);
            moment.in_the_middle(take_over,
                                 [&] { stm_core_flush(file.get(), simulated::kLastDescriptor); });
        }
        if (!moment.happened())
            break;
        const AsThread me(fresh);
        EXPECT_EQ(transaction_of(file).depth, 1u);
        EXPECT_EQ(get(other, 64), moment.step() - 1) << "nothing of it before its commit";
        EXPECT_EQ(commit(file), 0);
        EXPECT_EQ(get(other, 64), moment.step());
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
    for (EachMoment moment; moment.next();) {
        moment.in_the_middle(
            [] { simulated::run_timers(); },
            [&] { EXPECT_EQ(read(file, 0, bytes.data(), kBytes), static_cast<long>(kBytes)); });
    }
    const AsThread it(second);
    EXPECT_EQ(commit(file), 0);
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

// Whether exec closes descriptors before it leaves the old address space is its own affair.
TEST_F(Transactions, WhoseFileExecClosesHoldNothingOfTheAddressSpaceBefore) {
    Process process(200, kRoot, "program");
    const As caller(process);
    EXPECT_EQ(start(file), 1);
    put(file, 0, 1);
    simulated::exec([&] { stm_core_flush(file.get(), simulated::kLastDescriptor); });
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(get(other, 0), 0u);
    ASSERT_EQ(map(file, 0, 1, STM_MAP_WRITE), 0);
    EXPECT_EQ(start(file), 1) << "no view is left behind";
    EXPECT_EQ(commit(file), 0);
}

// A transaction without a mapping does not hold the address space that it began in. In the middle
// of exec its thread has left that one, and is not another program yet.
TEST_F(Transactions, OfAThreadInTheMiddleOfExecAreNotTakenForThoseOfANewAddressSpace) {
    Process process(200, kRoot, "program");
    Process other_process(201, kRoot, "other");
    OtherThread others;
    const auto map_by_the_other = [&] {
        other_process.move_to_the_place_of_an_ended_memory();
        const As caller(other_process);
        const AsThread it(others);
        ASSERT_EQ(map(file, 0, 1, STM_MAP_WRITE), 0);
        EXPECT_EQ(start(file), 1) << "nobody has the view there";
        EXPECT_EQ(commit(file), 0);
    };
    const As caller(process);
    EXPECT_EQ(start(file), 1);
    const stm_memory* const before = simulated::current_memory();
    simulated::exec([&] {
        map_by_the_other();
        const As now(other_process);
        EXPECT_EQ(simulated::current_memory(), before) << "the case that is tested";
    });
    EXPECT_EQ(transaction_of(file).depth, 0u);
}

// A thread with the view of its address space holds that, also while it is in the middle of exec.
TEST_F(Transactions, KeepTheViewOfAnAddressSpaceInTheMiddleOfExec) {
    Process shared(200, kRoot, "parent");
    Process elsewhere(201, kRoot, "elsewhere");
    Process fresh(202, kRoot, "fresh");
    OtherThread child;
    OtherThread mapper;
    const As parent(shared);
    EXPECT_EQ(start(file), 1);
    {
        const As caller(elsewhere);
        const AsThread it(mapper);
        ASSERT_EQ(map(file, 0, 1, STM_MAP_WRITE), 0);
    }
    {
        // As after vfork.
        const AsThread it(child);
        EXPECT_EQ(start(file), 1) << "the parent's is not mapped here";
    }
    {
        // Now it has left that address space, and is not another program yet.
        const As caller(fresh);
        const AsThread it(child);
        stm_linux_memory_current();
    }
    EXPECT_EQ(map(file, 0, 1, STM_MAP_WRITE), -EBUSY) << "the child has the view";
    EXPECT_EQ(cancel(file), 0);
    const AsThread it(child);
    EXPECT_EQ(cancel(file), 0);
}

// The transaction of a program that the thread was two programs ago.
TEST_F(Transactions, OfProgramsBeforeHoldNoAddressSpaceWhenTheyAreClosed) {
    Process process(200, kRoot, "program");
    const As caller(process);
    EXPECT_EQ(start(file), 1);
    const stm_memory* const before = simulated::current_memory();
    simulated::exec([] {});
    process.move_to_the_place_of_an_ended_memory();
    simulated::exec();
    EXPECT_EQ(stm_linux_memory_current(), before) << "the case that is tested";
    const auto references = [] { return simulated::live().memory_references; };
    const auto held = references();
    stm_core_flush(file.get(), simulated::kLastDescriptor);
    EXPECT_EQ(references(), held);
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

} // namespace
} // namespace stm::test
