// SPDX-License-Identifier: GPL-2.0
// Warm mappings: which pages a start brings up to date, and how.
#include "tests/unit/kernel/warm_test.hpp"

#include <csignal>
#include <cstdint>
#include <future>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

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

} // namespace
} // namespace stm::test
