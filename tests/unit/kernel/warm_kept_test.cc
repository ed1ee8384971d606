// SPDX-License-Identifier: GPL-2.0
// Warm mappings: which pages stay, and in which state.
#include "tests/unit/kernel/warm_test.hpp"

#include <algorithm>
#include <cstdint>
#include <thread>

namespace stm::test {
namespace {

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

} // namespace
} // namespace stm::test
