// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/result.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <type_traits>

namespace stm::runtime {
namespace {

static_assert(!std::is_default_constructible_v<Result<int>>);
static_assert(!std::is_default_constructible_v<Status>);
static_assert(!std::is_convertible_v<int, Status> && !std::is_convertible_v<bool, Status>);
static_assert(!std::is_convertible_v<Success, Result<int>>);
static_assert(!std::is_convertible_v<Result<int>, bool> && !std::is_convertible_v<Status, bool>);
static_assert(std::is_trivially_copyable_v<Result<u64>> && sizeof(Result<u64>) == 16);
static_assert(std::is_trivially_copyable_v<Status> && sizeof(Status) == 4);
static_assert(std::is_move_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(!std::is_copy_constructible_v<Result<std::unique_ptr<int>>>);

constexpr Result<int> half(int number) {
    if (number % 2 != 0)
        return Error::invalid;
    return number / 2;
}
static_assert(half(4).ok() && half(4).value() == 2 && !half(3).ok());

TEST(Result, HoldsAValue) {
    Result<int> result = half(8);
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(result.value(), 4);
    result.value() = 5;
    EXPECT_EQ(*result, 5);
}

TEST(Result, HoldsAnError) {
    const Result<int> result = half(7);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error(), Error::invalid);
}

TEST(Result, AValueOfZeroIsASuccess) {
    EXPECT_TRUE(half(0).ok());
    EXPECT_TRUE(Result<int*>(nullptr).ok());
    EXPECT_TRUE(Result<bool>(false).ok());
}

TEST(Result, GivesAMoveOnlyValueAway) {
    Result<std::unique_ptr<int>> result = std::make_unique<int>(3);
    Result<std::unique_ptr<int>> moved = runtime::move(result);
    ASSERT_TRUE(moved.ok());
    const std::unique_ptr<int> value = runtime::move(moved).value();
    EXPECT_EQ(*value, 3);

    Result<std::unique_ptr<int>> failure = Error::busy;
    const Result<std::unique_ptr<int>> moved_failure = runtime::move(failure);
    EXPECT_EQ(moved_failure.error(), Error::busy);
}

TEST(Result, DestroysTheValueExactlyOnce) {
    const auto counted = std::make_shared<int>(0);
    {
        Result<std::shared_ptr<int>> result = counted;
        EXPECT_EQ(counted.use_count(), 2);
        const Result<std::shared_ptr<int>> moved = runtime::move(result);
        EXPECT_EQ(counted.use_count(), 2);
        const Result<std::shared_ptr<int>> failure = Error::fault;
    }
    EXPECT_EQ(counted.use_count(), 1);
}

TEST(Result, ReachesIntoTheValue) {
    Result<std::string> result = std::string("name");
    EXPECT_EQ(result->size(), 4u);
    result->push_back('s');
    const Result<std::string>& same = result;
    EXPECT_EQ(*same, "names");
    EXPECT_EQ(same->back(), 's');
    EXPECT_EQ(*runtime::move(result), "names");
}

TEST(Result, ConvertsWhatTheValueConvertsFrom) {
    const Result<std::string> result = "literal";
    EXPECT_EQ(*result, "literal");
}

TEST(Status, IsASuccessOrAnError) {
    const Status success = kSuccess;
    EXPECT_TRUE(success.ok());
    const Status failure = Error::stale;
    EXPECT_FALSE(failure.ok());
    EXPECT_EQ(failure.error(), Error::stale);
}

TEST(Status, ConvertsToAndFromErrno) {
    EXPECT_TRUE(status_from_errno(0).ok());
    EXPECT_EQ(status_from_errno(-12).error(), Error::no_memory);
    EXPECT_EQ(to_errno(Status(kSuccess)), 0);
    EXPECT_EQ(to_errno(Status(Error::no_memory)), -12);
}

TEST(ResultDeathTest, AccessToWhatIsNotThere) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    Result<int> value = 1;
    Result<int> failure = Error::busy;
    Result<std::string> text = Error::busy;
    EXPECT_DEATH((void)value.error(), "error\\(\\) of a success");
    EXPECT_DEATH((void)failure.value(), "value\\(\\) of a failure");
    EXPECT_DEATH((void)*failure, "value\\(\\) of a failure");
    EXPECT_DEATH((void)runtime::move(failure).value(), "value\\(\\) of a failure");
    EXPECT_DEATH((void)text->size(), "value\\(\\) of a failure");
    EXPECT_DEATH((void)Status(kSuccess).error(), "error\\(\\) of a success");
    EXPECT_DEATH((void)Result<int>(static_cast<Error>(0)), "positive number");
    EXPECT_DEATH((void)Status(static_cast<Error>(-5)), "positive number");
    EXPECT_DEATH((void)status_from_errno(1), "not a negative errno");
}

} // namespace
} // namespace stm::runtime
