// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/allocate.hpp"

#include "runtime/support/atomic.hpp"
#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

namespace stm::runtime {
namespace {

struct Point {
    int x;
    int y;
};

class MoveOnly {
public:
    explicit MoveOnly(Unique<int> number) : number_(runtime::move(number)) {}
    [[nodiscard]] int number() const { return *number_; }

private:
    Unique<int> number_;
};

// Fails before the object exists, and not in the constructor.
Result<Unique<MoveOnly>> create(int number) {
    Result<Unique<int>> inner = make<int>(number);
    if (!inner.ok())
        return inner.error();
    return make<MoveOnly>(runtime::move(*inner));
}

template <typename T, typename... Arguments>
concept makeable = requires(Arguments... arguments) {
    make<T>(arguments...);
};
static_assert(makeable<int, int> && !makeable<int, void*> && !makeable<NonCopyable>);

struct WithDefault {
    int number = 5;
    ~WithDefault() = default;
};
struct NotTrivial {
    ~NotTrivial() {}
};
template <typename T>
concept array_makeable = requires {
    make_array<T>(1);
};
static_assert(array_makeable<int> && array_makeable<Atomic<u64>> && array_makeable<WithDefault>);
static_assert(!array_makeable<NotTrivial>);

TEST(Allocate, MakesAnObjectFromItsArguments) {
    const test::NoLeak no_leak;
#ifdef __cpp_aggregate_paren_init // clang 14, which ci/coverage takes, has it not yet
    const auto point = make<Point>(1, 2);
    ASSERT_TRUE(point.ok());
    EXPECT_EQ((*point)->y, 2);
#endif
    EXPECT_EQ(create(3).value()->number(), 3);
}

TEST(Allocate, ReportsEveryAllocationThatFails) {
    const std::size_t failed = test::fail_each_allocation([](const test::FailAllocation& failure) {
        const Result<Unique<MoveOnly>> object = create(4);
        EXPECT_EQ(object.ok(), !failure.happened());
        if (!object.ok()) {
            EXPECT_EQ(object.error(), Error::no_memory);
        }
    });
    EXPECT_EQ(failed, 2u);
}

TEST(Allocate, ArraysAreZeroed) {
    const test::NoLeak no_leak;
    const auto array = make_array<Point>(100);
    ASSERT_TRUE(array.ok());
    EXPECT_EQ(array->size(), 100u);
    for (const Point& point : *array)
        EXPECT_TRUE(point.x == 0 && point.y == 0);
}

TEST(Allocate, ArraysOfClassesGetTheirDefault) {
    const test::NoLeak no_leak;
    const auto clocks = make_array<Atomic<u64>>(3);
    EXPECT_EQ((*clocks)[2].load(Order::relaxed), 0u);
    const auto defaults = make_array<WithDefault>(3);
    EXPECT_EQ((*defaults)[2].number, 5);
}

TEST(Allocate, AnArrayOfNothingAllocatesNothing) {
    const std::size_t before = test::allocation_attempts();
    const auto array = make_array<int>(0);
    ASSERT_TRUE(array.ok());
    EXPECT_TRUE(array->empty());
    EXPECT_EQ(test::allocation_attempts(), before);
}

TEST(Allocate, ArraysThatCanNotExist) {
    const std::size_t before = test::allocation_attempts();
    EXPECT_EQ(make_array<u64>(~usize{0}).error(), Error::overflow);
    EXPECT_EQ(make_array<u64>((~usize{0} >> 3) + 1).error(), Error::overflow);
    EXPECT_EQ(test::allocation_attempts(), before);
    EXPECT_EQ(make_array<u64>(~usize{0} >> 3).error(), Error::no_memory);

    const test::FailAllocation failure(1);
    EXPECT_EQ(make_array<u64>(1).error(), Error::no_memory);
    EXPECT_TRUE(failure.happened());
}

TEST(TestAllocator, FailsOnlyTheChosenOne) {
    const test::NoLeak no_leak;
    const test::FailAllocation failure(2);
    EXPECT_TRUE(make<int>(1).ok());
    EXPECT_FALSE(failure.happened());
    EXPECT_FALSE(make<int>(1).ok());
    EXPECT_TRUE(failure.happened());
    EXPECT_TRUE(make<int>(1).ok());
    EXPECT_EQ(test::live_allocations(), 0u);
}

} // namespace
} // namespace stm::runtime
