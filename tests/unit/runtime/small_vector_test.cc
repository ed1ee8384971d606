// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/small_vector.hpp"

#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace stm::runtime {
namespace {

template <typename T>
concept has_vector = requires {
    typename SmallVector<T, 2>;
};
static_assert(has_vector<int> && !has_vector<std::unique_ptr<int>>);

TEST(SmallVector, StaysInlineAsLongAsItFits) {
    const std::size_t before = test::allocation_attempts();
    SmallVector<int, 4> vector;
    EXPECT_TRUE(vector.empty());
    EXPECT_EQ(vector.capacity(), 4u);
    for (int number = 0; number < 4; ++number)
        EXPECT_TRUE(vector.push_back(number).ok());
    EXPECT_EQ(test::allocation_attempts(), before);
    EXPECT_EQ(vector.size(), 4u);
    EXPECT_EQ(vector.back(), 3);
}

TEST(SmallVector, GrowsAndKeepsItsElements) {
    const test::NoLeak no_leak;
    SmallVector<int, 2> vector;
    for (int number = 0; number < 100; ++number)
        ASSERT_TRUE(vector.push_back(number).ok());
    EXPECT_EQ(vector.size(), 100u);
    EXPECT_EQ(vector.capacity(), 128u);
    int expected = 0;
    for (const int number : vector)
        EXPECT_EQ(number, expected++);
    const SmallVector<int, 2>& same = vector;
    EXPECT_EQ(same[99], 99);
    EXPECT_EQ(same.span().size(), 100u);
    EXPECT_EQ(same.end() - same.begin(), 100);
    vector[0] = 7;
    EXPECT_EQ(vector.span()[0], 7);
}

TEST(SmallVector, PushesAnElementOfItself) {
    SmallVector<int, 1> vector;
    ASSERT_TRUE(vector.push_back(5).ok());
    for (int round = 0; round < 10; ++round)
        ASSERT_TRUE(vector.push_back(vector[0]).ok());
    for (const int number : vector)
        EXPECT_EQ(number, 5);
}

TEST(SmallVector, ReservedRoomNeedsNoAllocation) {
    const test::NoLeak no_leak;
    SmallVector<int, 2> vector;
    ASSERT_TRUE(vector.reserve(10).ok());
    EXPECT_EQ(vector.capacity(), 10u);
    const test::FailAllocation failure(1);
    for (int number = 0; number < 10; ++number)
        EXPECT_TRUE(vector.push_back(number).ok());
    EXPECT_TRUE(vector.reserve(5).ok());
    EXPECT_FALSE(failure.happened());
    EXPECT_EQ(vector.push_back(10).error(), Error::no_memory);
}

TEST(SmallVector, AFailedGrowthChangesNothing) {
    const test::NoLeak no_leak;
    SmallVector<u64, 2> vector;
    ASSERT_TRUE(vector.push_back(1).ok() && vector.push_back(2).ok());
    {
        const test::FailAllocation failure(1);
        EXPECT_EQ(vector.push_back(3).error(), Error::no_memory);
    }
    EXPECT_EQ(vector.reserve(~usize{0}).error(), Error::overflow);
    EXPECT_EQ(vector.size(), 2u);
    EXPECT_EQ(vector[1], 2u);
    EXPECT_TRUE(vector.push_back(3).ok());
    EXPECT_EQ(vector[2], 3u);
}

TEST(SmallVector, ForgetsElementsAndKeepsTheRoom) {
    SmallVector<int, 2> vector;
    for (int number = 0; number < 8; ++number)
        ASSERT_TRUE(vector.push_back(number).ok());
    vector.pop_back();
    EXPECT_EQ(vector.back(), 6);
    vector.truncate(3);
    EXPECT_EQ(vector.back(), 2);
    vector.clear();
    EXPECT_TRUE(vector.empty());
    EXPECT_EQ(vector.capacity(), 8u);
}

TEST(SmallVectorDeathTest, WrongAccess) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    SmallVector<int, 2> vector;
    EXPECT_DEATH((void)vector[0], "index out of range");
    EXPECT_DEATH((void)vector.back(), "empty vector");
    EXPECT_DEATH(vector.pop_back(), "empty vector");
    EXPECT_DEATH(vector.truncate(1), "more than there is");
}

} // namespace
} // namespace stm::runtime
