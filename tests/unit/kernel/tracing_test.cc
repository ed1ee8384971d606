// SPDX-License-Identifier: GPL-2.0
// What the core tells those who watch its tracepoints.
#include "tests/unit/kernel/transaction_test.hpp"
#include "tests/unit/kernel/typed_test.hpp"

#include "kernel/interface/trace.h"

namespace stm::test {
namespace {

using simulated::Event;
using simulated::Watching;

std::vector<Event> only(const std::vector<Event>& events, const std::string& what) {
    std::vector<Event> found;
    for (const Event& event : events) {
        if (event.what == what)
            found.push_back(event);
    }
    return found;
}

TEST_F(Transactions, AreWatchedFromStartToCommit) {
    Watching watching;
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 0), 0u);
    put(file, 640, 1);
    put(file, 648, 2);
    ASSERT_EQ(commit(file), 0);
    const std::vector<Event> events = watching.take();
    const std::vector<Event> starts = only(events, "start");
    const std::vector<Event> commits = only(events, "commit");
    ASSERT_EQ(starts.size(), 1u);
    ASSERT_EQ(commits.size(), 1u);
    EXPECT_EQ(starts[0].region, "tx");
    EXPECT_EQ(starts[0].kind, STM_TRACE_STARTED);
    EXPECT_EQ(starts[0].version, 0u) << "the snapshot";
    EXPECT_EQ(commits[0].owner, starts[0].owner);
    EXPECT_EQ(commits[0].version, 1u);
    EXPECT_EQ(commits[0].read, 1u);
    EXPECT_EQ(commits[0].written, 1u);
    const std::vector<Event> accesses = only(events, "access");
    ASSERT_EQ(accesses.size(), 2u);
    EXPECT_EQ(accesses[0].offset, 0);
    EXPECT_EQ(accesses[0].written, 0u);
    EXPECT_EQ(accesses[1].offset, 640);
    EXPECT_EQ(accesses[1].written, 1u);
}

TEST_F(Transactions, TellWhichStripeWasInTheWayOfARead) {
    Watching watching;
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 128), 0u);
    disturb(128);
    disturb(640);
    std::uint64_t value = 0;
    EXPECT_EQ(read(file, 640, &value, sizeof(value)), -EAGAIN);
    ASSERT_EQ(cancel(file), 0);
    const std::vector<Event> aborts = only(watching.take(), "abort");
    ASSERT_EQ(aborts.size(), 1u);
    EXPECT_EQ(aborts[0].reason, unsigned{STM_REASON_READ_VALIDATION});
    EXPECT_EQ(aborts[0].offset, 128) << "not where it noticed";
    EXPECT_EQ(aborts[0].version, 1u);
    EXPECT_EQ(aborts[0].locked_by, 0u);
    EXPECT_EQ(aborts[0].row, 1u);
}

TEST_F(Transactions, TellWhichStripeWasInTheWayOfACommit) {
    Watching watching;
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 192), 0u);
    put(file, 4096, 5);
    disturb(192);
    EXPECT_EQ(commit(file), -EAGAIN);
    const std::vector<Event> events = watching.take();
    const std::vector<Event> aborts = only(events, "abort");
    ASSERT_EQ(aborts.size(), 1u);
    EXPECT_EQ(aborts[0].reason, unsigned{STM_REASON_COMMIT_VALIDATION});
    EXPECT_EQ(aborts[0].offset, 192);
    // Who has done that is the one whose commit has this version.
    const std::vector<Event> commits = only(events, "commit");
    ASSERT_EQ(commits.size(), 1u);
    EXPECT_EQ(commits[0].version, aborts[0].version);
    EXPECT_EQ(commits[0].kind, STM_TRACE_CALL);
}

TEST_F(Transactions, TellWhichStripeOfAPageWasInTheWay) {
    ASSERT_EQ(map(file, 0, kBytes / kPage, STM_MAP_WRITE), 0);
    put(file, 0, 1);
    Watching watching;
    ASSERT_EQ(start(file), 1);
    ASSERT_EQ(fault(file, 0, 0, Access::store).result, STM_FAULT_MAP);
    disturb(1024);
    EXPECT_EQ(commit(file), -EAGAIN);
    const std::vector<Event> events = watching.take();
    const std::vector<Event> aborts = only(events, "abort");
    ASSERT_EQ(aborts.size(), 1u);
    EXPECT_EQ(aborts[0].offset, 1024);
    EXPECT_EQ(aborts[0].version, 2u);
    const std::vector<Event> faults = only(events, "fault");
    ASSERT_FALSE(faults.empty());
    EXPECT_EQ(faults[0].offset, 0);
    EXPECT_EQ(faults[0].written, 1u) << "a store";
    EXPECT_EQ(faults[0].kind, STM_FAULT_MAP);
}

TEST_F(Transactions, ACancelHasNoStripeInItsWay) {
    Watching watching;
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 192), 0u);
    disturb(192);
    ASSERT_EQ(cancel(file), 0);
    const std::vector<Event> aborts = only(watching.take(), "abort");
    ASSERT_EQ(aborts.size(), 1u);
    EXPECT_EQ(aborts[0].reason, unsigned{STM_REASON_CANCEL});
    EXPECT_EQ(aborts[0].offset, -1);
}

TEST_F(Transactions, WhatAThreadLeavesIsARepair) {
    Watching watching;
    {
        OtherThread thread;
        const AsThread as(thread);
        ASSERT_EQ(start(file), 1);
        put(file, 0, 1);
        (void)watching.take();
    }
    stm_core_flush(file.get(), simulated::still_open());
    const std::vector<Event> events = watching.take();
    ASSERT_EQ(only(events, "repair").size(), 1u);
    EXPECT_EQ(only(events, "repair")[0].kind, STM_TRACE_REPAIR_ENDED);
    ASSERT_EQ(only(events, "abort").size(), 1u);
    EXPECT_EQ(only(events, "abort")[0].reason, unsigned{STM_REASON_KILLED});
}

TEST_F(Typed, CommitsAndConflictsAreWatched) {
    Watching watching;
    EXPECT_EQ(commit_sets(file, writing(writing(reading(now(file), 64), 8, 5), 4096, 6)), 0);
    const Sets sets = writing(reading(now(file), 640), 128, 9);
    disturb(640);
    EXPECT_EQ(commit_sets(file, sets), -EAGAIN);
    const std::vector<Event> events = watching.take();
    const std::vector<Event> commits = only(events, "commit");
    ASSERT_EQ(commits.size(), 2u);
    EXPECT_EQ(commits[0].kind, STM_TRACE_TYPED);
    EXPECT_EQ(commits[0].read, 1u);
    EXPECT_EQ(commits[0].written, 2u);
    EXPECT_EQ(commits[0].version, 1u);
    const std::vector<Event> aborts = only(events, "abort");
    ASSERT_EQ(aborts.size(), 1u);
    EXPECT_EQ(aborts[0].kind, STM_TRACE_TYPED);
    EXPECT_EQ(aborts[0].offset, 640);
    std::vector<Event> starts = only(events, "start");
    std::erase_if(starts, [](const Event& one) { return one.kind != STM_TRACE_TYPED; });
    ASSERT_EQ(starts.size(), 2u);
    EXPECT_EQ(starts[0].owner, commits[0].owner);
    EXPECT_EQ(starts[0].version, 0u) << "the snapshot";
    EXPECT_EQ(starts[1].owner, aborts[0].owner);
    EXPECT_EQ(starts[1].version, 1u);
    EXPECT_EQ(aborts[0].version, commits[1].version);
}

// Of one region, and of two.
TEST_F(Typed, TheWaitOfACommitIsWatched) {
    const File second = open(control, "second", kCreate, {kBytes, 0, 0666});
    settings.serial_lease_ms = 50;
    for (const bool several : {false, true}) {
        const simulated::Sleepless sleepless;
        ASSERT_EQ(start(other, STM_START_SERIAL), 1);
        Watching watching;
        {
            OtherThread thread;
            const AsThread as(thread);
            const Sets sets = writing(now(file), 0, 5);
            EXPECT_EQ(several ? commit_both(file, sets, second, writing(now(second), 0, 5))
                              : commit_sets(file, sets),
                      0);
        }
        const std::vector<Event> events = watching.take();
        const std::vector<Event> waits = only(events, "wait");
        ASSERT_EQ(waits.size(), 1u) << several;
        EXPECT_EQ(waits[0].region, "tx");
        EXPECT_EQ(waits[0].kind, STM_TRACE_WAIT_COMMIT);
        const std::vector<Event> repairs = only(events, "repair");
        ASSERT_EQ(repairs.size(), 1u) << several;
        EXPECT_EQ(repairs[0].kind, STM_TRACE_REPAIR_LEASE);
        EXPECT_EQ(cancel(other), 0);
    }
}

TEST_F(Transactions, NobodyIsToldWhenNobodyWatches) {
    std::vector<Event> events;
    {
        Watching watching;
        events = watching.take();
    }
    put(file, 0, 1);
    EXPECT_TRUE(events.empty());
    EXPECT_EQ(stm_linux_traced(), 0);
}

} // namespace
} // namespace stm::test
