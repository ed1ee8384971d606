// SPDX-License-Identifier: GPL-2.0
// Warm mappings: what is likely where all pages of a site are kept.
#include "tests/unit/kernel/warm_test.hpp"

#include <cstdint>

namespace stm::test {
namespace {

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

} // namespace
} // namespace stm::test
