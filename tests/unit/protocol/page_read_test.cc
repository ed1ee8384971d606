// SPDX-License-Identifier: GPL-2.0
// Pages that are read as a whole, against the states that the region went through: whatever a
// transaction has read so far, by pages or by bytes, is of one state, and what it commits is no
// later than that one. The same test must fail for engines with a planted error.
#include "runtime/protocol/transaction.hpp"
#include "tests/unit/protocol/test_memory.hpp"
#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
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

// Two transactions run beside each other in one thread, and one of them commits in between.
// Returns an empty string, or what was wrong first.
template <typename Memory, Mutation kMutation>
std::string find_error(u64 seeds, u64& conflicts, u64& commits) {
    for (u64 seed = 1; seed <= seeds; ++seed) {
        std::mt19937_64 random(seed);
        Memory memory(kSize);
        std::vector<State> states{State(kSize)};
        Transaction<Memory, kMutation> reader(memory, 1);
        Transaction<Memory, kMutation> writer(memory, 2);
        const auto fail = [&](const char* what) {
            return std::string(what) + " at seed " + std::to_string(seed);
        };
        for (int round = 0; round < 10; ++round) {
            if (reader.begin(random() % 16 == 0 ? Path::serial : Path::concurrent) !=
                AbortReason::none)
                return fail("begin");
            const bool alone = memory.gate_is_closed();
            // The states that everything read so far may be of.
            std::vector<bool> fits(states.size(), false);
            fits.back() = true;
            std::vector<std::pair<u64, u8>> written;
            AbortReason reason = AbortReason::none;
            std::vector<std::pair<u64, std::vector<u8>>> seen;
            for (int i = 0; i < 8 && reason == AbortReason::none; ++i) {
                if (!alone && random() % 2 == 0) {
                    State next = states.back();
                    if (writer.begin() != AbortReason::none)
                        return fail("begin");
                    for (u64 k = 1 + random() % 3; k != 0; --k) {
                        const u64 at = random() % kSize;
                        const u8 value = static_cast<u8>(random());
                        if (writer.write(at, &value, 1) != AbortReason::none)
                            return fail("write");
                        next[at] = value;
                    }
                    if (writer.commit() != AbortReason::none)
                        return fail("a commit without a conflict");
                    states.push_back(next);
                    bool good = true;
                    for (const auto& [at, bytes] : seen)
                        good = good && std::equal(bytes.begin(), bytes.end(),
                                                  next.begin() + static_cast<std::ptrdiff_t>(at));
                    fits.push_back(good);
                }
                u64 at = random() % kPages * protocol::kPageBytes;
                std::vector<u8> bytes(protocol::kPageBytes);
                switch (random() % 4) {
                case 0: {
                    at = random() % kSize;
                    const u8 value = static_cast<u8>(random());
                    reason = reader.write(at, &value, 1);
                    written.emplace_back(at, value);
                    continue;
                }
                case 1:
                    at += random() % 4000;
                    bytes.resize(1 + random() % 90);
                    for (const auto& [place, value] : written)
                        if (place >= at && place < at + bytes.size())
                            bytes.clear(); // the model has no own writes
                    if (bytes.empty())
                        continue;
                    reason = reader.read(at, bytes.data(), bytes.size());
                    break;
                default:
                    reason = reader.read_page(at / protocol::kPageBytes, bytes.data());
                }
                if (reason != AbortReason::none)
                    break;
                seen.emplace_back(at, bytes);
                bool any = false;
                for (std::size_t k = 0; k < states.size(); ++k) {
                    fits[k] =
                        fits[k] && std::equal(bytes.begin(), bytes.end(),
                                              states[k].begin() + static_cast<std::ptrdiff_t>(at));
                    any = any || fits[k];
                }
                if (!any)
                    return fail("reads of two states");
                const bool latest = fits.back();
                const Validity validity = reader.validate();
                if (validity == Validity::busy)
                    return fail("busy without a lock");
                if (validity == Validity::valid && !latest)
                    return fail("validate() missed a change");
            }
            if (reason == AbortReason::none && random() % 4 == 0) {
                reader.cancel(AbortReason::explicit_cancel);
                continue;
            }
            const bool had_doom = reason != AbortReason::none;
            reason = reader.commit();
            if (reason != AbortReason::none) {
                ++conflicts;
                if (!protocol::is_conflict(reason))
                    return fail("an error that is no conflict");
                if (alone)
                    return fail("a conflict of the serial path");
                continue;
            }
            ++commits;
            if (had_doom)
                return fail("a doomed transaction committed");
            if (written.empty())
                continue;
            if (!fits.back())
                return fail("a commit over reads that have changed");
            State next = states.back();
            for (const auto& [at, value] : written)
                next[at] = value;
            states.push_back(next);
        }
        if (!memory.is_quiet())
            return fail("not quiet");
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
