// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/utility.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <type_traits>

namespace stm::runtime {
namespace {

static_assert(sizeof(u8) == 1 && sizeof(u16) == 2 && sizeof(u32) == 4 && sizeof(u64) == 8);
static_assert(sizeof(i32) == 4 && sizeof(i64) == 8 && same_as<u64, usize>);
static_assert(u8(-1) > 0 && u16(-1) > 0 && u32(-1) > 0 && u64(-1) > 0 && i32(-1) < 0 &&
              i64(-1) < 0);

struct Trivial {
    int number;
};
struct Owner {
    Owner() = default;
    Owner(const Owner&);
    ~Owner() {}
};
class Identity : NonCopyable {};

static_assert(same_as<int, int> && !same_as<int, const int> && !same_as<int, int&>);
static_assert(one_of<int, char, int> && !one_of<int, char, long> && !one_of<int>);
static_assert(integer<int> && integer<unsigned long long> && !integer<bool> && !integer<char>);
static_assert(unsigned_integer<u8> && !unsigned_integer<int> && signed_integer<i64>);
static_assert(pointer<int*> && !pointer<int> && reference<int&> && reference<int&&> &&
              !reference<int>);
static_assert(trivially_copyable<Trivial> && !trivially_copyable<Owner>);
static_assert(trivially_destructible<Identity> && !trivially_destructible<Owner>);
static_assert(convertible_to<int, long> && convertible_to<int*, const int*> &&
              !convertible_to<const int*, int*> && !convertible_to<int, int*>);
static_assert(constructible_from<Trivial> && !constructible_from<Trivial, void*>);
static_assert(derived_from<Identity, NonCopyable> && !derived_from<Trivial, NonCopyable>);
static_assert(same_as<RemoveConstReference<const int&>, int> &&
              same_as<RemoveReference<int&&>, int>);
static_assert(!std::is_copy_constructible_v<Identity> && !std::is_move_constructible_v<Identity> &&
              !std::is_copy_assignable_v<Identity>);

static_assert(min(1, 2) == 1 && min(2, 1) == 1 && max(1, 2) == 2 && max(2, 1) == 2);
static_assert(clamp(0, 1, 3) == 1 && clamp(2, 1, 3) == 2 && clamp(4, 1, 3) == 3);

TEST(Utility, MoveAndForwardKeepTheKindOfReference) {
    int value = 0;
    EXPECT_TRUE((same_as<decltype(runtime::move(value)), int&&>));
    EXPECT_TRUE((same_as<decltype(runtime::forward<int&>(value)), int&>));
    EXPECT_TRUE((same_as<decltype(runtime::forward<int>(value)), int&&>));
    EXPECT_TRUE((same_as<decltype(runtime::forward<const int&>(value)), const int&>));
}

TEST(Utility, SwapAndExchangeNeedNoCopies) {
    auto left = std::make_unique<int>(1);
    auto right = std::make_unique<int>(2);
    runtime::swap(left, right);
    EXPECT_EQ(*left, 2);
    EXPECT_EQ(*right, 1);

    const auto old = runtime::exchange(left, std::make_unique<int>(3));
    EXPECT_EQ(*old, 2);
    EXPECT_EQ(*left, 3);
    EXPECT_EQ(*runtime::exchange(left, nullptr), 3);
    EXPECT_EQ(left, nullptr);
}

TEST(Utility, AddressofIgnoresTheOperator) {
    struct Hidden {
        Hidden* operator&() { return nullptr; }
    } hidden;
    EXPECT_EQ(static_cast<void*>(runtime::addressof(hidden)),
              static_cast<void*>(std::addressof(hidden)));
}

TEST(Utility, ConstructAtBeginsALifeInGivenMemory) {
    alignas(std::unique_ptr<int>) unsigned char memory[sizeof(std::unique_ptr<int>)];
    using Pointer = std::unique_ptr<int>;
    Pointer* pointer = construct_at<Pointer>(memory, new int(5));
    EXPECT_EQ(static_cast<void*>(pointer), memory);
    EXPECT_EQ(**pointer, 5);
    pointer->~Pointer();
}

} // namespace
} // namespace stm::runtime
