// SPDX-License-Identifier: GPL-2.0
// One typed transaction over several regions: all of it or nothing.
#include "typed.hpp"

#include <memory>

using namespace stm::test;

namespace {

TEST(TypedRegions, AreCommittedTogether) {
    const TypedRegion first("first");
    const TypedRegion second("second");
    ASSERT_TRUE(atomically(first, 0, [&](stm_tx* tx) {
        EXPECT_EQ(add(tx, first, 0, -5), 0);
        EXPECT_EQ(add(tx, second, 64, 5), 0);
    })) << std::strerror(errno);
    EXPECT_EQ(value_at(first, 0), -5);
    EXPECT_EQ(value_at(second, 64), 5);
}

TEST(TypedRegions, OneThatWasOnlyReadIsValidated) {
    const TypedRegion first("first");
    const TypedRegion second("second");
    int attempts = 0;
    ASSERT_TRUE(atomically(first, 0, [&](stm_tx* tx) {
        long value = 0;
        if (stm_tx_load(tx, second, 0, &value, sizeof value) != 0)
            return;
        if (++attempts == 1) {
            const long seven = 7;
            ASSERT_EQ(::pwrite(second.fd(), &seven, sizeof seven, 0), 8);
        }
        static_cast<void>(stm_tx_store(tx, first, 0, &value, sizeof value));
    }));
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(value_at(first, 0), 7);
}

TEST(TypedRegions, TwoObjectsOfOneRegionAreOnePart) {
    const TypedRegion region("same");
    const Attached again(region.name());
    const Attached third(stm_region_attach(region.fd()));
    ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        EXPECT_EQ(add(tx, region, 0, 1), 0);
        EXPECT_EQ(add(tx, again, 0, 1), 0);
        EXPECT_EQ(add(tx, third, 0, 1), 0);
        EXPECT_EQ(add(tx, region, 0, 1), 0);
    })) << std::strerror(errno);
    EXPECT_EQ(value_at(region, 0), 4);
}

TEST(TypedRegions, SixteenAtMost) {
    std::vector<std::unique_ptr<TypedRegion>> regions;
    for (int i = 0; i < 17; ++i)
        regions.push_back(std::make_unique<TypedRegion>("many", kPage));
    ASSERT_TRUE(atomically(*regions[0], 0, [&](stm_tx* tx) {
        for (int i = 0; i < 16; ++i)
            EXPECT_EQ(add(tx, *regions[static_cast<std::size_t>(i)], 0, 1), 0) << i;
    })) << std::strerror(errno);
    for (int i = 0; i < 16; ++i)
        EXPECT_EQ(value_at(*regions[static_cast<std::size_t>(i)], 0), 1);
    EXPECT_FALSE(atomically(*regions[0], 0, [&](stm_tx* tx) {
        for (const auto& region : regions)
            static_cast<void>(add(tx, *region, 0, 1));
    }));
    EXPECT_EQ(errno, EFBIG);
    for (const auto& region : regions)
        EXPECT_LE(value_at(*region, 0), 1);
}

// The second one joins later: the body is repeated once, and then holds both tokens.
TEST(TypedRegions, SerialOnesHoldAllTokens) {
    const TypedRegion first("first");
    const TypedRegion second("second");
    for (const bool swapped : {false, true}) {
        stm_region* const one = swapped ? second : first;
        stm_region* const two = swapped ? first : second;
        int attempts = 0;
        ASSERT_TRUE(atomically(one, STM_TX_SERIAL, [&](stm_tx* tx) {
            ++attempts;
            if (add(tx, one, 0, 1) == 0)
                static_cast<void>(add(tx, two, 0, 1));
        })) << std::strerror(errno);
        EXPECT_EQ(attempts, 2);
    }
    EXPECT_EQ(value_at(first, 0), 2);
    EXPECT_EQ(value_at(second, 0), 2);
}

// One process moves money from region to region; another one looks at both.
TEST(TypedRegions, AreNeverSeenBetween) {
    const TypedRegion first("first");
    const TypedRegion second("second");
    StartingLine line(3);
    const auto mover = [&](long amount) {
        line.wait();
        for (int i = 0; i < 3000; ++i)
            EXPECT_TRUE(atomically(first, 0, [&](stm_tx* tx) {
                if (add(tx, amount < 0 ? first : second, 0, amount) == 0)
                    static_cast<void>(add(tx, amount < 0 ? second : first, 0, -amount));
            }));
    };
    Child one = Child::doing([&] { mover(-1); });
    Child two = Child::doing([&] { mover(2); });
    line.wait();
    for (int i = 0; i < 5000; ++i) {
        ASSERT_TRUE(atomically(first, i % 2 == 0 ? STM_TX_READ_ONLY : 0, [&](stm_tx* tx) {
            long here = 0;
            long there = 0;
            if (stm_tx_load(tx, first, 0, &here, sizeof here) == 0 &&
                stm_tx_load(tx, second, 0, &there, sizeof there) == 0) {
                ASSERT_EQ(here + there, 0);
            }
        }));
    }
    EXPECT_EQ(one.wait(), 0);
    EXPECT_EQ(two.wait(), 0);
    EXPECT_EQ(value_at(first, 0), -3000 - 6000);
    EXPECT_EQ(value_at(second, 0), 3000 + 6000);
}

} // namespace
