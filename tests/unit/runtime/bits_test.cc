// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/bits.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <random>

namespace stm::runtime {
namespace {

static_assert(popcount(0) == 0 && popcount(~u64{0}) == 64);

TEST(Bits, AgreeWithTheStandardLibrary) {
    std::mt19937_64 random(1);
    for (int round = 0; round < 10000; ++round) {
        const u64 value = random() >> (random() % 64);
        EXPECT_EQ(popcount(value), static_cast<u32>(std::popcount(value)));
        EXPECT_EQ(count_trailing_zeros(value), static_cast<u32>(std::countr_zero(value)));
        EXPECT_EQ(count_leading_zeros(value), static_cast<u32>(std::countl_zero(value)));
        EXPECT_EQ(is_power_of_two(value), std::has_single_bit(value));
        if (value != 0) {
            EXPECT_EQ(log2_floor(value), static_cast<u32>(std::bit_width(value)) - 1);
            EXPECT_EQ(log2_ceil(value), static_cast<u32>(std::bit_width(value - 1)));
        }
    }
}

TEST(Bits, AtTheEdges) {
    EXPECT_EQ(count_trailing_zeros(0), 64u);
    EXPECT_EQ(count_leading_zeros(0), 64u);
    EXPECT_FALSE(is_power_of_two(0));
    EXPECT_TRUE(is_power_of_two(1));
    EXPECT_TRUE(is_power_of_two(u64{1} << 63));
    EXPECT_EQ(log2_floor(1), 0u);
    EXPECT_EQ(log2_ceil(1), 0u);
    EXPECT_EQ(log2_ceil(5), 3u);
    EXPECT_EQ(log2_floor(~u64{0}), 63u);
    EXPECT_EQ(log2_ceil(~u64{0}), 64u);
}

TEST(BitsDeathTest, ZeroHasNoLogarithm) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH((void)log2_floor(0), "of zero");
    EXPECT_DEATH((void)log2_ceil(0), "of zero");
}

} // namespace
} // namespace stm::runtime
