// SPDX-License-Identifier: GPL-2.0
// Pages that are read as a whole, against the states that the region went through: whatever a
// transaction has read so far, by pages or by bytes, is of one state, and what it commits is no
// later than that one. The same test must fail for engines with a planted error.
#include "runtime/protocol/transaction.hpp"
#include "tests/unit/protocol/test_memory.hpp"
#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace stm::test {
namespace {

using protocol::AbortReason;
using protocol::Limits;
using protocol::Mutation;
using protocol::Path;
using protocol::Transaction;
using protocol::Validity;

constexpr u64 kPages = 4;
constexpr u64 kSize = kPages * protocol::kPageBytes;
using State = std::vector<u8>;
using Bytes = std::array<u8, protocol::kPageBytes>;

TEST(PageRead, GivesThePageAndNotWhatTheTransactionWrote) {
    const NoLeak no_leak;
    PagedMemory memory(kSize);
    Transaction<PagedMemory> tx(memory, 1);
    Bytes page;
    page.fill(9);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.read_page(1, page.data()), AbortReason::none);
    EXPECT_EQ(page, Bytes{}) << "a page that does not exist is zeros";
    const u8 mark[3] = {1, 2, 3};
    ASSERT_EQ(tx.write(protocol::kPageBytes + 62, mark, 3), AbortReason::none);
    EXPECT_TRUE(tx.writes_page(1));
    EXPECT_FALSE(tx.writes_page(0));
    ASSERT_EQ(tx.read_page(1, page.data()), AbortReason::none);
    EXPECT_EQ(page, Bytes{});
    tx.overlay_page(1, page.data());
    EXPECT_EQ(page[61], 0);
    EXPECT_EQ(page[62], 1);
    EXPECT_EQ(page[64], 3);
    EXPECT_EQ(page[65], 0);
    ASSERT_EQ(tx.commit(), AbortReason::none) << "its own locks are no conflict";
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.read_page(1, page.data()), AbortReason::none);
    EXPECT_EQ(page[63], 2);
    EXPECT_EQ(tx.read_page(kPages, page.data()), AbortReason::out_of_range);
    EXPECT_EQ(tx.read_page(~u64{0}, page.data()), AbortReason::out_of_range);
    ASSERT_EQ(tx.commit(), AbortReason::none) << "an error changed nothing";
}

TEST(PageRead, HasALimit) {
    PagedMemory memory(kSize);
    Transaction<PagedMemory> tx(memory, 1);
    Bytes page;
    ASSERT_EQ(tx.begin(), AbortReason::none);
    AbortReason reason = AbortReason::none;
    u64 read = 0;
    for (; read < (u64{1} << 17) && reason == AbortReason::none; ++read)
        reason = tx.read_page(read % kPages, page.data());
    EXPECT_EQ(reason, AbortReason::too_big);
    EXPECT_EQ(read, Limits{}.pages + u64{1});
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST(PageRead, SurvivesEachAllocationThatFails) {
    const std::size_t failed = fail_each_allocation([](const FailAllocation& failure) {
        PagedMemory memory(kSize);
        Transaction<PagedMemory> tx(memory, 1);
        Bytes page;
        ASSERT_EQ(tx.begin(), AbortReason::none);
        bool refused = false;
        for (u64 i = 0; i < 200; ++i) {
            const AbortReason reason = tx.read_page(i % kPages, page.data());
            if (reason != AbortReason::none) {
                ASSERT_EQ(reason, AbortReason::no_memory);
                refused = true;
            }
        }
        EXPECT_EQ(refused, failure.happened());
        EXPECT_EQ(tx.commit(), AbortReason::none);
    });
    EXPECT_GT(failed, 0u);
}

// Two transactions run beside each other in one thread, and one of them commits in between. What
// is wrong is thrown as a text.
template <typename Memory, Mutation kMutation>
class Pair {
public:
    explicit Pair(u64 seed) : random_(seed) {}

    u64 conflicts = 0;
    u64 commits = 0;

    void run() {
        for (int round = 0; round < 10; ++round) {
            begin();
            for (int step = 0; step < 8 && reason_ == AbortReason::none; ++step) {
                if (!alone_ && random_() % 2 == 0)
                    commit_another();
                access();
            }
            end();
        }
        expect(memory_.is_quiet(), "not quiet");
    }

private:
    static void expect(bool condition, const char* what) {
        if (!condition)
            throw std::logic_error(what);
    }
    static bool holds(const State& state, u64 at, const std::vector<u8>& bytes) {
        return std::equal(bytes.begin(), bytes.end(),
                          state.begin() + static_cast<std::ptrdiff_t>(at));
    }

    void begin() {
        const Path path = random_() % 16 == 0 ? Path::serial : Path::concurrent;
        expect(reader_.begin(path) == AbortReason::none, "begin");
        alone_ = memory_.gate_is_closed();
        fits_.assign(states_.size(), false);
        fits_.back() = true;
        written_.clear();
        seen_.clear();
        reason_ = AbortReason::none;
    }

    void commit_another() {
        State next = states_.back();
        expect(writer_.begin() == AbortReason::none, "begin");
        for (u64 left = 1 + random_() % 3; left != 0; --left) {
            const u64 at = random_() % kSize;
            const u8 value = static_cast<u8>(random_());
            expect(writer_.write(at, &value, 1) == AbortReason::none, "write");
            next[at] = value;
        }
        expect(writer_.commit() == AbortReason::none, "a commit without a conflict");
        states_.push_back(next);
        fits_.push_back(std::all_of(seen_.begin(), seen_.end(), [&](const auto& one) {
            return holds(next, one.first, one.second);
        }));
    }

    void access() {
        const u64 at = random_() % kPages * protocol::kPageBytes;
        switch (random_() % 4) {
        case 0:
            write();
            break;
        case 1:
            read_bytes(at + random_() % 4000);
            break;
        default:
            read_page(at);
            break;
        }
    }

    void write() {
        const u64 at = random_() % kSize;
        const u8 value = static_cast<u8>(random_());
        reason_ = reader_.write(at, &value, 1);
        written_.emplace_back(at, value);
    }

    void read_bytes(u64 at) {
        std::vector<u8> bytes(1 + random_() % 90);
        for (const auto& [place, value] : written_) {
            if (place >= at && place < at + bytes.size())
                return; // the model has no own writes
        }
        reason_ = reader_.read(at, bytes.data(), bytes.size());
        if (reason_ == AbortReason::none)
            check_read(at, std::move(bytes));
    }

    void read_page(u64 at) {
        std::vector<u8> bytes(protocol::kPageBytes);
        reason_ = reader_.read_page(at / protocol::kPageBytes, bytes.data());
        if (reason_ == AbortReason::none)
            check_read(at, std::move(bytes));
    }

    void check_read(u64 at, std::vector<u8> bytes) {
        bool any = false;
        for (std::size_t state = 0; state < states_.size(); ++state) {
            fits_[state] = fits_[state] && holds(states_[state], at, bytes);
            any = any || fits_[state];
        }
        expect(any, "reads of two states");
        seen_.emplace_back(at, std::move(bytes));
        const Validity validity = reader_.validate();
        expect(validity != Validity::busy, "busy without a lock");
        expect(validity != Validity::valid || fits_.back(), "validate() missed a change");
    }

    void end() {
        if (reason_ == AbortReason::none && random_() % 4 == 0) {
            reader_.cancel(AbortReason::explicit_cancel);
            return;
        }
        const bool had_doom = reason_ != AbortReason::none;
        const AbortReason ended = reader_.commit();
        if (ended != AbortReason::none) {
            ++conflicts;
            expect(protocol::is_conflict(ended), "an error that is no conflict");
            expect(!alone_, "a conflict of the serial path");
            return;
        }
        ++commits;
        expect(!had_doom, "a doomed transaction committed");
        if (written_.empty())
            return;
        expect(fits_.back(), "a commit over reads that have changed");
        State next = states_.back();
        for (const auto& [at, value] : written_)
            next[at] = value;
        states_.push_back(next);
    }

    std::mt19937_64 random_;
    Memory memory_{kSize};
    std::vector<State> states_{State(kSize)};
    Transaction<Memory, kMutation> reader_{memory_, 1};
    Transaction<Memory, kMutation> writer_{memory_, 2};

    // Of the reader's transaction.
    bool alone_ = false;
    AbortReason reason_ = AbortReason::none;
    std::vector<bool> fits_; // the states that everything read so far may be of
    std::vector<std::pair<u64, u8>> written_;
    std::vector<std::pair<u64, std::vector<u8>>> seen_;
};

// An empty string, or what was wrong first.
template <typename Memory, Mutation kMutation>
std::string find_error(u64 seeds, u64& conflicts, u64& commits) {
    for (u64 seed = 1; seed <= seeds; ++seed) {
        Pair<Memory, kMutation> pair(seed);
        try {
            pair.run();
        } catch (const std::logic_error& wrong) {
            return std::string(wrong.what()) + " at seed " + std::to_string(seed);
        }
        conflicts += pair.conflicts;
        commits += pair.commits;
    }
    return {};
}

template <typename Memory>
class PageReadModel : public testing::Test {};
using Memories = testing::Types<FlatMemory, PagedMemory>;
TYPED_TEST_SUITE(PageReadModel, Memories);

TYPED_TEST(PageReadModel, EverythingReadIsOfOneState) {
    const NoLeak no_leak;
    u64 conflicts = 0;
    u64 commits = 0;
    EXPECT_EQ((find_error<TypeParam, Mutation::none>(1500, conflicts, commits)), "");
    EXPECT_GT(conflicts, 1000u);
    EXPECT_GT(commits, 1000u);
}

TYPED_TEST(PageReadModel, PlantedErrorsAreFound) {
    u64 conflicts = 0;
    u64 commits = 0;
    EXPECT_NE((find_error<TypeParam, Mutation::unchecked_extension>(150, conflicts, commits)), "");
    EXPECT_NE((find_error<TypeParam, Mutation::no_commit_validation>(150, conflicts, commits)), "");
    EXPECT_NE((find_error<TypeParam, Mutation::old_version>(150, conflicts, commits)), "");
}

} // namespace
} // namespace stm::test
