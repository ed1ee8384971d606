// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/unique.hpp"

#include "runtime/support/allocate.hpp"
#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <type_traits>

namespace stm::runtime {
namespace {

struct Counted {
    explicit Counted(int& alive) : alive_(alive) { ++alive_; }
    Counted(const Counted&) = delete;
    ~Counted() { --alive_; }
    int& alive_;
};

static_assert(!std::is_copy_constructible_v<Unique<int>> &&
              std::is_nothrow_move_constructible_v<Unique<int>>);
static_assert(!std::is_convertible_v<int*, Unique<int>> && sizeof(Unique<int>) == sizeof(int*));

TEST(Unique, DestroysAtTheEnd) {
    const test::NoLeak no_leak;
    int alive = 0;
    {
        const Unique<Counted> object = make<Counted>(alive).value();
        EXPECT_TRUE(object);
        EXPECT_EQ(alive, 1);
        EXPECT_EQ(&object->alive_, &alive);
        EXPECT_EQ(&*object, object.get());
    }
    EXPECT_EQ(alive, 0);
}

TEST(Unique, Moves) {
    const test::NoLeak no_leak;
    int alive = 0;
    Unique<Counted> first = make<Counted>(alive).value();
    Unique<Counted> second = runtime::move(first);
    EXPECT_FALSE(first);
    EXPECT_TRUE(second);
    second = make<Counted>(alive).value();
    EXPECT_EQ(alive, 1);
    Unique<Counted>& same = second;
    second = runtime::move(same);
    EXPECT_TRUE(second);
    second = Unique<Counted>();
    EXPECT_EQ(alive, 0);
}

TEST(Unique, ReleasesAndAdopts) {
    const test::NoLeak no_leak;
    int alive = 0;
    Unique<Counted> first = make<Counted>(alive).value();
    Counted* object = first.release();
    EXPECT_FALSE(first);
    EXPECT_EQ(alive, 1);
    Unique<Counted> second = Unique<Counted>::adopt(object);
    second.reset();
    EXPECT_FALSE(second);
    EXPECT_EQ(alive, 0);
    second.reset();
}

TEST(UniqueArray, MovesAndFrees) {
    const test::NoLeak no_leak;
    UniqueArray<int> first = make_array<int>(3).value();
    first[2] = 7;
    UniqueArray<int> second = runtime::move(first);
    EXPECT_TRUE(first.empty());
    EXPECT_EQ(second.size(), 3u);
    EXPECT_EQ(second[2], 7);
    EXPECT_EQ(second.span().size(), 3u);
    second = make_array<int>(5).value();
    EXPECT_EQ(second.size(), 5u);
    UniqueArray<int>& same = second;
    second = runtime::move(same);
    EXPECT_EQ(second.size(), 5u);
    int sum = 0;
    for (const int number : second)
        sum += number;
    EXPECT_EQ(sum, 0);
    EXPECT_EQ(second.end() - second.data(), 5);
}

TEST(UniqueDeathTest, WrongAccess) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    const Unique<int> null;
    EXPECT_DEATH((void)*null, "access through null");
    const UniqueArray<int> array = make_array<int>(3).value();
    EXPECT_DEATH((void)array[3], "index out of range");
}

} // namespace
} // namespace stm::runtime
