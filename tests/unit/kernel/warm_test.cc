// SPDX-License-Identifier: GPL-2.0
// Warm mappings: the pages that a transaction has loaded stay in the mapping for the next one.
#include "tests/unit/kernel/threads.hpp"
#include "tests/unit/kernel/two_handles.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <future>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

// A thread's warm cell, used as <stm/ioctl.h> says.
class WarmCell {
public:
    long attach(const File& file, unsigned flags = STM_CELL_WARM, unsigned signal = 0) {
        stm_cell argument{};
        argument.address = reinterpret_cast<std::uint64_t>(&words_);
        argument.flags = flags;
        argument.signal = signal;
        return request(file, STM_IOC_CELL, argument);
    }
    bool offers() { return std::atomic_ref(words_.offer).load() == STM_CELL_OFFER(0); }
    std::uint64_t snapshot() { return std::atomic_ref(words_.snapshot).load(); }
    std::uint64_t begun() { return std::atomic_ref(words_.begun).load(); }
    bool begin(std::uint64_t clock) {
        if (!offers() || (snapshot() != STM_NO_SNAPSHOT && snapshot() != clock))
            return false;
        std::atomic_ref(words_.begun).store(STM_CELL_OFFER(0));
        return offers() || std::atomic_ref(words_.begun).exchange(0) == 0;
    }
    bool end() {
        __u64 begun = STM_CELL_OFFER(0);
        if (!std::atomic_ref(words_.begun).compare_exchange_strong(begun, 0))
            return false;
        std::atomic_ref(words_.ended).fetch_add(1);
        return true;
    }

private:
    alignas(sizeof(stm_warm_cell)) stm_warm_cell words_{};
};

class Warm : public TwoHandles<1100> {
protected:
    WarmCell cell;
    WarmCell cell_of_second_thread; // outlives the file

    void SetUp() override {
        ASSERT_EQ(map(file, 0, kPages, STM_MAP_WRITE), 0);
        ASSERT_EQ(start(file), 1);
        ASSERT_EQ(cell.attach(file), 0);
        ASSERT_EQ(commit(file), 0);
    }

    std::uint64_t clock() {
        stm_fault fault{};
        fault.index = fault.first = fault.last = STM_OFFSET_CLOCK / kPage;
        EXPECT_EQ(stm_core_window_fault(file.get(), &fault), STM_FAULT_MAP);
        auto* const found = reinterpret_cast<stm_clock*>(simulated::page_bytes(fault.pages[0]));
        return std::atomic_ref(found->now).load(std::memory_order_acquire);
    }
    bool mapped(std::uint64_t page) { return simulated::mapped_page(file.view(), page) != nullptr; }
    // What the program does: without a fault where the page is mapped.
    std::uint64_t see(std::uint64_t page) {
        if (!simulated::touch(file.view(), page, false)) {
            ++faults;
            const Fault found = fault(file, page, page);
            return found.result == STM_FAULT_MAP ? *word(found) : ~std::uint64_t{0};
        }
        return *reinterpret_cast<std::uint64_t*>(
            simulated::page_bytes(simulated::mapped_page(file.view(), page)));
    }
    bool set(std::uint64_t page, std::uint64_t value) {
        if (simulated::touch(file.view(), page, true)) {
            *reinterpret_cast<std::uint64_t*>(
                simulated::page_bytes(simulated::mapped_page(file.view(), page))) = value;
            return true;
        }
        ++faults;
        const Fault found = fault(file, page, page, Access::store);
        if (found.result == STM_FAULT_MAP)
            *word(found) = value;
        return found.result == STM_FAULT_MAP;
    }
    // Begins as the library does.
    void begin() {
        if (cell.begin(clock()))
            return;
        ++calls;
        ASSERT_EQ(start(file), 1);
    }
    long end() {
        if (cell.end())
            return 0;
        ++calls;
        return commit(file);
    }
    std::uint64_t in_transaction(std::uint64_t page) {
        begin();
        const std::uint64_t value = see(page);
        EXPECT_EQ(end(), 0);
        return value;
    }
    void put(std::uint64_t page, std::uint64_t value) {
        begin();
        EXPECT_TRUE(set(page, value));
        EXPECT_EQ(end(), 0);
    }
    // The same for any word of a page that is mapped.
    std::uint64_t word_of(std::uint64_t page, std::uint64_t number) {
        see(page);
        return reinterpret_cast<std::uint64_t*>(
            simulated::page_bytes(simulated::mapped_page(file.view(), page)))[number];
    }
    void disturb_word(std::uint64_t page, std::uint64_t number, std::uint64_t value) {
        std::thread([&] {
            UserBuffer buffer(&value, sizeof(value));
            EXPECT_EQ(stm_core_write(other.get(), buffer.get(), page * kPage + number * 8), 8);
        }).join();
    }
    // Of the first word of a page, for a commit of sets.
    static stm_stripe_write write_of(std::uint64_t page, std::uint64_t value) {
        stm_stripe_write write{};
        write.stripe = page * kPage / 64;
        write.mask = 0xff;
        std::memcpy(write.bytes, &value, sizeof(value));
        return write;
    }
    static constexpr std::uint64_t kNothing = ~std::uint64_t{0}; // see() has met a conflict
    unsigned faults = 0;
    unsigned calls = 0;
};

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

TEST_F(Warm, MoreThanSoManyPagesAreNotKept) {
    begin();
    for (std::uint64_t page = 0; page < 128; ++page)
        EXPECT_EQ(see(page), 0u);
    EXPECT_EQ(end(), 0);
    EXPECT_TRUE(mapped(0));
    EXPECT_TRUE(mapped(127));
    begin();
    EXPECT_EQ(see(128), 0u);
    EXPECT_EQ(end(), 0);
    for (std::uint64_t page = 0; page <= 128; ++page)
        EXPECT_FALSE(mapped(page)) << page;
    EXPECT_EQ(in_transaction(7), 0u);
}

TEST_F(Warm, NoMorePagesAreKeptThanTheParameterSays) {
    settings.warm_pages = 3;
    const auto run = [&](std::uint64_t pages) {
        begin();
        for (std::uint64_t page = 0; page < pages; ++page)
            EXPECT_EQ(see(page), 0u);
        EXPECT_EQ(end(), 0);
    };
    run(3);
    EXPECT_TRUE(mapped(0));
    EXPECT_TRUE(mapped(2));
    run(4);
    for (std::uint64_t page = 0; page < 4; ++page)
        EXPECT_FALSE(mapped(page)) << page;
    run(3);
    EXPECT_TRUE(mapped(2));
    settings.warm_pages = 2;
    disturb(9); // or nothing calls the module
    run(1);
    EXPECT_FALSE(mapped(0)) << "at the next end";
    settings.warm_pages = 0;
    run(1);
    EXPECT_FALSE(mapped(0));
    EXPECT_EQ(in_transaction(7), 0u);
}

// Another thread of the program loads while the transaction ends, until its pages leave.
TEST_F(Warm, MoreThanSoManyPagesThatAreLoadedDuringTheEndAreNotKept) {
    constexpr std::uint64_t kMany = 4200; // more than a table of them keeps room for
    settings.max_stripes = 1 << 20;
    settings.max_region_bytes = settings.max_user_bytes = settings.max_bytes = kMany * 2 * kPage;
    const File large = open(control, "large", kCreate, {kMany * kPage, 0});
    ASSERT_EQ(map(large, 0, kMany, STM_MAP_WRITE), 0);
    ASSERT_EQ(start(large), 1);
    ASSERT_EQ(cell_of_second_thread.attach(large), 0);
    ASSERT_EQ(commit(large), 0);
    simulated::OtherThread second;
    for (const auto& way : {std::pair{std::uint64_t{200}, false}, {kMany, true}}) {
        // clang 14 lets no lambda have the names of a structured binding.
        const std::uint64_t count = way.first;
        const bool cancels = way.second;
        std::uint64_t most_kept = 0;
        for (EachMoment moment; moment.next();) {
            ASSERT_EQ(start(large), 1);
            EXPECT_EQ(fault(large, 1, 1).result, STM_FAULT_MAP);
            const Fault stored = fault(large, 2, 2, Access::store);
            ASSERT_EQ(stored.result, STM_FAULT_MAP);
            *word(stored) = moment.step() + 1;
            long ended = -1;
            moment.in_the_middle(
                [&] {
                    const simulated::AsThread it(second);
                    for (std::uint64_t page = 3; page < count; ++page)
                        (void)fault(large, page, page);
                },
                [&] { ended = cancels ? cancel(large) : commit(large); });
            EXPECT_EQ(ended, 0);
            ASSERT_EQ(start(large), 1);
            most_kept = std::max<std::uint64_t>(most_kept, transaction_of(large).stripes_read / 64);
            EXPECT_EQ(commit(large), 0);
        }
        EXPECT_LE(most_kept, 128u);
        EXPECT_GT(most_kept, 0u);
    }
}

TEST_F(Warm, PagesThatOthersChangeAndTheThreadDoesNotLoadAreGivenUp) {
    for (std::uint64_t page = 0; page < 8; ++page)
        in_transaction(page);
    for (int round = 0; round < 20 && mapped(7); ++round) {
        disturb(6);
        disturb(7);
        EXPECT_EQ(in_transaction(0), 0u);
    }
    EXPECT_FALSE(mapped(7));
    faults = 0;
    for (int round = 0; round < 20; ++round) {
        disturb(7);
        EXPECT_EQ(in_transaction(0), 0u);
    }
    EXPECT_LE(faults, 1u) << "what it loads is there";
}

// What they have cost counts only as long as there are pages.
TEST_F(Warm, WithoutPagesTransactionsNeedNoCall) {
    in_transaction(3);
    for (int round = 0; round < 9; ++round) {
        disturb(3);
        in_transaction(3);
    }
    EXPECT_TRUE(mapped(3));
    disturb(3);
    begin();
    EXPECT_TRUE(set(3, 1));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_FALSE(mapped(3));
    begin();
    EXPECT_EQ(end(), 0);
    calls = 0;
    for (int round = 0; round < 5; ++round) {
        begin();
        EXPECT_EQ(end(), 0);
    }
    EXPECT_EQ(calls, 0u);
}

TEST_F(Warm, WithoutTheFlagNothingStays) {
    in_transaction(3);
    EXPECT_TRUE(mapped(3));
    ASSERT_EQ(cell.attach(file, 0), 0);
    put(3, 1);
    EXPECT_FALSE(mapped(3));
    in_transaction(3);
    EXPECT_FALSE(mapped(3));
}

TEST_F(Warm, TheEndOfAThreadLeavesNothing) {
    std::thread([&] {
        ASSERT_EQ(start(file), 1);
        ASSERT_EQ(cell_of_second_thread.attach(file), 0);
        EXPECT_EQ(see(3), 0u);
        ASSERT_EQ(commit(file), 0);
        EXPECT_TRUE(mapped(3));
    }).join();
    disturb(3, 1);
    simulated::run_timers();
    EXPECT_FALSE(mapped(3));
    EXPECT_EQ(see(3), 1u);
    EXPECT_EQ(in_transaction(3), 1u);
}

TEST_F(Warm, TheLastCloseLeavesNothing) {
    in_transaction(3);
    disturb(3, 1);
    stm_core_flush(file.get(), simulated::kLastDescriptor);
    EXPECT_FALSE(mapped(3));
    EXPECT_EQ(see(3), 1u);
}

TEST_F(Warm, TheLastCloseDuringAnEndLeavesNothing) {
    simulated::OtherThread second;
    for (const bool stores : {false, true}) {
        for (const bool cancels : {false, true}) {
            for (EachMoment moment; moment.next();) {
                const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {8 * kPage, 0});
                ASSERT_EQ(map(fresh, 0, 8, STM_MAP_WRITE), 0);
                ASSERT_EQ(start(fresh), 1);
                ASSERT_EQ(cell_of_second_thread.attach(fresh), 0);
                ASSERT_EQ(commit(fresh), 0);
                ASSERT_EQ(start(fresh), 1);
                EXPECT_EQ(fault(fresh, 1, 1).result, STM_FAULT_MAP);
                if (stores) {
                    EXPECT_EQ(fault(fresh, 2, 2, Access::store).result, STM_FAULT_MAP);
                }
                long ended = 0;
                moment.in_the_middle(
                    [&] {
                        const simulated::AsThread it(second);
                        stm_core_flush(fresh.get(), simulated::closed_for_good());
                    },
                    [&] { ended = cancels ? cancel(fresh) : commit(fresh); });
                EXPECT_TRUE(ended == 0 || ended == -ECANCELED) << ended;
                const bool is_mapped = simulated::mapped_page(fresh.view(), 1) != nullptr;
                EXPECT_EQ(is_mapped, !moment.happened());
                EXPECT_EQ(destroy_handle(fresh), 0);
            }
        }
    }
}

TEST_F(Warm, ACloseOfADuplicateChangesNothing) {
    in_transaction(3);
    begin();
    stm_core_flush(file.get(), simulated::still_open());
    EXPECT_FALSE(cell.end());
    EXPECT_EQ(see(3), 0u);
    EXPECT_TRUE(set(3, 1));
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(committed(3), 1u);
}

TEST_F(Warm, APageThatIsPinnedIsNotKept) {
    begin();
    EXPECT_TRUE(set(3, 1));
    stm_page* const page = simulated::mapped_page(file.view(), 3);
    stm_linux_page_get(page);
    EXPECT_EQ(commit(file), 0);
    *reinterpret_cast<std::uint64_t*>(simulated::page_bytes(page)) = 99;
    EXPECT_EQ(in_transaction(3), 1u);
    stm_linux_page_release(page);
}

// At the next start nobody can tell any more.
TEST_F(Warm, APageThatWasPinnedAtTheCommitIsNotKept) {
    begin();
    EXPECT_TRUE(set(3, 1));
    stm_page* const page = simulated::mapped_page(file.view(), 3);
    stm_linux_page_get(page);
    EXPECT_EQ(commit(file), 0);
    *reinterpret_cast<std::uint64_t*>(simulated::page_bytes(page)) = 99;
    stm_linux_page_release(page);
    EXPECT_EQ(in_transaction(3), 1u);
}

// A transaction whose start is a call has another page; one that began without a call has loaded
// from that one already, and has to begin again.
TEST_F(Warm, APageThatWasOnlyLoadedIsNotStoredToWhileItIsPinned) {
    put(3, 1);
    for (const bool by_call : {true, false}) {
        SCOPED_TRACE(by_call);
        EXPECT_EQ(in_transaction(3), 1u);
        EXPECT_EQ(in_transaction(3), 1u);
        stm_page* const page = simulated::mapped_page(file.view(), 3);
        ASSERT_NE(page, nullptr);
        stm_linux_page_get(page);
        if (by_call)
            ASSERT_EQ(start(file), 1);
        else
            ASSERT_TRUE(cell.begin(clock()));
        EXPECT_FALSE(set(3, 2));
        EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(simulated::page_bytes(page)), 1u);
        EXPECT_EQ(cancel(file), 0);
        EXPECT_EQ(in_transaction(3), 1u);
        // The next attempt has a page of its own.
        ASSERT_EQ(start(file), 1);
        EXPECT_TRUE(set(3, 2));
        EXPECT_EQ(cancel(file), 0);
        EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(simulated::page_bytes(page)), 1u);
        stm_linux_page_release(page);
    }
}

// Nobody else commits meanwhile, so it does not conflict. That it may not store to what somebody
// has pinned before is seen at its start; what is pinned later shows what it stores.
TEST_F(Warm, ASerialTransactionDoesNotFailBecauseAPageIsPinned) {
    put(3, 1);
    for (const bool before_start : {true, false}) {
        SCOPED_TRACE(before_start);
        const std::uint64_t value = committed(3);
        EXPECT_EQ(in_transaction(3), value);
        stm_page* const page = simulated::mapped_page(file.view(), 3);
        ASSERT_NE(page, nullptr);
        if (before_start)
            stm_linux_page_get(page);
        ASSERT_EQ(start(file, STM_START_SERIAL), 1);
        if (!before_start) {
            EXPECT_EQ(see(3), value);
            stm_linux_page_get(page);
        }
        EXPECT_TRUE(set(3, value + 1));
        EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(simulated::page_bytes(page)),
                  before_start ? value : value + 1);
        EXPECT_EQ(commit(file), 0);
        EXPECT_EQ(in_transaction(3), value + 1);
        stm_linux_page_release(page);
    }
}

// What calls have written is laid over a page when that is made. In an inner part the page as it
// was is saved before, for which there may be no memory.
TEST_F(Warm, APageWithoutWhatCallsHaveWrittenIsNotKept) {
    constexpr std::uint64_t kPoints = 4;
    for (std::uint64_t point = 1; point <= kPoints; ++point) {
        SCOPED_TRACE(point);
        const std::uint64_t page = 10 + point;
        begin();
        EXPECT_EQ(write(file, page * kPage, &point, sizeof(point)), 8);
        EXPECT_EQ(start(file), 2);
        {
            const FailPoint fails(point);
            (void)fault(file, page, page);
        }
        EXPECT_EQ(commit(file), 0);
        EXPECT_EQ(end(), 0);
        EXPECT_EQ(committed(page), point);
        EXPECT_EQ(in_transaction(page), point);
    }
}

TEST_F(Warm, APageThatWasStoredToStaysForLoadsAlone) {
    for (std::uint64_t value = 1; value < 4; ++value) {
        put(3, value);
        EXPECT_TRUE(mapped(3));
        EXPECT_FALSE(simulated::touch(file.view(), 3, true));
        EXPECT_EQ(committed(3), value);
    }
    faults = calls = 0;
    EXPECT_EQ(in_transaction(3), 3u);
    EXPECT_EQ(faults + calls, 0u);
}

TEST_F(Warm, APageThatCannotBeProtectedWhereItIsLeaves) {
    put(3, 1);
    begin();
    EXPECT_TRUE(set(3, 2));
    {
        const simulated::MappingsMoved moved;
        EXPECT_EQ(end(), 0);
    }
    EXPECT_FALSE(mapped(3));
    EXPECT_EQ(in_transaction(3), 2u);
}

TEST_F(Warm, ACommitThatFailsLeavesNothingThatItHasStored) {
    put(3, 1);
    begin();
    EXPECT_TRUE(set(3, 2));
    disturb(3, 7);
    EXPECT_EQ(end(), -EAGAIN);
    EXPECT_FALSE(mapped(3));
    EXPECT_EQ(see(3), 7u);
}

TEST_F(Warm, APageThatWasExpectedToBeStoredToIsComparedOnlyIfItWas) {
    constexpr std::uint64_t kSite = 7;
    for (std::uint64_t value = 1; value < 6; ++value) {
        ASSERT_EQ(start(file, kSite << 32), 1);
        EXPECT_TRUE(set(3, value));
        EXPECT_TRUE(set(4, value));
        EXPECT_EQ(commit(file), 0);
    }
    ASSERT_EQ(start(file, kSite << 32), 1);
    EXPECT_TRUE(simulated::touch(file.view(), 3, true)) << "stores are expected";
    *reinterpret_cast<std::uint64_t*>(
        simulated::page_bytes(simulated::mapped_page(file.view(), 3))) = 9;
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(committed(3), 9u);
    EXPECT_EQ(committed(4), 5u);
    EXPECT_FALSE(simulated::touch(file.view(), 4, true));
}

// -- Which pages a start brings up to date, and how --

// All of the stripes of a page that have changed.
TEST_F(Warm, AStartBringsUpToDateEachPartOfAPageThatHasChanged) {
    in_transaction(3);
    for (std::uint64_t value = 1; value < 5; ++value) {
        for (const std::uint64_t word : {0, 8, 264, 511})
            disturb_word(3, word, value + word);
        begin();
        EXPECT_EQ(see(3), value);
        for (const std::uint64_t word : {0, 8, 264, 511})
            EXPECT_EQ(word_of(3, word), value + word);
        EXPECT_EQ(end(), 0);
    }
}

// Whoever has pinned the page has what was there when he did.
TEST_F(Warm, APageThatIsPinnedIsNotBroughtUpToDate) {
    in_transaction(3);
    in_transaction(3);
    stm_page* const page = simulated::mapped_page(file.view(), 3);
    ASSERT_NE(page, nullptr);
    stm_linux_page_get(page);
    disturb(3, 5);
    EXPECT_EQ(in_transaction(3), 5u);
    EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(simulated::page_bytes(page)), 0u);
    stm_linux_page_release(page);
}

// A store that is expected is one that the module does not see.
TEST_F(Warm, AStartAllowsNoStoresToAPageThatIsPinned) {
    constexpr std::uint64_t kSite = STM_START_SITE(7);
    const auto store_to_both = [&](std::uint64_t value) {
        ASSERT_EQ(start(file, kSite), 1);
        EXPECT_TRUE(set(3, value));
        EXPECT_TRUE(set(4, value));
        EXPECT_EQ(commit(file), 0);
    };
    enum class Mapped { both, the_pinned_one, none };
    for (const Mapped mapped_pages : {Mapped::both, Mapped::the_pinned_one, Mapped::none}) {
        SCOPED_TRACE(static_cast<int>(mapped_pages));
        for (std::uint64_t value = 1; value < 6; ++value)
            store_to_both(value);
        stm_page* const page = simulated::mapped_page(file.view(), 3);
        ASSERT_NE(page, nullptr);
        stm_linux_page_get(page);
        if (mapped_pages == Mapped::the_pinned_one) {
            ASSERT_EQ(start(file), 1);
            EXPECT_TRUE(set(4, 9));
            EXPECT_EQ(cancel(file), 0);
            EXPECT_FALSE(mapped(4));
        } else if (mapped_pages == Mapped::none) {
            EXPECT_EQ(see(9), 0u); // outside of a transaction
        }
        ASSERT_EQ(start(file, kSite), 1);
        EXPECT_TRUE(mapped(3));
        EXPECT_EQ(see(3), 5u);
        EXPECT_FALSE(simulated::touch(file.view(), 3, true));
        EXPECT_TRUE(simulated::touch(file.view(), 4, true)) << "stores are expected";
        EXPECT_EQ(cancel(file), 0);
        stm_linux_page_release(page);
    }
}

// What it keeps of the page that it has written has nothing of the other one's.
TEST_F(Warm, ACommitToTheSamePageInTheMiddleOfACommitIsSeenByTheNext) {
    std::uint64_t others = 0;
    unsigned committed_both = 0;
    bool happened = true;
    for (std::size_t step = 1; happened; ++step) {
        SCOPED_TRACE(step);
        in_transaction(3);
        begin();
        EXPECT_EQ(word_of(3, 64), others);
        EXPECT_TRUE(set(3, step));
        long ended = 0;
        happened = false;
        {
            const simulated::InterleaveCommit moment(step, [&] {
                happened = true;
                disturb_word(3, 64, ++others);
            });
            ended = commit(file);
        }
        EXPECT_TRUE(ended == 0 || ended == -EAGAIN) << ended;
        committed_both += happened && ended == 0 ? 1 : 0;
        begin();
        EXPECT_EQ(see(3), committed(3));
        EXPECT_EQ(word_of(3, 64), others);
        EXPECT_EQ(end(), 0);
    }
    EXPECT_GT(committed_both, 0u);
}

// The other one stands still at each step of its commit until this one has begun and ended; then
// this one begins again.
TEST_F(Warm, AStartInTheMiddleOfACommitAndTheOneAfterSeeItAsAWhole) {
    std::vector<std::uint64_t> block(2 * kPage / 8);
    const auto by_calls = [&](std::uint64_t value) {
        EXPECT_EQ(start(other), 1);
        for (const std::uint64_t page : {3, 4}) {
            UserBuffer buffer(&value, sizeof(value));
            EXPECT_EQ(stm_core_write(other.get(), buffer.get(), page * kPage), 8);
        }
        return [&] { EXPECT_EQ(commit(other), 0); };
    };
    const auto as_a_block = [&](std::uint64_t value) {
        block[0] = block[kPage / 8] = value;
        return [&] {
            UserBuffer buffer(block.data(), 2 * kPage);
            EXPECT_EQ(stm_core_write(other.get(), buffer.get(), 3 * kPage), long{2 * kPage});
        };
    };
    const auto as_sets = [&](std::uint64_t value) {
        return [&, value] {
            const stm_stripe_write writes[] = {write_of(3, value), write_of(4, value)};
            auto argument = argument_of<stm_commit_sets>(0);
            argument.sets.handle = -1;
            argument.sets.snapshot = clock();
            argument.sets.writes = reinterpret_cast<std::uint64_t>(writes);
            argument.sets.write_count = 2;
            EXPECT_EQ(request(other, STM_IOC_COMMIT_SETS, argument), 0);
        };
    };
    std::uint64_t value = 0;
    const auto try_each_step = [&](auto prepare) {
        bool everywhere = false;
        for (std::size_t step = 1; !everywhere; ++step) {
            SCOPED_TRACE(testing::Message() << "step " << step);
            in_transaction(3);
            in_transaction(4);
            std::promise<bool> there;
            std::promise<void> over;
            const std::uint64_t before = value++;
            std::thread rival([&, now = value] {
                const auto change = prepare(now);
                bool told = false;
                const simulated::InterleaveCommit stands(step, [&] {
                    told = true;
                    there.set_value(true);
                    over.get_future().wait();
                });
                change();
                if (!told)
                    there.set_value(false);
            });
            everywhere = !there.get_future().get();
            ASSERT_EQ(start(file), 1);
            const std::uint64_t seen = see(3);
            const std::uint64_t then = seen == kNothing ? kNothing : see(4);
            // If not, it has met a lock.
            if (seen != kNothing && then != kNothing) {
                EXPECT_EQ(seen, then);
                EXPECT_TRUE(seen == before || seen == value) << seen;
                EXPECT_EQ(commit(file), 0);
            } else {
                EXPECT_EQ(cancel(file), 0);
            }
            over.set_value();
            rival.join();
            EXPECT_EQ(in_transaction(3), value);
            EXPECT_EQ(in_transaction(4), value);
        }
    };
    {
        SCOPED_TRACE("by calls");
        try_each_step(by_calls);
    }
    {
        SCOPED_TRACE("as a block");
        try_each_step(as_a_block);
    }
    {
        SCOPED_TRACE("as sets");
        try_each_step(as_sets);
    }
}

// Somebody commits at each step of a start in turn.
TEST_F(Warm, ACommitAtEachStepOfAStartIsSeenByTheNext) {
    std::uint64_t value = 0;
    bool happened = true;
    for (std::size_t step = 1; happened; ++step) {
        SCOPED_TRACE(step);
        in_transaction(3);
        in_transaction(4);
        disturb(3, ++value);
        happened = false;
        {
            const simulated::InterleaveCommit moment(step, [&] {
                happened = true;
                disturb(3, ++value);
                disturb(4, value);
            });
            ASSERT_EQ(start(file), 1);
        }
        const std::uint64_t seen = see(3);
        EXPECT_GE(seen + 1, value);
        EXPECT_EQ(commit(file), 0);
        EXPECT_EQ(in_transaction(3), value);
        EXPECT_EQ(in_transaction(4), happened ? value : see(4));
    }
}

// In a direct region programs commit without the module, so nobody counts.
TEST_F(Warm, InADirectRegionWhatHasChangedIsFoundAllTheSame) {
    const File direct = open(control, "direct", kCreate, {4 * kPage, STM_REGION_DIRECT, 0666});
    const File by_others = open(control, "direct", kOpen, {0, 0, 0});
    ASSERT_EQ(map(direct, 0, 4, STM_MAP_WRITE), 0);
    ASSERT_EQ(start(direct), 1);
    ASSERT_EQ(cell_of_second_thread.attach(direct), 0);
    ASSERT_EQ(commit(direct), 0);
    const auto change = [&](std::uint64_t value) {
        std::thread([&] {
            UserBuffer buffer(&value, sizeof(value));
            EXPECT_EQ(stm_core_write(by_others.get(), buffer.get(), kPage), 8);
        }).join();
    };
    const auto seen = [&] {
        stm_page* const page = simulated::mapped_page(direct.view(), 1);
        return page != nullptr ? *reinterpret_cast<std::uint64_t*>(simulated::page_bytes(page))
                               : *word(fault(direct, 1, 1));
    };
    for (std::uint64_t value = 1; value < 5; ++value) {
        change(value);
        ASSERT_EQ(start(direct), 1);
        EXPECT_EQ(seen(), value);
        EXPECT_EQ(commit(direct), 0);
    }
    ASSERT_EQ(start(direct), 1);
    EXPECT_TRUE(simulated::mapped_page(direct.view(), 1) != nullptr);
    const Fault stored = fault(direct, 2, 2, Access::store);
    ASSERT_EQ(stored.result, STM_FAULT_MAP);
    *word(stored) = 1;
    change(7);
    EXPECT_EQ(commit(direct), -EAGAIN);
}

// -- Starts that take an offer in place of the thread --

TEST_F(Warm, AStartThatOnlyBringsPagesUpToDateIsEndedWithoutACall) {
    in_transaction(3);
    in_transaction(3);
    disturb(3, 5);
    ASSERT_EQ(start(file), 1);
    EXPECT_NE(cell.begun(), 0u);
    EXPECT_EQ(see(3), 5u);
    EXPECT_TRUE(cell.end());
    EXPECT_EQ(transaction_of(file).depth, 0u);
}

TEST_F(Warm, AStartBeforeStoresThatAreExpectedAllowsThem) {
    constexpr std::uint64_t kStores = STM_START_SITE(7);
    for (std::uint64_t value = 1; value < 6; ++value) {
        ASSERT_EQ(start(file, kStores), 1);
        EXPECT_TRUE(set(3, value));
        EXPECT_EQ(commit(file), 0);
    }
    // The offer is of another site, whose transactions only load.
    in_transaction(3);
    in_transaction(3);
    disturb(9);
    ASSERT_EQ(start(file, kStores), 1);
    EXPECT_TRUE(simulated::touch(file.view(), 3, true));
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Warm, AStartWithAnotherSignalIsNotThatOfTheOffer) {
    in_transaction(3);
    in_transaction(3);
    disturb(9);
    ASSERT_EQ(start(file, STM_START_SIGNAL(SIGURG)), 1);
    EXPECT_EQ(see(3), 0u);
    disturb(3);
    for (int round = 0; round < 3; ++round)
        simulated::run_timers();
    EXPECT_EQ(statistics_of(file).signals, 1u);
    EXPECT_EQ(commit(file), 0);
}

// -- What is likely where all pages of a site are kept --

class WarmSite : public Warm {
protected:
    static constexpr std::uint64_t kSite = STM_START_SITE(5);
    void make_pages_3_and_4_likely() {
        for (int turn = 0; turn < 4; ++turn) {
            ASSERT_EQ(start(file, kSite), 1);
            EXPECT_EQ(see(3) + see(4), 0u);
            EXPECT_EQ(commit(file), 0);
        }
    }
};

TEST_F(WarmSite, AStartMapsAgainThePageThatHasLeft) {
    ASSERT_NO_FATAL_FAILURE(make_pages_3_and_4_likely());
    ASSERT_EQ(start(file), 1);
    EXPECT_TRUE(set(4, 1));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_TRUE(mapped(3));
    EXPECT_FALSE(mapped(4));
    ASSERT_EQ(start(file, kSite), 1);
    EXPECT_TRUE(mapped(4));
    EXPECT_EQ(commit(file), 0);
}

TEST_F(WarmSite, AStartMapsAgainThePagesIfAllHaveLeft) {
    ASSERT_NO_FATAL_FAILURE(make_pages_3_and_4_likely());
    std::uint64_t value = 0;
    EXPECT_EQ(read(file, 9 * kPage, &value, sizeof(value)), 8);
    EXPECT_FALSE(mapped(3));
    ASSERT_EQ(start(file, kSite), 1);
    EXPECT_TRUE(mapped(3));
    EXPECT_TRUE(mapped(4));
    EXPECT_EQ(commit(file), 0);
}

// Nobody looks which pages a transaction without stores has loaded.
TEST_F(WarmSite, APageThatWasPredictedStaysLikelyThoughNobodyKnowsThatItWasLoaded) {
    ASSERT_NO_FATAL_FAILURE(make_pages_3_and_4_likely());
    for (int turn = 0; turn < 6; ++turn) {
        settings.warm_pages = 0;
        ASSERT_EQ(start(file, kSite), 1);
        EXPECT_EQ(see(3) + see(4), 0u);
        EXPECT_EQ(commit(file), 0);
        EXPECT_FALSE(mapped(3));
        settings.warm_pages = 64;
        ASSERT_EQ(start(file, kSite), 1);
        EXPECT_TRUE(mapped(3)) << turn;
        EXPECT_TRUE(mapped(4)) << turn;
        EXPECT_EQ(see(3) + see(4), 0u);
        EXPECT_EQ(commit(file), 0);
        EXPECT_TRUE(mapped(3)) << "it is kept";
    }
}

TEST_F(WarmSite, APageThatWasPredictedForStoresAndNotTouchedCountsAsThat) {
    const auto store_to_both = [&] {
        ASSERT_EQ(start(file, kSite), 1);
        EXPECT_TRUE(set(3, 1) && set(4, 1));
        EXPECT_EQ(commit(file), 0);
    };
    store_to_both();
    store_to_both();
    settings.warm_pages = 0;
    store_to_both();
    settings.warm_pages = 64;
    const stm_statistics before = statistics_of(file);
    ASSERT_EQ(start(file, kSite), 1);
    EXPECT_TRUE(mapped(3) && mapped(4));
    EXPECT_TRUE(set(4, 2));
    EXPECT_EQ(commit(file), 0);
    const stm_statistics now = statistics_of(file);
    EXPECT_EQ(now.predicted_used - before.predicted_used, 1u);
    EXPECT_EQ(now.predicted_unused - before.predicted_unused, 1u);
    EXPECT_TRUE(mapped(3)) << "it is kept";
}

// Where nothing is stored nobody finds out which of the predicted pages are loaded.
TEST_F(WarmSite, PagesThatWereGivenUpAreLikelyAgainWhenTheyAreTouched) {
    for (int turn = 0; turn < 4; ++turn) {
        ASSERT_EQ(start(file, kSite), 1);
        for (std::uint64_t page = 0; page < 8; ++page)
            see(page);
        EXPECT_EQ(commit(file), 0);
    }
    unsigned there = 0;
    faults = 0;
    for (int round = 0; round < 300; ++round) {
        for (std::uint64_t page = 1; page < 8; ++page)
            disturb(page);
        ASSERT_EQ(start(file, kSite), 1);
        EXPECT_EQ(see(0), 0u);
        EXPECT_EQ(commit(file), 0);
        if (round >= 200)
            there += mapped(7) ? 1 : 0;
    }
    EXPECT_EQ(there, 0u);
    EXPECT_LE(faults, 10u);
}

// It is in the read set though the program does not load it.
TEST_F(WarmSite, APredictedPageThatOthersChangeIsTheReasonOfFewConflicts) {
    ASSERT_NO_FATAL_FAILURE(make_pages_3_and_4_likely());
    unsigned conflicts = 0;
    for (std::uint64_t turn = 0; turn < 6; ++turn) {
        ASSERT_EQ(start(file, kSite), 1);
        disturb(3);
        disturb(9 + turn);
        if (see(9 + turn) == kNothing) {
            ++conflicts;
            EXPECT_EQ(cancel(file), 0);
        } else {
            EXPECT_EQ(commit(file), 0);
        }
    }
    EXPECT_LE(conflicts, 3u);
}

// A start that allows stores is a call, and each store that does not come costs something.
TEST_F(WarmSite, StoresToPagesChosenAtRandomAreNotExpectedForLong) {
    constexpr std::uint64_t kTable = 64;
    for (std::uint64_t page = 0; page < kTable; ++page)
        in_transaction(page);
    std::uint64_t random = 1;
    unsigned first_stores = 0;
    for (int round = 0; round < 4000; ++round) {
        if (round == 1000)
            faults = first_stores = 0;
        ASSERT_EQ(start(file, kSite), 1);
        std::uint64_t stored = 0;
        for (int turn = 0; turn < 3; ++turn) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            const std::uint64_t page = (random >> 33) % kTable;
            first_stores += stored >> page & 1 ? 0 : 1;
            stored |= std::uint64_t{1} << page;
            EXPECT_TRUE(set(page, random));
        }
        EXPECT_EQ(commit(file), 0);
    }
    EXPECT_GE(faults, first_stores * 99 / 100) << "of so many first stores";
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
