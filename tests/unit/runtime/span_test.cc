// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/span.hpp"

#include <gtest/gtest.h>

#include <type_traits>

namespace stm::runtime {
namespace {

static_assert(std::is_convertible_v<Span<int>, Span<const int>>);
static_assert(!std::is_convertible_v<Span<const int>, Span<int>>);
static_assert(!std::is_convertible_v<Span<int>, Span<const long>>);
static_assert(std::is_trivially_copyable_v<Span<int>>);

TEST(Span, IsEmptyByDefault) {
    const Span<int> span;
    EXPECT_TRUE(span.empty());
    EXPECT_EQ(span.size(), 0u);
    EXPECT_EQ(span.begin(), span.end());
    EXPECT_TRUE(span.subspan(0, 0).ok());
}

TEST(Span, ShowsTheObjects) {
    int numbers[] = {1, 2, 3};
    const Span<int> span(numbers);
    EXPECT_EQ(span.size(), 3u);
    EXPECT_EQ(span.size_bytes(), 12u);
    span[1] = 5;
    EXPECT_EQ(numbers[1], 5);
    int sum = 0;
    for (const int number : Span<const int>(span))
        sum += number;
    EXPECT_EQ(sum, 9);
    EXPECT_EQ(as_bytes(span).size(), 12u);
    EXPECT_EQ(as_bytes(span)[4], 5);
}

TEST(Span, AtAndSubspanRefuseWhatIsOutside) {
    int numbers[] = {1, 2, 3, 4};
    const Span<int> span(numbers);
    EXPECT_EQ(*span.at(3), &numbers[3]);
    EXPECT_EQ(span.at(4).error(), Error::invalid);
    EXPECT_EQ(span.at(usize(-1)).error(), Error::invalid);

    const Result<Span<int>> middle = span.subspan(1, 2);
    ASSERT_TRUE(middle.ok());
    EXPECT_EQ(middle->data(), &numbers[1]);
    EXPECT_EQ(middle->size(), 2u);
    EXPECT_EQ(span.subspan(0, 4)->size(), 4u);
    EXPECT_EQ(span.subspan(4, 0)->size(), 0u);
    EXPECT_FALSE(span.subspan(0, 5).ok());
    EXPECT_FALSE(span.subspan(5, 0).ok());
    EXPECT_FALSE(span.subspan(1, usize(-1)).ok());
    EXPECT_FALSE(span.subspan(usize(-1), 2).ok());
}

TEST(SpanDeathTest, AWrongIndexPanics) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    int numbers[] = {1, 2, 3};
    const Span<int> span(numbers);
    EXPECT_DEATH((void)span[3], "index out of range");
    EXPECT_DEATH((void)Span<int>()[0], "index out of range");
    EXPECT_DEATH((void)Span<int>(nullptr, 1), "null with a count");
}

} // namespace
} // namespace stm::runtime
