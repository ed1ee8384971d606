// SPDX-License-Identifier: GPL-2.0
// The parts of the engine one by one: geometry, tables, the gate, the filter, the policy.
#include "runtime/protocol/access_table.hpp"
#include "runtime/protocol/backoff.hpp"
#include "runtime/protocol/serial_gate.hpp"
#include "runtime/protocol/transaction.hpp"
#include "runtime/protocol/wait_filter.hpp"
#include "tests/unit/protocol/test_memory.hpp"
#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace stm::test {
namespace {

using namespace protocol;

// ---- geometry ----------------------------------------------------------------------------------

TEST(Stripe, HasAMaskForEachPartOfARange) {
    EXPECT_EQ(mask_of(0, 64), kWholeStripe);
    EXPECT_EQ(mask_of(0, 1), 1u);
    EXPECT_EQ(mask_of(63, 1), u64{1} << 63);
    EXPECT_EQ(mask_of(4, 8), u64{0xff0});
    EXPECT_EQ(stripes_in(0, 0), 0u);
    EXPECT_EQ(stripes_in(63, 1), 1u);
    EXPECT_EQ(stripes_in(63, 2), 2u);
    EXPECT_EQ(stripes_in(~u64{0} - 64, 64), 2u);
    const StripePart part = first_part(130, 1000);
    EXPECT_EQ(part.stripe, 2u);
    EXPECT_EQ(part.first, 2u);
    EXPECT_EQ(part.bytes, 62u);
}

TEST(Stripe, HasAsFewRunsAsItsMask) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 1000; ++i) {
        ByteMask mask = random() & random();
        if (i == 0)
            mask = kWholeStripe;
        if (i == 1)
            mask = 0;
        ByteMask seen = 0;
        for_each_run(mask, [&](u32 first, u32 bytes) {
            ASSERT_GT(bytes, 0u);
            const ByteMask run = mask_of(first, bytes);
            ASSERT_EQ(run & ~mask, 0u);
            ASSERT_EQ(seen & run, 0u);
            // As long as it can be.
            ASSERT_TRUE(first + bytes == 64 || (mask >> (first + bytes) & 1) == 0);
            seen |= run;
        });
        ASSERT_EQ(seen, mask);
    }
}

// ---- tables ------------------------------------------------------------------------------------

TEST(AccessTable, FindsWhatWasInserted) {
    const NoLeak no_leak;
    AccessTable table;
    std::mt19937_64 random(3);
    for (int round = 0; round < 50; ++round) {
        std::map<u64, u32> expected;
        const u64 count = round % 10 == 0 ? 20'000 : random() % 200;
        const u64 stride = u64{1} << random() % 40;
        for (u64 i = 0; i < count; ++i) {
            const u64 stripe = i * stride;
            ASSERT_EQ(table.find(stripe), nullptr);
            ASSERT_TRUE(table.reserve(table.size() + 1, 1 << 20).ok());
            expected[stripe] = table.size();
            table.insert(stripe, i);
        }
        for (const auto& [stripe, index] : expected) {
            ASSERT_NE(table.find(stripe), nullptr);
            ASSERT_EQ(table.index_of(*table.find(stripe)), index);
        }
        table.clear();
        ASSERT_EQ(table.size(), 0u);
        ASSERT_LE(table.capacity(), AccessTable::kKeptAccesses);
    }
}

TEST(AccessTable, GenerationsWrapAround) {
    AccessTable table;
    for (int i = 0; i < 3; ++i) {
        table.set_generation_for_test(~u32{0} - 1);
        for (int round = 0; round < 4; ++round) {
            for (u64 stripe = 0; stripe < 100; ++stripe)
                ASSERT_EQ(table.find(stripe), nullptr);
            for (u64 stripe = 0; stripe < 100; ++stripe)
                table.insert(stripe);
            table.clear();
        }
    }
}

TEST(AccessTable, FailedGrowthLosesNothing) {
    for (std::size_t nth = 1; nth <= 2; ++nth) {
        AccessTable table;
        for (u64 stripe = 0; stripe < 128; ++stripe)
            table.insert(stripe, stripe);
        {
            const FailAllocation failure(nth);
            EXPECT_EQ(table.reserve(129, 1000).error(), Error::no_memory);
        }
        for (u64 stripe = 0; stripe < 128; ++stripe)
            ASSERT_EQ(table.find(stripe)->version, stripe);
        EXPECT_EQ(table.reserve(129, 128).error(), Error::too_big);
        EXPECT_TRUE(table.reserve(129, 1000).ok());
        table.insert(500, 1);
        EXPECT_EQ(table.find(500)->version, 1u);
        EXPECT_EQ(table.find(127)->version, 127u);
    }
}

TEST(RedoLog, SortsAnyOrder) {
    std::mt19937_64 random(4);
    for (const u32 count : {1u, 2u, 3u, 63u, 64u, 1000u}) {
        for (int shape = 0; shape < 4; ++shape) {
            RedoLog log;
            ASSERT_TRUE(log.reserve(count, 0, 1 << 20).ok());
            std::vector<u64> stripes;
            for (u32 i = 0; i < count; ++i)
                stripes.push_back(shape == 0 ? i : shape == 1 ? count - i : random());
            for (const u64 stripe : stripes)
                static_cast<void>(log.append(stripe, 0));
            log.sort();
            std::sort(stripes.begin(), stripes.end());
            for (u32 i = 0; i < count; ++i)
                ASSERT_EQ(log.in_order(i).stripe, stripes[i]);
        }
    }
}

// A loop of inner parts inside of an inner part must not save the same bytes again and again.
TEST(RedoLog, CommittedInnerPartsDoNotPileUp) {
    FlatMemory memory(4096);
    Transaction<FlatMemory> tx(memory, 1);
    const std::size_t before = allocation_attempts();
    u64 value = 0;
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(0, &value, 8), AbortReason::none);
    ASSERT_EQ(tx.begin_nested(), AbortReason::none);
    for (value = 1; value <= 1000; ++value) {
        ASSERT_EQ(tx.begin_nested(), AbortReason::none);
        ASSERT_EQ(tx.write(0, &value, 8), AbortReason::none);
        ASSERT_EQ(tx.write(64, &value, 8), AbortReason::none);
        tx.commit_nested();
    }
    ASSERT_EQ(tx.read(0, &value, 8), AbortReason::none);
    EXPECT_EQ(value, 1000u);
    tx.cancel_nested();
    ASSERT_EQ(tx.read(0, &value, 8), AbortReason::none);
    EXPECT_EQ(value, 0u);
    EXPECT_EQ(tx.stripes_written(), 1u);
    ASSERT_EQ(tx.commit(), AbortReason::none);
    EXPECT_EQ(allocation_attempts(), before);
}

// ---- gate, filter, policy ----------------------------------------------------------------------

TEST(SerialGate, LetsNobodyInWhileItIsClosed) {
    SerialGate gate;
    EXPECT_TRUE(gate.try_enter());
    EXPECT_TRUE(gate.try_enter());
    EXPECT_TRUE(gate.try_close());
    EXPECT_FALSE(gate.try_close());
    EXPECT_FALSE(gate.try_enter());
    EXPECT_FALSE(gate.drained());
    EXPECT_EQ(gate.leave(), SerialGate::Wake::nobody);
    EXPECT_EQ(gate.leave(), SerialGate::Wake::closer);
    EXPECT_TRUE(gate.drained());
    gate.open();
    EXPECT_TRUE(gate.try_enter());
    EXPECT_EQ(gate.leave(), SerialGate::Wake::nobody);
    EXPECT_FALSE(gate.is_closed());
}

TEST(SerialGate, OpensWhenTheTokenIsGivenUpBeforeItIsDrained) {
    SerialGate gate;
    ASSERT_TRUE(gate.try_enter());
    ASSERT_TRUE(gate.try_close());
    gate.open();
    EXPECT_TRUE(gate.try_enter());
    EXPECT_EQ(gate.leave(), SerialGate::Wake::nobody);
    EXPECT_EQ(gate.leave(), SerialGate::Wake::nobody);
}

TEST(WaitFilter, CountsWaiters) {
    WaitFilter filter;
    const WaitMask mask = wait_bit(1) | wait_bit(77);
    EXPECT_TRUE(filter.idle());
    filter.announce(mask);
    filter.announce(wait_bit(1));
    EXPECT_FALSE(filter.idle());
    EXPECT_EQ(filter.awaited(~WaitMask{0}), mask);
    EXPECT_EQ(filter.awaited(wait_bit(1)), wait_bit(1));
    filter.withdraw(wait_bit(1));
    EXPECT_EQ(filter.awaited(wait_bit(1)), wait_bit(1));
    filter.withdraw(mask);
    EXPECT_TRUE(filter.idle());
    EXPECT_EQ(filter.awaited(~WaitMask{0}), 0u);
}

TEST(RetryPolicy, GrowsIsCappedAndEndsSerial) {
    RetryPolicy policy;
    u64 random = 12345;
    u64 previous_largest = 0;
    for (u32 conflicts = 1; conflicts < policy.serial_after; ++conflicts) {
        u64 largest = 0;
        for (int i = 0; i < 2000; ++i) {
            const Advice advice = advise(policy, conflicts, AbortReason::commit_validation, random);
            ASSERT_EQ(advice.path, Advice::Path::concurrent);
            ASSERT_EQ(advice.until, Advice::Until::delay);
            ASSERT_LE(advice.delay_ns, policy.cap_ns);
            largest = std::max(largest, advice.delay_ns);
        }
        if (conflicts <= policy.immediate) {
            EXPECT_EQ(largest, 0u);
        } else {
            const u64 window =
                std::min(policy.cap_ns, policy.base_ns << (conflicts - policy.immediate - 1));
            EXPECT_LE(largest, window);
            EXPECT_GE(largest, window * 9 / 10);
            EXPECT_GE(largest, previous_largest * 9 / 10);
        }
        previous_largest = largest;
    }
    EXPECT_EQ(advise(policy, policy.serial_after, AbortReason::read_locked, random).path,
              Advice::Path::serial);
    EXPECT_EQ(advise(policy, 2, AbortReason::read_locked, random).until, Advice::Until::gate);
    policy.serial_after = 0;
    EXPECT_EQ(advise(policy, 1, AbortReason::read_locked, random).path, Advice::Path::serial);
    // Extreme parameters neither overflow nor loop for long.
    policy = {~u64{0}, ~u64{0}, 0, ~u32{0}};
    EXPECT_LE(advise(policy, ~u32{0} - 1, AbortReason::read_locked, random).delay_ns,
              u64{0xffffffff});
    policy = {0, ~u64{0}, 0, ~u32{0}};
    EXPECT_EQ(advise(policy, ~u32{0} - 1, AbortReason::read_locked, random).delay_ns, 0u);
}

TEST(AbortReason, HasANameAndIsAConflictOrNot) {
    for (u32 i = 0; i < kAbortReasons; ++i)
        EXPECT_NE(std::string(to_string(static_cast<AbortReason>(i))), "unknown");
    EXPECT_EQ(std::string(to_string(static_cast<AbortReason>(kAbortReasons))), "unknown");
    EXPECT_TRUE(is_conflict(AbortReason::commit_locked));
    EXPECT_FALSE(is_conflict(AbortReason::signal));
}

} // namespace
} // namespace stm::test
