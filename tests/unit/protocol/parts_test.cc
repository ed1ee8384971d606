// SPDX-License-Identifier: GPL-2.0
// The parts of the engine one by one, and the operations of a transaction that the other tests do
// not reach: limits, imports, waiting, the serial token, validation in the middle of a commit.
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

TEST(Stripe, MasksAndParts) {
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

TEST(Stripe, RunsOfAMask) {
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

TEST(SerialGate, States) {
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

TEST(SerialGate, GivingUpTheTokenBeforeItIsDrained) {
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

TEST(AbortReason, NamesAndKinds) {
    for (u32 i = 0; i < kAbortReasons; ++i)
        EXPECT_NE(std::string(to_string(static_cast<AbortReason>(i))), "unknown");
    EXPECT_EQ(std::string(to_string(static_cast<AbortReason>(kAbortReasons))), "unknown");
    EXPECT_TRUE(is_conflict(AbortReason::commit_locked));
    EXPECT_FALSE(is_conflict(AbortReason::signal));
}

// ---- the transaction ---------------------------------------------------------------------------

class Tx : public testing::Test {
protected:
    void put(u64 offset, u64 value) {
        ASSERT_EQ(other.begin(), AbortReason::none);
        ASSERT_EQ(other.write(offset, &value, 8), AbortReason::none);
        ASSERT_EQ(other.commit(), AbortReason::none);
    }
    u64 get(u64 offset) {
        u64 value = ~u64{0};
        EXPECT_EQ(tx.read(offset, &value, 8), AbortReason::none);
        return value;
    }

    PagedMemory memory{1 << 20};
    Transaction<PagedMemory> tx{memory, 1};
    Transaction<PagedMemory> other{memory, 2};
    u64 one = 1;
};

TEST_F(Tx, OutOfRangeDoesNothing) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    u64 value = 0;
    const u64 size = memory.size();
    EXPECT_EQ(tx.read(size, &value, 0), AbortReason::none);
    EXPECT_EQ(tx.read(size, &value, 1), AbortReason::out_of_range);
    EXPECT_EQ(tx.read(size - 7, &value, 8), AbortReason::out_of_range);
    EXPECT_EQ(tx.write(~u64{0}, &value, 8), AbortReason::out_of_range);
    EXPECT_EQ(tx.write(8, &value, ~u64{0}), AbortReason::out_of_range);
    EXPECT_EQ(tx.import_read(size / 64, 0), AbortReason::out_of_range);
    EXPECT_EQ(tx.stripes_touched(), 0u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Tx, ConflictDoomsUntilTheEnd) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    put(0, 5);
    put(64, 6);
    u64 value = 0;
    EXPECT_EQ(tx.read(64, &value, 8), AbortReason::read_validation);
    EXPECT_EQ(tx.read(128, &value, 8), AbortReason::read_validation);
    EXPECT_EQ(tx.write(128, &value, 8), AbortReason::read_validation);
    EXPECT_EQ(tx.begin_nested(), AbortReason::read_validation);
    EXPECT_EQ(tx.validate(), Validity::changed);
    EXPECT_EQ(tx.commit(), AbortReason::read_validation);
    EXPECT_EQ(tx.conflicts_in_row(), 1u);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(64), 6u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    EXPECT_EQ(tx.conflicts_in_row(), 0u);
    EXPECT_EQ(tx.longest_streak(), 1u);
}

TEST_F(Tx, ExtendsWhenNothingReadHasChanged) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    put(64, 6);
    EXPECT_EQ(get(64), 6u);
    EXPECT_EQ(tx.extensions(), 1u);
    EXPECT_EQ(tx.validate(), Validity::valid);
    put(0, 1);
    EXPECT_EQ(tx.validate(), Validity::changed);
    // A read-only transaction commits at its snapshot all the same.
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Tx, BlindWriteDoesNotConflict) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(0, &one, 8), AbortReason::none);
    put(0, 7);
    put(8, 9);
    EXPECT_EQ(get(0), 1u);
    EXPECT_EQ(tx.validate(), Validity::valid);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 1u);
    EXPECT_EQ(get(8), 9u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Tx, ReadThenWriteOfAChangedStripeConflicts) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    ASSERT_EQ(tx.write(0, &one, 8), AbortReason::none);
    put(0, 7);
    EXPECT_EQ(tx.commit(), AbortReason::commit_validation);
    EXPECT_TRUE(memory.is_quiet());
}

TEST_F(Tx, ReadsOfACancelledInnerPartStillCount) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.begin_nested(), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    tx.cancel_nested();
    ASSERT_EQ(tx.write(64, &one, 8), AbortReason::none);
    put(0, 7);
    EXPECT_EQ(tx.commit(), AbortReason::commit_validation);
}

TEST_F(Tx, LimitsAreTooBigAndNotFatal) {
    Transaction<PagedMemory> small(memory, 3, {.accesses = 10, .writes = 5});
    ASSERT_EQ(small.begin(), AbortReason::none);
    std::vector<u8> bytes(64 * 20, 1);
    EXPECT_EQ(small.write(0, bytes.data(), 64 * 6), AbortReason::too_big);
    EXPECT_EQ(small.stripes_written(), 0u);
    EXPECT_EQ(small.write(0, bytes.data(), 64 * 5), AbortReason::none);
    EXPECT_EQ(small.write(1, bytes.data(), 64 * 5 - 1), AbortReason::none);
    EXPECT_EQ(small.write(64 * 5, bytes.data(), 1), AbortReason::too_big);
    EXPECT_EQ(small.read(0, bytes.data(), 64 * 10), AbortReason::none);
    EXPECT_EQ(small.read(0, bytes.data(), 64 * 11), AbortReason::too_big);
    EXPECT_EQ(small.read(0, bytes.data(), 64 * 10), AbortReason::none);
    EXPECT_EQ(small.commit(), AbortReason::none);
}

TEST_F(Tx, NoPageNoCommit) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(0, &one, 8), AbortReason::none);
    ASSERT_EQ(tx.write(8192, &one, 8), AbortReason::none);
    memory.fail_page(2);
    EXPECT_EQ(tx.commit(), AbortReason::no_memory);
    EXPECT_TRUE(memory.is_quiet());
    EXPECT_EQ(memory.clock().load(Order::relaxed), 0u);
    memory.fail_page(0);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    EXPECT_EQ(get(8192), 0u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Tx, AbsentPageThatAppearsUnwrittenIsNoConflict) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(4096), 0u);
    ASSERT_TRUE(memory.materialise(64).ok());
    EXPECT_EQ(get(4096), 0u);
    EXPECT_EQ(tx.validate(), Validity::valid);
    put(4096 + 64, 1);
    ASSERT_EQ(tx.write(0, &one, 8), AbortReason::none);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Tx, LockedStripe) {
    put(0, 5);
    const u64 word = memory.orec(0)->load(Order::relaxed);
    memory.orec(0)->store(Orec::locked(77).word(), Order::relaxed);
    u64 value = 0;
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(tx.read(0, &value, 8), AbortReason::read_locked);
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_EQ(tx.conflicts_in_row(), 1u);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(0, &one, 8), AbortReason::none);
    ASSERT_EQ(tx.write(4096, &one, 8), AbortReason::none);
    EXPECT_EQ(tx.commit(), AbortReason::commit_locked);
    memory.orec(0)->store(word, Order::relaxed);
    // It was locked after the read.
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 5u);
    memory.orec(0)->store(Orec::locked(77).word(), Order::relaxed);
    EXPECT_EQ(tx.validate(), Validity::busy);
    memory.orec(0)->store(word, Order::relaxed);
    EXPECT_EQ(tx.validate(), Validity::valid);
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_EQ(tx.conflicts_in_row(), 0u);
    EXPECT_TRUE(memory.is_quiet());
}

TEST_F(Tx, ImportedReads) {
    put(0, 5);
    put(64, 6);
    const u64 versions[] = {1, 2};
    const auto import = [&](u64 snapshot, u64 first, u64 second) {
        EXPECT_EQ(tx.begin_at(snapshot), AbortReason::none);
        static_cast<void>(tx.import_read(0, first));
        static_cast<void>(tx.import_read(1, second));
        static_cast<void>(tx.import_read(1, second));
        static_cast<void>(tx.write(128, &one, 8));
        return tx.commit();
    };
    EXPECT_EQ(import(2, versions[0], versions[1]), AbortReason::none);
    EXPECT_EQ(import(2, versions[0], versions[1]), AbortReason::none);
    put(64, 7);
    EXPECT_EQ(import(3, versions[0], versions[1]), AbortReason::commit_validation);
    // From the future; two versions of one stripe; no version at all.
    EXPECT_EQ(import(1000, 1, 2), AbortReason::read_validation);
    ASSERT_EQ(tx.begin_at(2), AbortReason::none);
    EXPECT_EQ(tx.import_read(0, 1), AbortReason::none);
    EXPECT_EQ(tx.import_read(1, kNotRead), AbortReason::out_of_range);
    EXPECT_EQ(tx.import_read(0, 2), AbortReason::read_validation);
    EXPECT_EQ(tx.commit(), AbortReason::read_validation);
    EXPECT_TRUE(memory.is_quiet());
}

TEST_F(Tx, BecomesSerial) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    put(64, 3);
    ASSERT_EQ(tx.become_serial(), AbortReason::none);
    ASSERT_EQ(tx.become_serial(), AbortReason::none);
    EXPECT_EQ(get(64), 3u);
    EXPECT_TRUE(memory.gate_is_closed());
    ASSERT_EQ(tx.write(0, &one, 8), AbortReason::none);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    EXPECT_TRUE(memory.is_quiet());

    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 1u);
    put(0, 3);
    EXPECT_EQ(tx.become_serial(), AbortReason::read_validation);
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_TRUE(memory.is_quiet());

    memory.refuse_serial(true);
    EXPECT_EQ(tx.begin(Path::serial), AbortReason::signal);
    EXPECT_FALSE(tx.active());
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 3u);
    EXPECT_EQ(tx.become_serial(), AbortReason::signal);
    EXPECT_EQ(get(0), 3u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    // A large commit that cannot get the token is rolled back.
    std::vector<u8> bytes(64 * (kMaxConcurrentStripes + 1), 1);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(0, bytes.data(), bytes.size()), AbortReason::none);
    EXPECT_EQ(tx.commit(), AbortReason::signal);
    EXPECT_TRUE(memory.is_quiet());
}

TEST_F(Tx, WakesOnlyWhoWaitsForThatStripe) {
    ASSERT_EQ(tx.begin(Path::serial), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    EXPECT_EQ(get(64), 0u);
    const WaitMask mask = tx.announce_wait();
    EXPECT_EQ(mask, wait_bit(0) | wait_bit(1));
    // It does not keep others from changing what it waits for.
    EXPECT_FALSE(memory.gate_is_closed());
    EXPECT_EQ(tx.validate(), Validity::valid);
    u64 elsewhere = 2;
    while ((wait_bit(elsewhere) & mask) != 0)
        ++elsewhere;
    put(elsewhere * 64, 1);
    EXPECT_EQ(memory.wakes(), 0u);
    put(64, 1);
    EXPECT_EQ(memory.wakes(), 1u);
    EXPECT_EQ(memory.woken(), wait_bit(1));
    EXPECT_EQ(tx.validate(), Validity::changed);
    tx.withdraw_wait(mask);
    tx.cancel(AbortReason::explicit_retry);
    put(64, 2);
    EXPECT_EQ(memory.wakes(), 1u);
    // Nothing was read: nothing can wake it.
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(tx.announce_wait(), 0u);
    tx.withdraw_wait(0);
    tx.cancel(AbortReason::explicit_retry);
    EXPECT_TRUE(memory.is_quiet());
}

TEST_F(Tx, ForEach) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(70, &one, 8), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    std::vector<u64> reads;
    tx.for_each_read([&](u64 stripe, u64) { reads.push_back(stripe); });
    EXPECT_EQ(reads, std::vector<u64>{0});
    u64 written = 0;
    tx.for_each_write([&](u64 stripe, ByteMask mask, const u8* bytes) {
        ++written;
        EXPECT_EQ(stripe, 1u);
        EXPECT_EQ(mask, mask_of(6, 8));
        EXPECT_EQ(bytes[6], 1);
    });
    EXPECT_EQ(written, 1u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    EXPECT_EQ(tx.committed_version(), 1u);
}

TEST_F(Tx, WholePages) {
    put(4096 + 8, 5);
    std::vector<u8> page(kPageBytes, 0xee);
    const auto word = [&](u64 offset) {
        u64 value = 0;
        std::memcpy(&value, page.data() + offset, 8);
        return value;
    };
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.read_page(1, page.data()), AbortReason::none);
    EXPECT_EQ(word(8), 5u);
    EXPECT_EQ(word(0), 0u);
    ASSERT_EQ(tx.read_page(2, page.data()), AbortReason::none); // not allocated
    EXPECT_EQ(word(8), 0u);
    EXPECT_FALSE(tx.writes_page(1));
    ASSERT_EQ(tx.write(8192 - 4, &one, 8), AbortReason::none);
    EXPECT_TRUE(tx.writes_page(1));
    EXPECT_TRUE(tx.writes_page(2));
    ASSERT_EQ(tx.read_page(1, page.data()), AbortReason::none);
    tx.overlay_page(1, page.data());
    EXPECT_EQ(page[4092], 1);
    EXPECT_EQ(page[4091], 0);
    // Elsewhere: the snapshot moves. Anywhere in a page that was read: a conflict.
    put(16384, 6);
    ASSERT_EQ(tx.read_page(4, page.data()), AbortReason::none);
    EXPECT_EQ(word(0), 6u);
    EXPECT_EQ(tx.validate(), Validity::valid);
    put(4096 + 2048, 7);
    EXPECT_EQ(tx.validate(), Validity::changed);
    EXPECT_EQ(tx.commit(), AbortReason::commit_validation);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(tx.read_page(memory.size() / kPageBytes, page.data()), AbortReason::out_of_range);
    ASSERT_EQ(tx.read_page(1, page.data()), AbortReason::none);
    EXPECT_EQ(word(2048), 7u);
    ASSERT_EQ(tx.write(4096, &one, 8), AbortReason::none);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    EXPECT_TRUE(memory.is_quiet());
}

TEST_F(Tx, NestingIsBounded) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    for (u32 i = 0; i < RedoLog::kMaxLevels; ++i)
        ASSERT_EQ(tx.begin_nested(), AbortReason::none);
    EXPECT_EQ(tx.begin_nested(), AbortReason::too_big);
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_EQ(tx.nesting(), 0u);
}

TEST_F(Tx, DestructionCancels) {
    {
        Transaction<PagedMemory> gone(memory, 9);
        ASSERT_EQ(gone.begin(Path::serial), AbortReason::none);
        ASSERT_EQ(gone.write(0, &one, 8), AbortReason::none);
    }
    EXPECT_TRUE(memory.is_quiet());
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 0u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

} // namespace
} // namespace stm::test
