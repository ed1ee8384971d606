// SPDX-License-Identifier: GPL-2.0
// Old versions, and transactions with fixed snapshots, one step at a time.
#include "runtime/protocol/block_commit.hpp"
#include "runtime/protocol/old_versions.hpp"
#include "runtime/protocol/transaction.hpp"
#include "tests/unit/protocol/test_memory.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

namespace stm::test {
namespace {

using protocol::AbortReason;
using protocol::FixedSnapshot;
using protocol::OldStripe;
using protocol::OldVersions;
using protocol::Path;
using protocol::Transaction;
using protocol::Validity;

constexpr u64 kSize = 4 * kPageBytes;

using Tx = Transaction<PagedMemory>;

class FixedSnapshots : public testing::Test {
protected:
    PagedMemory memory_{kSize};
    Tx reader_{memory_, 1};
    Tx writer_{memory_, 2};

    void commit(u64 offset, u64 value, Path path = Path::concurrent) {
        ASSERT_EQ(writer_.begin(path), AbortReason::none);
        ASSERT_EQ(writer_.write(offset, &value, sizeof(value)), AbortReason::none);
        ASSERT_EQ(writer_.commit(), AbortReason::none);
        memory_.kept_versions().tidy();
    }
    static u64 read(Tx& tx, u64 offset) {
        u64 value = ~u64{0};
        EXPECT_EQ(tx.read(offset, &value, sizeof(value)), AbortReason::none);
        return value;
    }
    static void begin_fixed(Tx& tx) {
        ASSERT_EQ(tx.begin(), AbortReason::none);
        ASSERT_EQ(tx.fix_snapshot(), AbortReason::none);
        ASSERT_TRUE(tx.is_fixed());
    }
    std::int64_t kept() { return memory_.kept_versions().count(); }
};

TEST(OldVersionsOfARegion, AreFoundByTheSnapshotsThatTheyBelongTo) {
    OldVersions versions;
    auto buckets = OldVersions::make_buckets();
    ASSERT_TRUE(buckets.ok());
    versions.get_ready(runtime::move(*buckets));
    EXPECT_EQ(versions.wanted_below(), 0u);
    FixedSnapshot early;
    FixedSnapshot late;
    versions.admit(early, 5);
    EXPECT_EQ(versions.wanted_below(), 6u);
    versions.admit(late, 9);
    EXPECT_EQ(versions.wanted_below(), 10u);
    OldStripe first{7, 2, 7, nullptr, {}};
    OldStripe second{7, 8, 10, nullptr, {}};
    OldStripe between{7, 7, 8, nullptr, {}};
    OldStripe neighbour{8, 0, 100, nullptr, {}};
    for (OldStripe* const old : {&first, &between, &second, &neighbour})
        versions.keep(*old);
    EXPECT_EQ(versions.find(7, 5), &first);
    EXPECT_EQ(versions.find(7, 9), &second);
    EXPECT_EQ(versions.find(7, 1), nullptr);
    EXPECT_EQ(versions.find(7, 10), nullptr);
    EXPECT_EQ(versions.find(8, 5), &neighbour);
    const auto collected = [&] {
        std::vector<const OldStripe*> all;
        for (u32 at = 0; at < OldVersions::kBuckets; at += OldVersions::kCollected) {
            for (const OldStripe* old = versions.collect(at); old != nullptr; old = old->next)
                all.push_back(old);
        }
        return all;
    };
    EXPECT_EQ(collected(), std::vector<const OldStripe*>{&between});
    versions.dismiss(late);
    EXPECT_EQ(versions.wanted_below(), 6u);
    EXPECT_EQ(collected(), std::vector<const OldStripe*>{&second});
    versions.dismiss(late);
    EXPECT_FALSE(versions.was_for_nothing());
    EXPECT_TRUE(versions.end_oldest());
    EXPECT_FALSE(versions.end_oldest());
    versions.dismiss(early);
    EXPECT_TRUE(versions.was_for_nothing());
    EXPECT_EQ(collected().size(), 2u);
    EXPECT_EQ(versions.find(7, 5), nullptr);
}

TEST_F(FixedSnapshots, ShowWhatTheRegionHad) {
    commit(0, 1);
    commit(64, 2);
    begin_fixed(reader_);
    commit(0, 11);
    commit(0, 12);
    commit(128, 13);
    commit(kPageBytes, 14);
    commit(64, 15); // of which the snapshot has the newest version
    EXPECT_EQ(kept(), 4);
    EXPECT_EQ(read(reader_, 0), 1u);
    EXPECT_EQ(read(reader_, 64), 2u);
    EXPECT_EQ(read(reader_, 128), 0u);
    EXPECT_EQ(read(reader_, 0), 1u) << "again";
    std::array<u8, kPageBytes> page{};
    EXPECT_EQ(reader_.read_page(1, page.data()), AbortReason::none);
    EXPECT_EQ(page[0], 0u);
    std::vector<u8> all(kSize);
    EXPECT_EQ(reader_.read(0, all.data(), all.size()), AbortReason::none);
    EXPECT_EQ(all[0], 1u);
    EXPECT_EQ(reader_.validate(), Validity::valid);
    EXPECT_EQ(reader_.commit(), AbortReason::none);
    EXPECT_EQ(kept(), 0);
    ASSERT_EQ(reader_.begin(), AbortReason::none);
    EXPECT_EQ(read(reader_, 0), 12u);
    EXPECT_EQ(reader_.commit(), AbortReason::none);
}

TEST_F(FixedSnapshots, AreOfTheMomentWhenTheyAreFixed) {
    ASSERT_EQ(reader_.begin(), AbortReason::none);
    EXPECT_EQ(read(reader_, 0), 0u);
    commit(64, 1);
    ASSERT_EQ(reader_.fix_snapshot(), AbortReason::none);
    commit(64, 2);
    EXPECT_EQ(read(reader_, 64), 1u);
    EXPECT_EQ(reader_.commit(), AbortReason::none);
}

TEST_F(FixedSnapshots, AreRefusedToWhoHasReadWhatHasChanged) {
    ASSERT_EQ(reader_.begin(), AbortReason::none);
    EXPECT_EQ(read(reader_, 0), 0u);
    commit(0, 1);
    EXPECT_EQ(reader_.fix_snapshot(), AbortReason::read_validation);
    EXPECT_FALSE(reader_.is_fixed());
    EXPECT_EQ(reader_.commit(), AbortReason::read_validation);
    commit(0, 2);
    EXPECT_EQ(kept(), 0) << "nothing was fixed";
}

TEST_F(FixedSnapshots, AreNotForThoseWhoHaveWrittenOrAreAlone) {
    const u64 value = 1;
    ASSERT_EQ(reader_.begin(), AbortReason::none);
    ASSERT_EQ(reader_.write(0, &value, sizeof(value)), AbortReason::none);
    EXPECT_EQ(reader_.fix_snapshot(), AbortReason::none);
    EXPECT_FALSE(reader_.is_fixed());
    EXPECT_EQ(reader_.commit(), AbortReason::none);
    EXPECT_EQ(reader_.fix_snapshot(), AbortReason::killed) << "nothing runs";
    ASSERT_EQ(reader_.begin(Path::serial), AbortReason::none);
    EXPECT_EQ(reader_.fix_snapshot(), AbortReason::none);
    EXPECT_FALSE(reader_.is_fixed());
    EXPECT_EQ(reader_.commit(), AbortReason::none);
}

TEST_F(FixedSnapshots, OfWritersAreNotFixedAnyMore) {
    const u64 value = 1;
    begin_fixed(reader_);
    commit(64, 1);
    ASSERT_EQ(reader_.write(0, &value, sizeof(value)), AbortReason::none);
    EXPECT_EQ(read(reader_, 64), 1u) << "the snapshot has moved";
    EXPECT_FALSE(reader_.is_fixed());
    EXPECT_EQ(kept(), 0);
    EXPECT_EQ(reader_.commit(), AbortReason::none);

    begin_fixed(reader_);
    commit(64, 2);
    EXPECT_EQ(read(reader_, 64), 1u);
    ASSERT_EQ(reader_.write(0, &value, sizeof(value)), AbortReason::none);
    EXPECT_EQ(reader_.commit(), AbortReason::commit_validation);
    EXPECT_EQ(kept(), 0);
}

TEST_F(FixedSnapshots, OfWhoWaitsAreNotFixedAnyMore) {
    begin_fixed(reader_);
    EXPECT_EQ(read(reader_, 0), 0u);
    const WaitMask mask = reader_.announce_wait();
    EXPECT_EQ(reader_.validate(), Validity::valid);
    commit(0, 1);
    EXPECT_EQ(reader_.validate(), Validity::changed);
    EXPECT_EQ(kept(), 0);
    reader_.withdraw_wait(mask);
    reader_.cancel(AbortReason::explicit_retry);
}

TEST_F(FixedSnapshots, OfEachEndAreForgotten) {
    const auto expect_nothing_wanted = [&] {
        EXPECT_EQ(memory_.old_versions().wanted_below(), 0u);
        EXPECT_EQ(kept(), 0);
    };
    begin_fixed(reader_);
    commit(0, 1);
    reader_.cancel(AbortReason::explicit_cancel);
    expect_nothing_wanted();
    begin_fixed(reader_);
    commit(0, 2);
    reader_.forsake(AbortReason::killed);
    expect_nothing_wanted();
    EXPECT_EQ(reader_.commit(), AbortReason::killed);
    begin_fixed(reader_);
    ASSERT_EQ(reader_.become_serial(), AbortReason::none);
    expect_nothing_wanted();
    EXPECT_EQ(reader_.commit(), AbortReason::none);
    {
        Tx short_lived(memory_, 3);
        begin_fixed(short_lived);
        commit(0, 3);
        EXPECT_EQ(kept(), 1);
    }
    expect_nothing_wanted();
    begin_fixed(reader_);
    reader_.take_snapshot_again();
    expect_nothing_wanted();
    reader_.cancel(AbortReason::explicit_cancel);
}

TEST_F(FixedSnapshots, AreServedByEachKindOfCommit) {
    begin_fixed(reader_);
    commit(0, 1, Path::serial);
    std::vector<u8> block(kPageBytes, 5);
    std::vector<u64> replaced(kStripesPerPage);
    protocol::BlockCommit<PagedMemory> blocks(memory_, 3, kStripesPerPage, kStripesPerPage,
                                              block.data(), replaced.data());
    ASSERT_TRUE(blocks.materialise().ok());
    ASSERT_TRUE(memory_.enter_commit().ok());
    ASSERT_EQ(blocks.commit(), AbortReason::none);
    memory_.leave_commit();
    EXPECT_EQ(kept(), 1 + std::int64_t{kStripesPerPage});
    EXPECT_EQ(read(reader_, 0), 0u);
    std::array<u8, kPageBytes> page{};
    EXPECT_EQ(reader_.read_page(1, page.data()), AbortReason::none);
    EXPECT_EQ(page, (std::array<u8, kPageBytes>{}));
    EXPECT_EQ(reader_.commit(), AbortReason::none);
}

TEST_F(FixedSnapshots, EndWhereTheirVersionsAreNotKept) {
    begin_fixed(reader_);
    Tx second(memory_, 3);
    begin_fixed(second);
    memory_.kept_versions().set_bound(1);
    commit(0, 1);
    commit(64, 1);
    EXPECT_EQ(read(reader_, 0), 0u);
    u64 value = 0;
    EXPECT_EQ(reader_.read(64, &value, sizeof(value)), AbortReason::snapshot_too_old);
    EXPECT_EQ(reader_.in_the_way(), 1u);
    EXPECT_EQ(reader_.commit(), AbortReason::snapshot_too_old);
    EXPECT_EQ(read(second, 0), 0u) << "the others go on";
    EXPECT_EQ(read(second, 128), 0u);
    EXPECT_EQ(second.commit(), AbortReason::none);
    EXPECT_EQ(kept(), 0);
}

TEST_F(FixedSnapshots, OldestMayBeEnded) {
    begin_fixed(reader_);
    commit(0, 1);
    Tx second(memory_, 3);
    begin_fixed(second);
    commit(0, 2);
    EXPECT_EQ(kept(), 2);
    EXPECT_TRUE(memory_.kept_versions().end_oldest());
    EXPECT_EQ(kept(), 1);
    EXPECT_EQ(read(reader_, 64), 0u) << "what has not changed is there";
    u64 value = 0;
    EXPECT_EQ(reader_.read(0, &value, sizeof(value)), AbortReason::snapshot_too_old);
    EXPECT_EQ(read(second, 0), 1u);
    EXPECT_EQ(second.commit(), AbortReason::none);
    reader_.cancel(AbortReason::explicit_cancel);
    EXPECT_EQ(kept(), 0);
}

TEST_F(FixedSnapshots, AreNotKeptForWhatGivesUp) {
    begin_fixed(reader_);
    const u64 value = 1;
    Tx loser(memory_, 3);
    ASSERT_EQ(loser.begin(), AbortReason::none);
    EXPECT_EQ(read(loser, 64), 0u);
    ASSERT_EQ(loser.write(0, &value, sizeof(value)), AbortReason::none);
    commit(64, 1);
    EXPECT_EQ(loser.commit(), AbortReason::commit_validation);
    EXPECT_EQ(kept(), 1) << "that of the other one";
    EXPECT_EQ(reader_.commit(), AbortReason::none);
}

} // namespace
} // namespace stm::test
