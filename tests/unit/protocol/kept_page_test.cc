// SPDX-License-Identifier: GPL-2.0
// Copies of pages that are kept from one transaction to the next, and the counters that tell which
// of them are still right. interleaving_test.cc tries the schedules.
#include "runtime/protocol/block_commit.hpp"
#include "runtime/protocol/page_changes.hpp"
#include "runtime/protocol/transaction.hpp"
#include "tests/unit/protocol/test_memory.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

namespace stm::test {
namespace {

using namespace protocol;

TEST(PageChanges, CountEachOfNeighbouringPagesAlone) {
    const auto changes = std::make_unique<PageChanges>();
    for (u64 page = 0; page < 1024; ++page) {
        for (u64 i = 0; i < page % 3; ++i)
            changes->count(page);
    }
    for (u64 page = 0; page < 1024; ++page)
        EXPECT_EQ(changes->of(page), page % 3) << page;
}

TEST(PageChanges, ArePerhapsTooManyAndNeverTooFew) {
    const auto changes = std::make_unique<PageChanges>();
    for (u64 page = 0; page < 5000; ++page) {
        const u64 before = changes->of(page);
        changes->count(page);
        EXPECT_GT(changes->of(page), before);
    }
    for (const u64 page : {u64{0}, u64{4999}, ~u64{0} / kPageBytes})
        EXPECT_NE(changes->of(page), kNotCounted);
}

class CountingMemory : public FlatMemory {
public:
    using FlatMemory::FlatMemory;
    PageChanges* page_changes() const { return changes_.get(); }
    u64 changes(u64 page) const { return changes_->of(page); }

private:
    std::unique_ptr<PageChanges> changes_ = std::make_unique<PageChanges>();
};
static_assert(protocol::Memory<CountingMemory>);

class KeptPages : public testing::Test {
protected:
    using Tx = Transaction<CountingMemory>;
    using KeptPage = protocol::KeptPage;

    AbortReason write(Tx& by, u64 offset, u64 value) { return by.write(offset, &value, 8); }
    void put(u64 offset, u64 value) {
        ASSERT_EQ(other.begin(), AbortReason::none);
        ASSERT_EQ(write(other, offset, value), AbortReason::none);
        ASSERT_EQ(other.commit(), AbortReason::none);
    }
    // Begins, and which of the pages it had to look at.
    std::vector<u32> begin_and_renew() {
        EXPECT_EQ(tx.begin(), AbortReason::none);
        std::vector<u32> looked;
        EXPECT_TRUE(tx.renew_and_rely_on(kept, [&](u32 i) {
            looked.push_back(i);
            return true;
        }));
        return looked;
    }

    CountingMemory memory{1 << 20};
    Tx tx{memory, 1};
    Tx other{memory, 2};
    std::array<KeptPage, 3> pages{{{1, kNotCounted}, {2, kNotCounted}, {5, kNotCounted}}};
    runtime::Span<KeptPage> kept{pages.data(), pages.size()};
};

TEST_F(KeptPages, AreCountedOnceByACommitThatWritesInThem) {
    ASSERT_EQ(other.begin(), AbortReason::none);
    for (const u64 offset : {5 * kPageBytes + 64, kPageBytes, kPageBytes + 640, 5 * kPageBytes})
        ASSERT_EQ(write(other, offset, 1), AbortReason::none);
    ASSERT_EQ(other.commit(), AbortReason::none);
    for (u64 page = 0; page < 8; ++page)
        EXPECT_EQ(memory.changes(page), page == 1 || page == 5 ? 1u : 0u) << page;
}

TEST_F(KeptPages, AreCountedOnceByABlockThatLiesInThem) {
    const std::vector<u8> bytes(66 * kStripeBytes, 1);
    std::vector<u64> replaced(66);
    BlockCommit<CountingMemory> block(memory, 2, 2 * kStripesPerPage - 1, 66, bytes.data(),
                                      replaced.data());
    ASSERT_TRUE(block.materialise().ok());
    ASSERT_EQ(block.commit(), AbortReason::none);
    for (u64 page = 0; page < 8; ++page)
        EXPECT_EQ(memory.changes(page), page >= 1 && page <= 3 ? 1u : 0u) << page;
}

TEST_F(KeptPages, AreNotCountedByACommitThatOnlyReads) {
    ASSERT_EQ(other.begin(), AbortReason::none);
    u64 value = 0;
    ASSERT_EQ(other.read(kPageBytes, &value, 8), AbortReason::none);
    ASSERT_EQ(other.commit(), AbortReason::none);
    EXPECT_EQ(memory.changes(1), 0u);
}

TEST_F(KeptPages, AreLookedAtAgainOnlyIfTheyHaveBeenCounted) {
    EXPECT_EQ(begin_and_renew(), (std::vector<u32>{0, 1, 2})) << "nothing is known yet";
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_EQ(begin_and_renew(), std::vector<u32>{});
    tx.cancel(AbortReason::explicit_cancel);
    put(2 * kPageBytes + 8, 1);
    put(7 * kPageBytes, 1);
    EXPECT_EQ(begin_and_renew(), std::vector<u32>{1});
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_EQ(begin_and_renew(), std::vector<u32>{});
    tx.cancel(AbortReason::explicit_cancel);
}

TEST_F(KeptPages, ThatCouldNotBeRenewedAreLookedAtAgain) {
    ASSERT_EQ(tx.begin(), AbortReason::none);
    EXPECT_FALSE(tx.renew_and_rely_on(kept, [](u32 i) { return i != 1; }));
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_EQ(begin_and_renew(), (std::vector<u32>{1, 2}));
    tx.cancel(AbortReason::explicit_cancel);
}

TEST_F(KeptPages, OfAnOwnCommitNeedNoLook) {
    begin_and_renew();
    ASSERT_EQ(write(tx, 2 * kPageBytes, 1), AbortReason::none);
    ASSERT_EQ(tx.commit(), AbortReason::none);
    pages[1].changes = tx.changes_after_commit(pages[1]);
    EXPECT_EQ(begin_and_renew(), std::vector<u32>{});
    tx.cancel(AbortReason::explicit_cancel);
}

TEST_F(KeptPages, OfAnOwnCommitAreLookedAtIfSomebodyElseWasCountedToo) {
    begin_and_renew();
    ASSERT_EQ(write(tx, 2 * kPageBytes, 1), AbortReason::none);
    ASSERT_EQ(tx.commit(), AbortReason::none);
    put(2 * kPageBytes + 64, 1);
    pages[1].changes = tx.changes_after_commit(pages[1]);
    EXPECT_EQ(begin_and_renew(), std::vector<u32>{1});
    tx.cancel(AbortReason::explicit_cancel);
}

TEST_F(KeptPages, AreInTheReadSet) {
    begin_and_renew();
    ASSERT_EQ(write(tx, 9 * kPageBytes, 1), AbortReason::none);
    put(5 * kPageBytes + kPageBytes - 8, 1);
    EXPECT_EQ(tx.commit(), AbortReason::commit_validation);
    EXPECT_EQ(tx.in_the_way(), 6 * kStripesPerPage - 1);
}

TEST_F(KeptPages, OfWhichNothingIsKnownAreComparedByTheirRecords) {
    begin_and_renew();
    for (KeptPage& page : pages)
        page.changes = kNotCounted;
    ASSERT_EQ(write(tx, 9 * kPageBytes, 1), AbortReason::none);
    put(8 * kPageBytes, 1);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

// Where not all commits count.
TEST(KeptPagesWithoutCounters, AreComparedByTheirRecords) {
    FlatMemory memory(1 << 20);
    Transaction<FlatMemory> tx(memory, 1);
    Transaction<FlatMemory> other(memory, 2);
    protocol::KeptPage pages[] = {{1, kNotCounted}};
    const u64 value = 1;
    for (const u64 page : {u64{2}, u64{1}}) {
        int looked = 0;
        ASSERT_EQ(tx.begin(), AbortReason::none);
        EXPECT_TRUE(tx.renew_and_rely_on({pages, 1}, [&](u32) {
            ++looked;
            return true;
        }));
        EXPECT_EQ(looked, 1);
        ASSERT_EQ(tx.write(9 * kPageBytes, &value, 8), AbortReason::none);
        ASSERT_EQ(other.begin(), AbortReason::none);
        ASSERT_EQ(other.write(page * kPageBytes, &value, 8), AbortReason::none);
        ASSERT_EQ(other.commit(), AbortReason::none);
        EXPECT_EQ(tx.commit(), page == 1 ? AbortReason::commit_validation : AbortReason::none);
    }
}

} // namespace
} // namespace stm::test
