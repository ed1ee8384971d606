// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/checked.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <type_traits>

namespace stm::runtime {
namespace {

constexpr u64 kMax = std::numeric_limits<u64>::max();

// None of this compiles for a value from user space.
template <typename T>
concept usable = requires(T value) {
    value + 1;
}
|| requires(T value) {
    value - value;
}
|| requires(T value) {
    value* value;
}
|| requires(T value) {
    value << 1;
}
|| requires(T value) {
    value & 1;
}
|| requires(T value) {
    -value;
}
|| requires(T value) {
    ++value;
}
|| requires(T value) {
    value += 1;
}
|| requires(T value) {
    value == value;
}
|| requires(T value) {
    value < value;
}
|| requires(T value) {
    value == 0;
}
|| requires(T value) {
    !value;
}
|| requires(T value, int* array) {
    array[value];
}
|| requires(T value) {
    static_cast<bool>(value);
}
|| requires(T value) {
    static_cast<u64>(value);
}
|| requires(T value) {
    value ? 1 : 2;
};
static_assert(usable<u64> && usable<i32>);
static_assert(!usable<Untrusted<u64>> && !usable<Untrusted<u32>> && !usable<Untrusted<i64>>);
static_assert(!std::is_convertible_v<Untrusted<u64>, u64>);
static_assert(!std::is_convertible_v<u64, Untrusted<u64>>);
static_assert(std::is_constructible_v<Untrusted<u64>, unsigned long long>);
static_assert(!std::is_constructible_v<Untrusted<u64>, u32>);
static_assert(!std::is_constructible_v<Untrusted<u64>, i64>);
static_assert(!std::is_constructible_v<Untrusted<u32>, u64>);
static_assert(!std::is_default_constructible_v<Untrusted<u64>>);
static_assert(std::is_trivially_copyable_v<Untrusted<u64>> && sizeof(Untrusted<u32>) == 4);
// Only within() makes a Range.
static_assert(!std::is_constructible_v<Range, u64, u64> && !std::is_default_constructible_v<Range>);

template <typename A, typename B>
concept addable = requires(A left, B right) {
    checked_add(left, right);
};
static_assert(addable<u64, u64> && !addable<u64, u32> && !addable<u64, i64> &&
              !addable<bool, bool>);

TEST(Checked, AddSubMul) {
    EXPECT_EQ(*checked_add(kMax - 1, u64{1}), kMax);
    EXPECT_EQ(checked_add(kMax, u64{1}).error(), Error::overflow);
    EXPECT_EQ(*checked_sub(u64{5}, u64{5}), 0u);
    EXPECT_EQ(checked_sub(u64{5}, u64{6}).error(), Error::overflow);
    EXPECT_EQ(*checked_mul(u64{1} << 32, (u64{1} << 32) - 1), kMax - (u64{1} << 32) + 1);
    EXPECT_EQ(checked_mul(u64{1} << 32, u64{1} << 32).error(), Error::overflow);

    EXPECT_EQ(checked_add(u8{255}, u8{1}).error(), Error::overflow);
    EXPECT_EQ(*checked_sub(i32{5}, i32{6}), -1);
    EXPECT_EQ(checked_sub(std::numeric_limits<i64>::min(), i64{1}).error(), Error::overflow);
    EXPECT_EQ(checked_mul(std::numeric_limits<i32>::min(), i32{-1}).error(), Error::overflow);
}

TEST(Checked, Alignment) {
    EXPECT_EQ(*checked_align_up(u64{0}, u64{4096}), 0u);
    EXPECT_EQ(*checked_align_up(u64{1}, u64{4096}), 4096u);
    EXPECT_EQ(*checked_align_up(u64{4096}, u64{4096}), 4096u);
    EXPECT_EQ(*checked_align_up(kMax - 4095, u64{4096}), kMax - 4095);
    EXPECT_EQ(checked_align_up(kMax - 4094, u64{4096}).error(), Error::overflow);
    EXPECT_EQ(*checked_align_up(u8{129}, u8{2}), 130);
    EXPECT_EQ(checked_align_up(u8{255}, u8{2}).error(), Error::overflow);
    EXPECT_EQ(align_down(u64{4097}, u64{4096}), 4096u);
    EXPECT_EQ(align_down(u8{255}, u8{128}), 128);
    EXPECT_TRUE(is_aligned(u64{8192}, u64{4096}));
    EXPECT_FALSE(is_aligned(u64{8193}, u64{4096}));
    EXPECT_TRUE(is_aligned(u64{3}, u64{1}));
}

TEST(Checked, Narrow) {
    EXPECT_EQ(*narrow<u8>(u64{255}), 255);
    EXPECT_EQ(narrow<u8>(u64{256}).error(), Error::overflow);
    EXPECT_EQ(narrow<u64>(i32{-1}).error(), Error::overflow);
    EXPECT_EQ(*narrow<u64>(i32{1}), 1u);
    EXPECT_EQ(narrow<i64>(kMax).error(), Error::overflow);
    EXPECT_EQ(*narrow<i32>(i64{-5}), -5);
    EXPECT_EQ(narrow<i32>(i64{1} << 31).error(), Error::overflow);
}

TEST(Untrusted, IsAValueOnceItIsInRange) {
    EXPECT_EQ(*Untrusted<u64>(u64{5}).checked(5, 7), 5u);
    EXPECT_EQ(*Untrusted<u64>(u64{7}).checked(5, 7), 7u);
    EXPECT_EQ(Untrusted<u64>(u64{4}).checked(5, 7).error(), Error::invalid);
    EXPECT_EQ(Untrusted<u64>(u64{8}).checked(5, 7).error(), Error::invalid);
    EXPECT_EQ(*Untrusted<i64>(i64{-1}).checked(-1, 0), -1);
    EXPECT_FALSE(Untrusted<i64>(i64{-2}).checked(-1, 0).ok());
    EXPECT_EQ(Untrusted<u64>(kMax).any_value(), kMax);
}

TEST(Untrusted, MultiplesAndFlags) {
    EXPECT_EQ(*Untrusted<u64>(u64{8192}).checked_multiple(4096, 4096, 1 << 20), 8192u);
    EXPECT_FALSE(Untrusted<u64>(u64{8191}).checked_multiple(4096, 4096, 1 << 20).ok());
    EXPECT_FALSE(Untrusted<u64>(u64{0}).checked_multiple(4096, 4096, 1 << 20).ok());
    EXPECT_FALSE(Untrusted<u64>(u64{2 << 20}).checked_multiple(4096, 4096, 1 << 20).ok());
    EXPECT_EQ(*Untrusted<u32>(u32{5}).checked_flags(7), 5u);
    EXPECT_EQ(*Untrusted<u32>(u32{0}).checked_flags(0), 0u);
    EXPECT_EQ(Untrusted<u32>(u32{8}).checked_flags(7).error(), Error::invalid);
    EXPECT_EQ(Untrusted<u32>(~u32{0}).checked_flags(7).error(), Error::invalid);
}

TEST(Range, LiesWithinTheLimit) {
    const Result<Range> range = within(4, 6, 10);
    ASSERT_TRUE(range.ok());
    EXPECT_EQ(range->offset(), 4u);
    EXPECT_EQ(range->length(), 6u);
    EXPECT_EQ(range->end(), 10u);
    EXPECT_TRUE(within(10, 0, 10).ok());
    EXPECT_TRUE(within(0, kMax, kMax).ok());
    EXPECT_TRUE(within(kMax, 0, kMax).ok());
}

TEST(Range, OutsideOfTheLimitIsInvalid) {
    const u64 bad[][3] = {{4, 7, 10},    {11, 0, 10},      {0, 11, 10},     {kMax, 1, 10},
                          {1, kMax, 10}, {kMax, kMax, 10}, {kMax, 1, kMax}, {0, 1, 0}};
    for (const auto& [offset, length, limit] : bad) {
        EXPECT_EQ(within(offset, length, limit).error(), Error::invalid);
        EXPECT_EQ(within(Untrusted<u64>(offset), Untrusted<u64>(length), limit).error(),
                  Error::invalid);
    }
    EXPECT_EQ(within(Untrusted<u64>(u64{3}), Untrusted<u64>(u64{7}), 10)->end(), 10u);
}

TEST(CheckedDeathTest, AnAlignmentIsAPowerOfTwo) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH((void)checked_align_up(u64{1}, u64{3}), "no power of two");
    EXPECT_DEATH((void)checked_align_up(u64{1}, u64{0}), "no power of two");
    EXPECT_DEATH((void)align_down(u64{1}, u64{0}), "no power of two");
}

} // namespace
} // namespace stm::runtime
