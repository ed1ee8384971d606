// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/atomic.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <type_traits>
#include <vector>

namespace stm::runtime {
namespace {

enum class Colour : u16 { red, green };

struct Pair {
    u32 low;
    u32 high;
};
struct Three {
    u64 words[3];
};

static_assert(atomic_value<u8> && atomic_value<Colour> && atomic_value<Pair> && atomic_value<int*>);
static_assert(!atomic_value<Three>);
static_assert(sizeof(Atomic<u64>) == 8 && alignof(Atomic<u64>) == 8 && sizeof(Atomic<u8>) == 1);
static_assert(alignof(Atomic<Pair>) == 8);
static_assert(std::is_standard_layout_v<Atomic<u64>>);
static_assert(!std::is_copy_constructible_v<Atomic<u64>>);
static_assert(trivially_destructible<Atomic<u64>>);

template <typename T>
concept can_add = requires(Atomic<T> value) {
    value.fetch_add(T{}, Order::relaxed);
};
static_assert(can_add<u32> && can_add<i64> && !can_add<bool> && !can_add<int*> && !can_add<Colour>);

// Needs no code at run time.
constinit Atomic<u64> in_static_storage(7);

TEST(Atomic, BeginsAtZeroOrTheGivenValue) {
    const Atomic<u64> zero;
    EXPECT_EQ(zero.load(Order::relaxed), 0u);
    EXPECT_EQ(in_static_storage.load(Order::relaxed), 7u);
}

TEST(Atomic, LoadsStoresAndExchanges) {
    Atomic<u32> number(1);
    number.store(2, Order::release);
    EXPECT_EQ(number.load(Order::acquire), 2u);
    EXPECT_EQ(number.exchange(3, Order::acq_rel), 2u);
    EXPECT_EQ(number.load(Order::seq_cst), 3u);

    Atomic<Colour> colour(Colour::red);
    colour.store(Colour::green, Order::relaxed);
    EXPECT_EQ(colour.load(Order::relaxed), Colour::green);

    Atomic<bool> flag;
    EXPECT_FALSE(flag.exchange(true, Order::seq_cst));
    EXPECT_TRUE(flag.load(Order::relaxed));

    Atomic<Pair> pair(Pair{1, 2});
    pair.store(Pair{3, 4}, Order::relaxed);
    EXPECT_EQ(pair.load(Order::relaxed).high, 4u);
}

TEST(Atomic, CompareExchangeReportsWhatItFound) {
    int objects[2];
    Atomic<int*> place(&objects[0]);
    int* expected = &objects[1];
    EXPECT_FALSE(place.compare_exchange(expected, nullptr, Order::acq_rel, Order::acquire));
    EXPECT_EQ(expected, &objects[0]);
    EXPECT_TRUE(place.compare_exchange(expected, &objects[1], Order::acq_rel, Order::acquire));
    EXPECT_EQ(place.load(Order::relaxed), &objects[1]);
}

TEST(Atomic, FetchOperationsReturnTheOldValueAndWrap) {
    Atomic<u8> number(0xf0);
    EXPECT_EQ(number.fetch_add(0x20, Order::relaxed), 0xf0);
    EXPECT_EQ(number.fetch_sub(0x11, Order::relaxed), 0x10);
    EXPECT_EQ(number.fetch_and(0x0f, Order::relaxed), 0xff);
    EXPECT_EQ(number.fetch_or(0x80, Order::relaxed), 0x0f);
    EXPECT_EQ(number.load(Order::relaxed), 0x8f);
}

TEST(Atomic, ThreadsLoseNoIncrement) {
    constexpr int kThreads = 4;
    constexpr int kRounds = 20000;
    Atomic<u64> sum;
    Atomic<u64> swapped;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&] {
            for (int round = 0; round < kRounds; ++round) {
                sum.fetch_add(1, Order::relaxed);
                u64 seen = swapped.load(Order::relaxed);
                while (!swapped.compare_exchange(seen, seen + 1, Order::relaxed, Order::relaxed))
                    spin_hint();
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(sum.load(Order::relaxed), u64{kThreads} * kRounds);
    EXPECT_EQ(swapped.load(Order::relaxed), u64{kThreads} * kRounds);
}

TEST(Atomic, ReleaseAndAcquirePublishPlainData) {
    int plain = 0;
    Atomic<u32> ready;
    std::thread reader([&] {
        while (ready.load(Order::acquire) == 0)
            spin_hint();
        EXPECT_EQ(plain, 42);
    });
    plain = 42;
    ready.store(1, Order::release);
    reader.join();
}

// Two threads store into one variable each and then look at the other one: without the fences both
// can find the old value, since the stores wait in the processor's buffers.
TEST(Atomic, AFullFenceForbidsThatBothReadTheOldValue) {
    constexpr u32 kRounds = 20000;
    struct alignas(64) Side {
        Atomic<u32> variable;
        Atomic<u32> arrived;
        u32 seen = 0;
    };
    Side sides[2];
    const auto meet = [&](u32 own, u32 count) {
        sides[own].arrived.store(count, Order::release);
        for (u32 spins = 0; sides[1 - own].arrived.load(Order::acquire) < count; ++spins) {
            spin_hint();
            if (spins % 256 == 255)
                std::this_thread::yield();
        }
    };
    u32 both_old = 0;
    const auto run = [&](u32 own) {
        for (u32 round = 1; round <= kRounds; ++round) {
            meet(own, 2 * round - 1);
            sides[own].variable.store(round, Order::relaxed);
            fence(Order::seq_cst);
            sides[own].seen = sides[1 - own].variable.load(Order::relaxed);
            meet(own, 2 * round);
            if (own == 0 && sides[0].seen != round && sides[1].seen != round)
                ++both_old;
        }
    };
    std::thread other(run, 1);
    run(0);
    other.join();
    EXPECT_EQ(both_old, 0u);
}

} // namespace
} // namespace stm::runtime
