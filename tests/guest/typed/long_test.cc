// SPDX-License-Identifier: GPL-2.0
// Typed transactions that read for long, beside processes that write all the time.
#include "../transactions/transactions.hpp"
#include "typed.hpp"

#include <csignal>
#include <random>
#include <vector>

using namespace stm::test;

namespace {

constexpr std::size_t kPages = 10'000;
constexpr std::size_t kPiece = 16 * kPage;

class TypedLong : public testing::Test {
protected:
    const TypedRegion region_{"long", kPages* kPage, 0};
    const TypedRegion other_{"beside", kPage, 0};

    // Money goes from one page to another, until the process is killed.
    Child begin_transfers(unsigned seed) {
        return Child([this, seed] {
            std::mt19937 random(seed);
            for (;;) {
                const std::uint64_t from = random() % kPages * kPage;
                const std::uint64_t to = random() % kPages * kPage;
                atomically(region_, 0, [&](stm_tx* tx) {
                    if (add(tx, region_, from, -1) == 0)
                        static_cast<void>(add(tx, region_, to, 1));
                });
            }
            return 0;
        });
    }
    // All of it, read by pieces, or by a word of each page. How many attempts that took.
    enum class By { pieces, words };
    int expect_no_loss(By by) {
        std::vector<long> piece(kPiece / sizeof(long));
        int attempts = 0;
        long sum = 0;
        EXPECT_TRUE(atomically(region_, STM_TX_READ_ONLY, [&](stm_tx* tx) {
            ++attempts;
            sum = 0;
            for (std::size_t at = 0; at < kPages * kPage; at += by == By::pieces ? kPiece : kPage) {
                const std::size_t bytes = by == By::pieces ? kPiece : sizeof(long);
                if (stm_tx_load(tx, region_, at, piece.data(), bytes) != 0)
                    return;
                for (std::size_t word = 0; word < bytes / sizeof(long);
                     word += kPage / sizeof(long))
                    sum += piece[word];
            }
        }));
        EXPECT_EQ(sum, 0) << "after attempt " << attempts;
        return attempts;
    }
};

TEST_F(TypedLong, ReadersNeedFewAttempts) {
    Child writers[] = {begin_transfers(1), begin_transfers(2)};
    for (const By by : {By::pieces, By::words}) {
        EXPECT_LE(expect_no_loss(by), 8);
        int attempts = 0;
        for (int round = 0; round < 10; ++round)
            attempts += expect_no_loss(by);
        EXPECT_LE(attempts, 30) << "two, mostly";
    }
    const Fd handle(stm_open(region_.name().c_str(), 0, 0, 0));
    const struct stm_statistics all = statistics(handle.get());
    EXPECT_EQ(all.aborts[STM_REASON_SNAPSHOT_TOO_OLD], 0u);
    for (Child& writer : writers) {
        writer.kill(SIGKILL);
        EXPECT_EQ(writer.wait(), 128 + SIGKILL);
    }
    EXPECT_EQ(expect_no_loss(By::pieces), 1);
}

TEST_F(TypedLong, ReadersFinishWhereNothingCanBeKept) {
    Parameter bound("max_old_bytes", "0");
    Child writer = begin_transfers(1);
    EXPECT_LE(expect_no_loss(By::words), 40);
    writer.kill(SIGKILL);
    EXPECT_EQ(writer.wait(), 128 + SIGKILL);
}

// In the middle of one that has met conflicts.
TEST_F(TypedLong, ReadersMayEndInEachWay) {
    Child writer = begin_transfers(1);
    EXPECT_LE(expect_no_loss(By::words), 8);
    for (int round = 0; round < 3; ++round) {
        int attempts = 0;
        stm_tx* const tx = stm_tx_begin(region_, STM_TX_READ_ONLY);
        ASSERT_NE(tx, nullptr);
        const auto read_all = [&] {
            for (std::size_t page = 0; page < kPages; ++page) {
                long value = 0;
                if (stm_tx_load(tx, region_, page * kPage, &value, sizeof value) != 0)
                    return false;
            }
            return true;
        };
        while (!read_all()) {
            ++attempts;
            ASSERT_EQ(stm_tx_commit(tx), STM_TX_AGAIN);
        }
        EXPECT_LE(attempts, 4);
        if (round == 0) {
            stm_tx_cancel(tx);
        } else if (round == 1) {
            EXPECT_EQ(stm_tx_valid(tx), 1);
            stm_tx_restart(tx);
            EXPECT_EQ(stm_tx_commit(tx), 0);
        } else {
            // A second region has no such snapshot.
            long value = 0;
            int again = 0;
            while (stm_tx_load(tx, other_, 0, &value, sizeof value) != 0 ||
                   stm_tx_commit(tx) != 0) {
                ASSERT_LT(++again, 10);
                static_cast<void>(stm_tx_commit(tx));
            }
        }
        EXPECT_EQ(stm_tx_current(), nullptr);
    }
    // Nothing of it is left that others would have to care for.
    EXPECT_TRUE(atomically(region_, 0, [&](stm_tx* tx) {
        static_cast<void>(add(tx, region_, 0, 1));
        static_cast<void>(add(tx, region_, 8, -1));
    }));
    writer.kill(SIGKILL);
    EXPECT_EQ(writer.wait(), 128 + SIGKILL);
}

} // namespace
