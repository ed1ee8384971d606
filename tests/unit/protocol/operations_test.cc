// SPDX-License-Identifier: GPL-2.0
// The operations of a transaction that the other tests do not reach: limits, imports, waiting, the
// serial token, validation in the middle of a commit.
#include "runtime/protocol/transaction.hpp"
#include "tests/unit/protocol/test_memory.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace stm::test {
namespace {

using namespace protocol;

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

TEST_F(Tx, OutsideOfTheRegionDoesNothing) {
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

// Long reads look at many records together, with the same results as reads of single words.

TEST_F(Tx, LongReadsShowWhatIsCommittedAndItsOwnWrites) {
    for (u64 offset = 0; offset < 3 * kPageBytes; offset += 8)
        put(offset, offset);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    const u64 own = 7;
    ASSERT_EQ(tx.write(64, &own, 8), AbortReason::none);
    ASSERT_EQ(tx.write(kPageBytes + 12, &own, 4), AbortReason::none);
    std::vector<u64> values(3 * kPageBytes / 8 - 2);
    ASSERT_EQ(tx.read(8, values.data(), values.size() * 8), AbortReason::none);
    for (u64 i = 0; i < values.size(); ++i) {
        u64 expected = (i + 1) * 8;
        if (expected == 64)
            expected = 7;
        if (expected == kPageBytes + 8)
            expected = (expected & 0xffffffff) | u64{7} << 32;
        EXPECT_EQ(values[i], expected) << "word " << i + 1;
    }
    EXPECT_EQ(tx.stripes_touched(), 3 * kStripesPerPage);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Tx, LongReadsGoIntoTheReadSet) {
    put(0, 1);
    u64 values[kPageBytes / 8];
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.read(0, values, sizeof values), AbortReason::none);
    ASSERT_EQ(tx.write(1 << 16, &one, 8), AbortReason::none);
    put(sizeof values - 8, 2);
    EXPECT_EQ(tx.validate(), Validity::changed);
    EXPECT_EQ(tx.commit(), AbortReason::commit_validation);
}

TEST_F(Tx, LongReadsAreOfOneSnapshot) {
    put(0, 1);
    u64 values[kPageBytes / 8];
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_EQ(get(0), 1u);
    // Newer than the snapshot, but nothing that was read has changed.
    put(640, 2);
    ASSERT_EQ(tx.read(0, values, sizeof values), AbortReason::none);
    EXPECT_EQ(values[80], 2u);
    EXPECT_EQ(tx.extensions(), 1u);
    put(128, 3);
    ASSERT_EQ(tx.read(192, values, 128), AbortReason::none);
    EXPECT_EQ(tx.read(0, values, sizeof values), AbortReason::read_validation);
    EXPECT_EQ(tx.commit(), AbortReason::read_validation);
}

TEST_F(Tx, LongReadsStopAtTheLimit) {
    put(0, 1);
    Transaction<PagedMemory> small{memory, 3, {.accesses = 10, .writes = 10, .pages = 10}};
    u64 values[kPageBytes / 8];
    ASSERT_EQ(small.begin(), AbortReason::none);
    ASSERT_EQ(small.read(0, values, 640), AbortReason::none);
    ASSERT_EQ(small.read(0, values, 640), AbortReason::none) << "the same stripes";
    EXPECT_EQ(small.read(0, values, 641), AbortReason::too_big);
    small.cancel(AbortReason::explicit_cancel);
}

// What it wrote by itself it need not read.
TEST_F(Tx, LongReadsOfItsOwnWritesConflictWithNothing) {
    put(0, 1);
    std::vector<u8> bytes(3 * kStripeBytes, 7);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(0, bytes.data(), bytes.size()), AbortReason::none);
    std::vector<u8> found(bytes.size());
    ASSERT_EQ(tx.read(0, found.data(), found.size()), AbortReason::none);
    EXPECT_EQ(found, bytes);
    u32 read = 0;
    tx.for_each_read([&read](u64, u64) { ++read; });
    EXPECT_EQ(read, 0u);
    put(0, 2);
    EXPECT_EQ(tx.validate(), Validity::valid);
    EXPECT_EQ(tx.commit(), AbortReason::none);

    // Around them it is read.
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(2 * kStripeBytes, bytes.data(), 2 * kStripeBytes), AbortReason::none);
    found.resize(6 * kStripeBytes);
    ASSERT_EQ(tx.read(0, found.data(), found.size()), AbortReason::none);
    std::vector<u64> stripes;
    tx.for_each_read([&stripes](u64 stripe, u64) { stripes.push_back(stripe); });
    EXPECT_EQ(stripes, (std::vector<u64>{0, 1, 4, 5}));
    put(3 * kStripeBytes, 3);
    EXPECT_EQ(tx.validate(), Validity::valid);
    put(5 * kStripeBytes, 3);
    EXPECT_EQ(tx.commit(), AbortReason::commit_validation);
}

TEST_F(Tx, LongReadsOfItsOwnWritesAreNothingToWaitFor) {
    put(0, 1);
    u64 values[2 * kStripeBytes / 8] = {};
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(0, values, sizeof values), AbortReason::none);
    ASSERT_EQ(tx.read(0, values, sizeof values), AbortReason::none);
    EXPECT_EQ(tx.announce_wait(), WaitMask{0});
    tx.cancel(AbortReason::explicit_cancel);
}

// A stripe counts once, however often and in whatever ways it is touched.
TEST_F(Tx, StripesOfLongReadsAreTouchedOnce) {
    put(0, 1);
    Transaction<PagedMemory> small(memory, 3, {.accesses = 4, .writes = 4, .pages = 1});
    u64 values[4 * kStripeBytes / 8] = {};

    ASSERT_EQ(small.begin(), AbortReason::none);
    ASSERT_EQ(small.read(0, values, sizeof values), AbortReason::none);
    EXPECT_EQ(small.write(8, &one, 8), AbortReason::none);
    EXPECT_EQ(small.write(0, values, sizeof values), AbortReason::none);
    EXPECT_EQ(small.stripes_touched(), 4u);
    EXPECT_EQ(small.write(sizeof values, &one, 8), AbortReason::too_big);
    EXPECT_EQ(small.read(sizeof values, values, 8), AbortReason::too_big);
    EXPECT_EQ(small.commit(), AbortReason::none);

    // One by one first.
    ASSERT_EQ(small.begin(), AbortReason::none);
    ASSERT_EQ(small.read(0, values, 8), AbortReason::none);
    ASSERT_EQ(small.write(kStripeBytes, &one, 8), AbortReason::none);
    ASSERT_EQ(small.read(0, values, 3 * kStripeBytes), AbortReason::none);
    EXPECT_EQ(small.stripes_touched(), 3u);
    ASSERT_EQ(small.read(2 * kStripeBytes, values, 8), AbortReason::none);
    EXPECT_EQ(small.stripes_touched(), 3u);
    EXPECT_EQ(small.read(3 * kStripeBytes, values, 8), AbortReason::none);
    EXPECT_EQ(small.stripes_touched(), 4u);
    EXPECT_EQ(small.write(2 * kStripeBytes, values, 2 * kStripeBytes), AbortReason::none);
    EXPECT_EQ(small.stripes_touched(), 4u);
    EXPECT_EQ(small.commit(), AbortReason::none);
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

TEST_F(Tx, IsNotCommittedWithoutMemoryForItsPages) {
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

TEST_F(Tx, MeetsALockedStripeWithAConflict) {
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

TEST_F(Tx, IsValidatedAgainstReadsThatWereImported) {
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

TEST_F(Tx, GoesOnAloneIfWhatItReadStillHolds) {
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

// What it does without preemption keeps a thread of a higher priority from its processor.
TEST_F(Tx, ACommitThatCostsTooMuchIsSerial) {
    struct Case {
        const char* name;
        u64 writes;
        u64 reads;
        u64 pages;
    };
    constexpr u64 kRest = kMaxConcurrentCost - kCostOfStripe;
    constexpr u64 kHalf = kMaxConcurrentCost / 2;
    static_assert(kHalf % kCostOfStripe == 0);
    const Case most[] = {
        {"stripes", kMaxConcurrentStripes, 0, 0},
        {"records", 1, kRest, 0},
        {"pages", 1, 0, kRest / kCostOfPage},
        {"stripes and records", kHalf / kCostOfStripe, kHalf, 0},
        {"stripes and pages", kHalf / kCostOfStripe, 0, kHalf / kCostOfPage},
    };
    const auto serial_commits = [&](const Case& what) {
        const u64 before = memory.serial_taken();
        u8 page[kPageBytes];
        EXPECT_EQ(tx.begin(), AbortReason::none);
        for (u64 i = 0; i < what.writes; ++i)
            EXPECT_EQ(tx.write(i * 64, &one, 8), AbortReason::none);
        for (u64 i = 0; i < what.reads; ++i)
            get((what.writes + i) * 64);
        for (u64 i = 0; i < what.pages; ++i)
            EXPECT_EQ(tx.read_page(i, page), AbortReason::none);
        EXPECT_EQ(tx.commit(), AbortReason::none);
        return memory.serial_taken() - before;
    };
    for (const Case& each : most) {
        EXPECT_EQ(serial_commits(each), 0u) << each.name;
        Case more = each;
        // One more of the kind that it is named after last.
        ++(each.pages != 0 ? more.pages : each.reads != 0 ? more.reads : more.writes);
        EXPECT_EQ(serial_commits(more), 1u) << each.name;
    }
    EXPECT_TRUE(memory.is_quiet());
}

// The owners of these locks commit on other processors, one after the other.
class SpinningMemory : public PagedMemory {
public:
    using PagedMemory::PagedMemory;
    void pause() {
        if (++pauses_ % each_ != 0 || locked_ == 0)
            return;
        --locked_;
        orec(next_++)->store(Orec::unlocked(0).word(), Order::release);
    }
    // The first stripes are locked, and each is released after so many turns of a spin.
    void lock_stripes(u64 count, u32 each) {
        for (u64 stripe = 0; stripe < count; ++stripe)
            orec(stripe)->store(Orec::locked(99).word(), Order::relaxed);
        next_ = 0;
        locked_ = count;
        each_ = each;
        pauses_ = 0;
    }
    u32 pauses() const { return pauses_; }

private:
    u64 next_ = 0;
    u64 locked_ = 0;
    u32 each_ = 1;
    u32 pauses_ = 0;
};

// Such a commit offers its processor to others while it validates, too.
TEST_F(Tx, ALargeValidationLetsOthersRun) {
    constexpr u64 kPages = 254;
    for (u64 page = 0; page < kPages; ++page)
        put(page * kPageBytes, 1);
    std::vector<u8> bytes(kPages * kPageBytes);
    for (const bool whole_pages : {false, true}) {
        ASSERT_EQ(tx.begin(), AbortReason::none);
        for (u64 page = 0; page < kPages && whole_pages; ++page)
            ASSERT_EQ(tx.read_page(page, bytes.data()), AbortReason::none);
        if (!whole_pages) {
            ASSERT_EQ(tx.read(0, bytes.data(), bytes.size()), AbortReason::none);
        }
        ASSERT_EQ(tx.write(bytes.size(), &one, 8), AbortReason::none);
        put(bytes.size() + kPageBytes, 1); // so that it has to validate
        const u64 before = memory.batches();
        EXPECT_EQ(tx.commit(), AbortReason::none);
        // A page costs kCostOfPage records.
        EXPECT_GE(memory.batches() - before, kPages * kCostOfPage / kMaxConcurrentCost)
            << (whole_pages ? "whole pages" : "stripes together");
    }
}

TEST(Commits, SpinForAllOfTheirLocksTogetherNoLongerThanForOne) {
    SpinningMemory memory{1 << 20};
    Transaction<SpinningMemory> tx{memory, 1};
    const u64 one = 1;
    const auto commit = [&](u64 stripes, u32 turns) {
        EXPECT_TRUE(memory.materialise(0).ok());
        EXPECT_EQ(tx.begin(), AbortReason::none);
        for (u64 stripe = 0; stripe < stripes; ++stripe)
            EXPECT_EQ(tx.write(stripe * 64, &one, 8), AbortReason::none);
        memory.lock_stripes(stripes, turns);
        return tx.commit();
    };
    const u32 most = runtime::min(memory.spin_limit(), kMaxConcurrentSpins);
    EXPECT_EQ(commit(1, most - 1), AbortReason::none);
    EXPECT_EQ(commit(8, most / 4), AbortReason::commit_locked);
    EXPECT_EQ(memory.pauses(), most);
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

TEST_F(Tx, TellsEachStripeThatItReadAndWrote) {
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
