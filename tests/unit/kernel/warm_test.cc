// SPDX-License-Identifier: GPL-2.0
// Warm mappings: the pages that a transaction has loaded stay in the mapping for the next one. What
// its transactions see, and who ends it.
#include "tests/unit/kernel/warm_test.hpp"
#include "tests/unit/kernel/threads.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

TEST_F(Warm, ATransactionThatOnlyLoadsHasNeitherAFaultNorACall) {
    EXPECT_EQ(in_transaction(3), 0u);
    faults = calls = 0;
    for (int round = 0; round < 5; ++round)
        EXPECT_EQ(in_transaction(3), 0u);
    EXPECT_EQ(faults, 0u);
    EXPECT_EQ(calls, 0u);
}

TEST_F(Warm, TransactionsWithoutACallAreCounted) {
    in_transaction(3);
    const stm_statistics before = statistics_of(file);
    for (int round = 0; round < 5; ++round)
        in_transaction(3);
    const stm_statistics after = statistics_of(file);
    EXPECT_EQ(after.starts - before.starts, 5u);
    EXPECT_EQ(after.commits - before.commits, 5u);
    EXPECT_EQ(after.read_only - before.read_only, 5u);
}

TEST_F(Warm, AStartBringsUpToDateWhatHasChanged) {
    in_transaction(3);
    in_transaction(4);
    for (std::uint64_t value = 1; value < 5; ++value) {
        disturb(3, value);
        faults = calls = 0;
        begin();
        EXPECT_EQ(calls, 1u) << "something was committed";
        EXPECT_EQ(see(3), value);
        EXPECT_EQ(see(4), 0u);
        EXPECT_EQ(end(), 0);
        EXPECT_EQ(faults, 0u);
    }
}

TEST_F(Warm, ALoadBetweenTransactionsShowsTheSnapshot) {
    in_transaction(3);
    disturb(3, 5);
    EXPECT_EQ(see(3), 0u);
    EXPECT_EQ(see(9), 0u);
    disturb(9, 6);
    begin();
    EXPECT_EQ(see(9), 6u) << "what was loaded outside is in no mapping";
    EXPECT_EQ(see(3), 5u);
    EXPECT_EQ(end(), 0);
}

TEST_F(Warm, StoresBetweenTransactionsAreRefused) {
    put(3, 1);
    EXPECT_FALSE(set(3, 2));
    in_transaction(3);
    EXPECT_TRUE(mapped(3));
    EXPECT_FALSE(set(3, 2));
    EXPECT_EQ(in_transaction(3), 1u);
    EXPECT_EQ(committed(3), 1u);
}

TEST_F(Warm, WhatWasCommittedIsSeenByTheNext) {
    for (std::uint64_t value = 1; value < 6; ++value) {
        put(3, value);
        EXPECT_EQ(committed(3), value);
        disturb(4, value);
        begin();
        EXPECT_EQ(see(3), value);
        EXPECT_EQ(see(4), value);
        EXPECT_EQ(end(), 0);
    }
}

// It is known from the end before that nothing is to be mapped, but then something has happened.
TEST_F(Warm, AStartMapsAgainWhatWasTakenOutForALoadOutside) {
    for (int turn = 0; turn < 2; ++turn) {
        ASSERT_EQ(start(file, STM_START_SITE(5)), 1);
        EXPECT_EQ(see(3), 0u);
        EXPECT_EQ(commit(file), 0);
    }
    EXPECT_EQ(see(9), 0u);
    ASSERT_EQ(start(file, STM_START_SITE(5)), 1);
    EXPECT_TRUE(mapped(3));
    EXPECT_FALSE(mapped(9));
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(Warm, WhatWasCancelledIsNotSeen) {
    put(3, 1);
    begin();
    EXPECT_EQ(see(4), 0u);
    EXPECT_TRUE(set(3, 2));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_TRUE(mapped(4));
    EXPECT_FALSE(mapped(3));
    EXPECT_EQ(in_transaction(3), 1u);
}

TEST_F(Warm, WhatWasCancelledOfAPageThatWasNotThereIsNotSeen) {
    begin();
    EXPECT_TRUE(set(3, 2));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(in_transaction(3), 0u);
}

TEST_F(Warm, WhatWasCancelledInAPartIsNotSeen) {
    put(3, 1);
    begin();
    EXPECT_EQ(start(file), 2);
    EXPECT_TRUE(set(3, 2));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(see(3), 1u);
    EXPECT_EQ(end(), 0);
    EXPECT_EQ(in_transaction(3), 1u);
    EXPECT_EQ(committed(3), 1u);
}

TEST_F(Warm, AConflictLosesWhatWasStored) {
    put(3, 1);
    begin();
    EXPECT_EQ(see(3), 1u);
    EXPECT_TRUE(set(3, 2));
    disturb(3, 7);
    EXPECT_EQ(end(), -EAGAIN);
    EXPECT_EQ(in_transaction(3), 7u);
}

// The pages of the attempt before may be what it was in conflict with, without need.
TEST_F(Warm, TheAttemptAfterAConflictBeginsWithoutPages) {
    in_transaction(3);
    begin();
    EXPECT_TRUE(set(4, 1));
    disturb(3);
    EXPECT_EQ(end(), -EAGAIN) << "a page that is mapped counts as read";
    begin();
    EXPECT_FALSE(mapped(3));
    EXPECT_TRUE(set(4, 1));
    disturb(3);
    EXPECT_EQ(end(), 0);
}

// Then no page has to be taken out for what it shows.
TEST_F(Warm, TheAttemptAfterAConflictOfCallsBeginsWithoutPages) {
    in_transaction(3);
    begin();
    const std::uint64_t value = 1;
    EXPECT_EQ(write(file, 4 * kPage, &value, sizeof(value)), 8);
    disturb(3);
    EXPECT_EQ(end(), -EAGAIN) << "a page that is mapped counts as read";
    begin();
    EXPECT_FALSE(mapped(3));
    EXPECT_EQ(write(file, 4 * kPage, &value, sizeof(value)), 8);
    disturb(3);
    EXPECT_EQ(end(), 0);
}

TEST_F(Warm, ATransactionWithoutACallSeesOneSnapshot) {
    in_transaction(3);
    begin();
    ASSERT_NE(cell.begun(), 0u);
    disturb(3, 1);
    disturb(4, 1);
    EXPECT_EQ(see(3), 0u);
    EXPECT_NE(see(4), 1u) << "it has seen what was there before";
    EXPECT_NE(end(), 0);
    EXPECT_EQ(in_transaction(4), 1u);
}

TEST_F(Warm, ATransactionThatOnlyLoadsIsCommittedWhateverOthersDo) {
    in_transaction(3);
    in_transaction(4);
    begin();
    EXPECT_EQ(see(3), 0u);
    disturb(3, 1);
    disturb(4, 1);
    EXPECT_EQ(see(4), 0u);
    EXPECT_TRUE(cell.end());
}

// The module may learn of the transaction after that.
TEST_F(Warm, WhatIsCommittedAfterTheSnapshotIsNewsForWhoPolls) {
    std::uint64_t page = 10; // one that is not mapped
    for (const bool by_call : {true, false}) {
        SCOPED_TRACE(by_call);
        in_transaction(3);
        in_transaction(3);
        if (by_call)
            disturb(3);
        EXPECT_EQ(cell.begin(clock()), !by_call);
        if (by_call) {
            ASSERT_EQ(start(file), 1);
        }
        EXPECT_EQ(see(3), 77u);
        disturb(9);
        EXPECT_EQ(see(page++), 0u);
        EXPECT_EQ(stm_core_poll_ready(file.get()), 1) << "it has not seen that";
        EXPECT_EQ(end(), 0);
        // One that sees everything knows everything.
        ASSERT_EQ(start(file), 1);
        EXPECT_EQ(see(page++), 0u);
        EXPECT_EQ(stm_core_poll_ready(file.get()), 0);
        EXPECT_EQ(end(), 0);
    }
}

// Two pages that others only change together.
TEST_F(Warm, ACommitInTheMiddleOfAStartIsSeenAsAWhole) {
    in_transaction(3);
    in_transaction(4);
    std::uint64_t value = 0;
    const auto change_both = [&] {
        std::thread([&] {
            EXPECT_EQ(start(other), 1);
            ++value;
            for (const std::uint64_t page : {3, 4}) {
                UserBuffer buffer(&value, sizeof(value));
                EXPECT_EQ(stm_core_write(other.get(), buffer.get(), page * kPage), 8);
            }
            EXPECT_EQ(commit(other), 0);
        }).join();
    };
    for (EachMoment moment; moment.next();) {
        change_both();
        const std::uint64_t before = value;
        moment.in_the_middle(change_both, [&] { EXPECT_EQ(start(file), 1); });
        const std::uint64_t seen = see(3);
        EXPECT_EQ(see(4), seen);
        EXPECT_GE(seen, before);
        EXPECT_EQ(commit(file), 0);
    }
}

TEST_F(Warm, ACommitInTheMiddleOfACommitIsSeenByTheNext) {
    std::uint64_t other_value = 100;
    for (EachMoment moment; moment.next();) {
        const std::uint64_t value = moment.step() + 1;
        in_transaction(5);
        begin();
        EXPECT_EQ(see(5), other_value == 100 ? 0u : other_value);
        EXPECT_TRUE(set(3, value));
        long ended = 0;
        ++other_value;
        moment.in_the_middle([&] { disturb(5, other_value); }, [&] { ended = commit(file); });
        if (!moment.happened())
            break;
        EXPECT_TRUE(ended == 0 || ended == -EAGAIN);
        begin();
        EXPECT_EQ(see(5), other_value);
        EXPECT_EQ(see(3), committed(3));
        EXPECT_EQ(end(), 0);
        if (ended == 0) {
            EXPECT_EQ(committed(3), value);
        }
    }
}

// Of the thread that ends it and the module that learns of it, one wins.
TEST_F(Warm, AnEndWithoutACallAndAFaultAtTheSameTime) {
    in_transaction(3);
    for (EachMoment moment; moment.next();) {
        in_transaction(3);
        begin();
        ASSERT_NE(cell.begun(), 0u);
        bool over = false;
        moment.in_the_middle([&] { over = cell.end(); },
                             [&] { std::thread([&] { see(9); }).join(); });
        if (moment.happened() && over) {
            EXPECT_EQ(transaction_of(file).depth, 0u);
        } else if (!cell.end()) {
            EXPECT_EQ(commit(file), 0);
        }
        EXPECT_FALSE(set(3, 1));
    }
}

TEST_F(Warm, AnotherThreadsTransactionEndsIt) {
    put(3, 1);
    in_transaction(3);
    EXPECT_TRUE(mapped(3));
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_FALSE(mapped(3));
        EXPECT_FALSE(cell.offers());
        disturb(3, 2);
        EXPECT_EQ(see(3), 2u);
        EXPECT_EQ(commit(file), 0);
        EXPECT_FALSE(mapped(3));
    }).join();
    EXPECT_EQ(in_transaction(3), 2u);
}

TEST_F(Warm, AnotherThreadCannotBeginWhileATransactionWithoutACallRuns) {
    in_transaction(3);
    begin();
    std::thread([&] { EXPECT_EQ(start(file), -EBUSY); }).join();
    EXPECT_FALSE(cell.end()) << "the module knows it";
    EXPECT_EQ(commit(file), 0);
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_EQ(commit(file), 0);
    }).join();
}

TEST_F(Warm, AThreadThatBeginsInTheMiddleHasTheViewAlone) {
    simulated::OtherThread second;
    for (EachMoment moment; moment.next();) {
        in_transaction(3);
        long began = 0;
        const auto start_another = [&] {
            const simulated::AsThread it(second);
            began = start(file);
        };
        begin();
        EXPECT_TRUE(set(4, moment.step()));
        moment.in_the_middle(start_another, [&] { EXPECT_EQ(commit(file), 0); });
        EXPECT_TRUE(!moment.happened() || began == 1 || began == -EBUSY) << began;
        if (began == 1) {
            EXPECT_EQ(start(file), -EBUSY);
            const simulated::AsThread it(second);
            EXPECT_EQ(see(4), moment.step());
            EXPECT_EQ(commit(file), 0);
        }
    }
}

TEST_F(Warm, AnotherProcessSeesWhatIsCommitted) {
    put(3, 1);
    in_transaction(3);
    Process child(7, kRoot);
    {
        const As it(child);
        disturb(3, 2);
        EXPECT_EQ(see(3), 2u);
        EXPECT_FALSE(set(3, 3));
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(set(3, 4));
        EXPECT_EQ(commit(file), 0);
        simulated::unmap_own(file.view());
    }
    EXPECT_EQ(in_transaction(3), 4u);
}

TEST_F(Warm, ACallOutsideReadsWhatIsCommitted) {
    in_transaction(3);
    disturb(3, 9);
    std::uint64_t value = 0;
    EXPECT_EQ(read(file, 3 * kPage, &value, sizeof(value)), 8);
    EXPECT_EQ(value, 9u);
    value = 10;
    EXPECT_EQ(write(file, 3 * kPage, &value, sizeof(value)), 8);
    EXPECT_EQ(see(3), 10u) << "the pages have left the mapping";
    EXPECT_EQ(in_transaction(3), 10u);
}

TEST_F(Warm, CallsWithinATransactionWithoutACallBelongToIt) {
    in_transaction(3);
    begin();
    std::uint64_t value = 4;
    EXPECT_EQ(write(file, 3 * kPage, &value, sizeof(value)), 8);
    EXPECT_EQ(see(3), 4u);
    EXPECT_EQ(committed(3), 0u);
    EXPECT_FALSE(cell.end());
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(committed(3), 4u);
    EXPECT_EQ(in_transaction(3), 4u);
}

TEST_F(Warm, WithoutATransactionForAWhileNothingIsLeft) {
    in_transaction(3);
    for (int round = 0; round < 30; ++round) {
        EXPECT_EQ(simulated::run_timers(), 1u);
        EXPECT_EQ(in_transaction(3), 0u);
        EXPECT_TRUE(mapped(3));
    }
    for (int round = 0; round < 30 && mapped(3); ++round)
        simulated::run_timers();
    EXPECT_FALSE(mapped(3));
    EXPECT_FALSE(cell.offers());
    while (simulated::run_timers() != 0) {
    }
    disturb(3, 1);
    EXPECT_EQ(see(3), 1u);
    EXPECT_EQ(in_transaction(3), 1u);
}

TEST_F(Warm, ALoopOnOldDataWithoutACallIsTold) {
    ASSERT_EQ(cell.attach(file, STM_CELL_WARM, SIGURG), 0);
    in_transaction(3);
    in_transaction(3);
    begin();
    ASSERT_NE(cell.begun(), 0u);
    simulated::run_timers();
    ASSERT_NE(cell.begun(), 0u) << "nothing has changed";
    disturb(3);
    simulated::run_timers();
    simulated::run_timers();
    EXPECT_EQ(statistics_of(file).signals, 1u);
    EXPECT_EQ(commit(file), 0) << "it has only loaded";
}

// Others change three pages together, of which two have the same counter of changes, and write
// blocks of two pages. So does the thread.
TEST_F(Warm, CommitsOfSeveralThreadsAreSeenAsAWhole) {
    constexpr std::uint64_t kTogether[] = {5, 6, 5 + 1024};
    constexpr std::uint64_t kBlock = 20;
    const File third = open(control, "tx", kOpen, {0, 0, 0});
    std::atomic<bool> over{false};
    std::atomic<std::uint64_t> increments{0};
    const auto increment_by_calls = [&](const File& with) {
        while (!over) {
            std::uint64_t value = 0;
            bool done = start(with) == 1;
            for (const std::uint64_t page : kTogether)
                done = done && read(with, page * kPage, &value, sizeof value) == 8;
            ++value;
            for (const std::uint64_t page : kTogether)
                done = done && write(with, page * kPage, &value, sizeof value) == 8;
            if (done && commit(with) == 0)
                ++increments;
            else
                (void)cancel(with);
            std::this_thread::yield();
        }
    };
    std::thread first([&] { increment_by_calls(other); });
    std::thread second([&] { increment_by_calls(third); });
    std::thread blocks([&] {
        std::vector<std::uint64_t> block(2 * kPage / 8);
        for (std::uint64_t value = 1; !over; ++value) {
            std::fill(block.begin(), block.end(), value);
            EXPECT_EQ(write(other, kBlock * kPage, block.data(), 2 * kPage),
                      static_cast<long>(2 * kPage));
            std::this_thread::yield();
        }
    });
    const auto last_word = [&](std::uint64_t page) {
        stm_page* const found = simulated::mapped_page(file.view(), page);
        return found == nullptr
                   ? ~std::uint64_t{0}
                   : reinterpret_cast<std::uint64_t*>(simulated::page_bytes(found))[511];
    };
    constexpr std::uint64_t kRefused = ~std::uint64_t{0};
    std::uint64_t before = 0;
    long seen = 0;
    const auto until = Clock::now() + milliseconds(1500);
    for (unsigned round = 0; (Clock::now() < until || seen < 10) && !HasFailure(); ++round) {
        begin();
        std::uint64_t values[3];
        bool valid = true;
        for (int i = 0; i < 3; ++i)
            valid = valid && (values[i] = see(kTogether[i])) != kRefused;
        const std::uint64_t low = valid ? see(kBlock) : kRefused;
        const std::uint64_t high = low != kRefused ? see(kBlock + 1) : kRefused;
        valid = valid && high != kRefused;
        if (valid) {
            EXPECT_EQ(values[0], values[1]);
            EXPECT_EQ(values[0], values[2]);
            EXPECT_GE(values[0], before);
            EXPECT_EQ(low, high);
            EXPECT_EQ(last_word(kBlock), low);
            EXPECT_EQ(last_word(kBlock + 1), low);
            before = values[0];
            ++seen;
        }
        const bool stores = valid && round % 3 == 0;
        for (const std::uint64_t page : kTogether)
            valid = valid && (!stores || set(page, values[0] + 1));
        if (valid) {
            const long ended = end();
            EXPECT_TRUE(ended == 0 || ended == -EAGAIN);
            if (ended == 0 && stores)
                ++increments;
        } else {
            EXPECT_EQ(cancel(file), 0);
        }
    }
    over = true;
    first.join();
    second.join();
    blocks.join();
    for (const std::uint64_t page : kTogether)
        EXPECT_EQ(in_transaction(page), increments);
}

} // namespace
} // namespace stm::test
