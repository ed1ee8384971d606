// SPDX-License-Identifier: GPL-2.0
// The typed transaction, one thread: each operation against a model, and what it does when others
// have committed in between.
#include "tests/unit/protocol/typed_memory.hpp"
#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <utility>

namespace stm::test {
namespace {

using protocol::ReadLog;
using protocol::ReadRun;
using protocol::StripeWrite;
using protocol::TypedLimits;
using protocol::WriteSet;
using Tx = TypedTx<FlatMemory>;
using Mode = Tx::Mode;

constexpr u64 kSecond = Regions<FlatMemory>::kSpan;

class Typed : public testing::Test {
protected:
    Typed() {
        for (int i = 0; i < 2; ++i)
            regions.all.push_back(std::make_unique<FlatMemory>(1 << 20));
    }

    // Another transaction commits a word.
    void others_write(u64 address, u64 value) {
        Tx other(regions, 99);
        static_cast<void>(other.begin(protocol::Path::concurrent, address / kSecond));
        ASSERT_EQ(other.write(address, &value, 8), AbortReason::none);
        ASSERT_EQ(other.commit(), AbortReason::none);
    }
    static u64 load(Tx& tx, u64 address, AbortReason expected = AbortReason::none) {
        u64 value = 0;
        EXPECT_EQ(tx.read(address, &value, 8), expected);
        return value;
    }
    static void store(Tx& tx, u64 address, u64 value) {
        EXPECT_EQ(tx.write(address, &value, 8), AbortReason::none);
    }
    u64 committed(u64 address) {
        u64 value = 0;
        std::memcpy(&value, regions.of(address).data(address % kSecond / 64) + address % 64, 8);
        return value;
    }

    Regions<FlatMemory> regions;
};

TEST_F(Typed, CommitsWhatItHasStored) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    EXPECT_EQ(load(tx, 8), 0u);
    store(tx, 8, 5);
    store(tx, 4096, 6);
    EXPECT_EQ(load(tx, 8), 5u);
    EXPECT_EQ(committed(8), 0u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    EXPECT_EQ(committed(8), 5u);
    EXPECT_EQ(committed(4096), 6u);
    static_cast<void>(tx.begin());
    EXPECT_EQ(load(tx, 8), 5u);
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_TRUE(regions.all[0]->is_quiet());
}

TEST_F(Typed, CancelHasNoEffect) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    store(tx, 8, 5);
    tx.cancel(AbortReason::explicit_cancel);
    EXPECT_EQ(committed(8), 0u);
    static_cast<void>(tx.begin());
    EXPECT_EQ(load(tx, 8), 0u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Typed, ItsSnapshotIsExtended) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    EXPECT_EQ(load(tx, 0), 0u);
    others_write(64, 7);
    EXPECT_EQ(load(tx, 64), 7u);
    EXPECT_EQ(tx.engine().extensions(), 1u);
    EXPECT_EQ(load(tx, 0), 0u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Typed, ConflictsWhenWhatItHasReadHasChanged) {
    for (const bool bulk : {false, true}) {
        Tx tx(regions, 1);
        static_cast<void>(tx.begin());
        if (bulk) {
            std::vector<u8> bytes(2 * 64);
            EXPECT_EQ(tx.read(0, bytes.data(), bytes.size()), AbortReason::none);
        } else {
            load(tx, 0);
        }
        others_write(0, 1);
        others_write(640, 2);
        load(tx, 640, AbortReason::read_validation);
        load(tx, 128, AbortReason::read_validation);
        EXPECT_EQ(tx.commit(), AbortReason::read_validation);
        EXPECT_EQ(tx.conflicts_in_row(), 1u);
    }
}

// Does something else once, before the next access to bytes.
class HookedMemory : public FlatMemory {
public:
    using FlatMemory::FlatMemory;
    u8* data(u64 stripe) {
        if (const auto hook = std::exchange(before_access, {}))
            hook();
        return FlatMemory::data(stripe);
    }
    std::function<void()> before_access;
};

// Others commit between the look at the record and the load of the bytes.
TEST(TypedLoad, IsDoneAgainWhenACommitOvertakesIt) {
    for (const u64 bytes : {8u, 4u, 192u}) {
        Regions<HookedMemory> regions;
        regions.all.push_back(std::make_unique<HookedMemory>(4096));
        TypedTx<HookedMemory> tx(regions, 1);
        TypedTx<HookedMemory> other(regions, 2);
        u8 buffer[192] = {};
        static_cast<void>(tx.begin());
        EXPECT_EQ(tx.read(0, buffer, 8), AbortReason::none);
        regions.all[0]->before_access = [&] {
            const u64 one = 1;
            static_cast<void>(other.begin());
            EXPECT_EQ(other.write(0, &one, 8), AbortReason::none);
            EXPECT_EQ(other.write(640, &one, 8), AbortReason::none);
            EXPECT_EQ(other.commit(), AbortReason::none);
        };
        EXPECT_EQ(tx.read(640, buffer, bytes), AbortReason::read_validation) << bytes;
        EXPECT_EQ(tx.commit(), AbortReason::read_validation);
    }
}

TEST_F(Typed, DoesNotCommitOnWhatHasChanged) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    load(tx, 0);
    store(tx, 64, 1);
    others_write(0, 9);
    EXPECT_EQ(tx.commit(), AbortReason::commit_validation);
    EXPECT_EQ(committed(64), 0u);
    EXPECT_TRUE(regions.all[0]->is_quiet());
}

TEST_F(Typed, WritesWithoutReadsNeverConflict) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    store(tx, 64, 1);
    others_write(64, 9);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    EXPECT_EQ(committed(64), 1u);
}

TEST_F(Typed, WhatItHasWrittenAsAWholeIsNotRead) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    store(tx, 64, 1);
    EXPECT_EQ(load(tx, 64), 1u);
    others_write(64, 9);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Typed, ReadsInAllRegionsAreValidatedWhenOneJoins) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    EXPECT_EQ(load(tx, 0), 0u);
    // One transaction over both regions.
    Tx other(regions, 2);
    static_cast<void>(other.begin());
    store(other, 0, 1);
    store(other, kSecond, 1);
    EXPECT_EQ(other.commit(), AbortReason::none);
    load(tx, kSecond, AbortReason::read_validation);
    tx.cancel(AbortReason::explicit_cancel);
    static_cast<void>(tx.begin());
    EXPECT_EQ(load(tx, 0), 1u);
    EXPECT_EQ(load(tx, kSecond), 1u);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Typed, ReadsInAllRegionsAreValidatedWhenOneIsExtended) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    EXPECT_EQ(load(tx, 0), 0u);
    EXPECT_EQ(load(tx, kSecond + 64), 0u);
    Tx other(regions, 2);
    static_cast<void>(other.begin());
    store(other, 0, 1);
    store(other, kSecond, 1);
    EXPECT_EQ(other.commit(), AbortReason::none);
    load(tx, kSecond, AbortReason::read_validation);
    EXPECT_EQ(tx.commit(), AbortReason::read_validation);
}

TEST_F(Typed, ReadOnlyOnesKeepALogAfterTwoConflicts) {
    Tx tx(regions, 1);
    tx.set_mode(Mode::read_only);
    for (int attempt = 0; attempt < 3; ++attempt) {
        static_cast<void>(tx.begin());
        EXPECT_EQ(tx.engine().has_log(), attempt == 2);
        load(tx, 0);
        others_write(64, 7);
        load(tx, 64, attempt == 2 ? AbortReason::none : AbortReason::read_validation);
        EXPECT_EQ(tx.commit(), attempt == 2 ? AbortReason::none : AbortReason::read_validation);
    }
    static_cast<void>(tx.begin());
    EXPECT_FALSE(tx.engine().has_log());
    tx.cancel(AbortReason::explicit_cancel);
}

// Also if nothing is in their way from then on.
TEST_F(Typed, ReadOnlyOnesDoNotKeepALogForEver) {
    for (const bool waits : {false, true}) {
        Tx tx(regions, 1);
        tx.set_mode(Mode::read_only);
        if (waits)
            tx.engine().want_logs();
        for (int attempt = 0; attempt < 2 && !waits; ++attempt) {
            static_cast<void>(tx.begin());
            others_write(64, 7);
            load(tx, 64, AbortReason::read_validation);
            EXPECT_EQ(tx.commit(), AbortReason::read_validation);
        }
        unsigned kept = 0;
        for (bool has_log = true; has_log && kept < 1000; kept += has_log ? 1 : 0) {
            static_cast<void>(tx.begin());
            has_log = tx.engine().has_log();
            EXPECT_EQ(load(tx, 64), 7u);
            EXPECT_EQ(tx.commit(), AbortReason::none);
        }
        EXPECT_EQ(kept, waits ? 64u : 1u);
    }
}

TEST_F(Typed, ReadOnlyOnesOverTwoRegionsKeepALog) {
    Tx tx(regions, 1);
    tx.set_mode(Mode::read_only);
    static_cast<void>(tx.begin());
    load(tx, 0);
    load(tx, kSecond, AbortReason::read_validation);
    tx.cancel(AbortReason::explicit_cancel);
    for (int i = 0; i < 2; ++i) {
        static_cast<void>(tx.begin());
        load(tx, 0);
        load(tx, kSecond);
        EXPECT_EQ(tx.commit(), AbortReason::none);
    }
}

TEST_F(Typed, SaysWhetherWhatItReadIsValid) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    load(tx, 0);
    others_write(64, 1);
    EXPECT_EQ(tx.validate(), AbortReason::none);
    others_write(0, 1);
    EXPECT_EQ(tx.validate(), AbortReason::read_validation);
    EXPECT_EQ(tx.commit(), AbortReason::read_validation);
}

TEST_F(Typed, RefusesWhatLiesOutside) {
    Tx tx(regions, 1);
    static_cast<void>(tx.begin());
    u8 bytes[256] = {};
    EXPECT_EQ(tx.read((1 << 20) - 4, bytes, 8), AbortReason::out_of_range);
    EXPECT_EQ(tx.read(1 << 20, bytes, 1), AbortReason::out_of_range);
    EXPECT_EQ(tx.read(1 << 20, bytes, 0), AbortReason::none);
    EXPECT_EQ(tx.read(0, bytes, ~u64{0}), AbortReason::out_of_range);
    EXPECT_EQ(tx.write((1 << 20) - 100, bytes, 101), AbortReason::out_of_range);
    EXPECT_EQ(tx.commit(), AbortReason::none);
    EXPECT_EQ(tx.read(0, bytes, 8), AbortReason::killed) << "none runs";
}

TEST_F(Typed, GrowsToItsLimits) {
    Tx tx(regions, 1, {.runs = 100, .writes = 100});
    static_cast<void>(tx.begin());
    for (u64 i = 0; i < 100; ++i) {
        load(tx, i * 128);
        store(tx, i * 128, i);
    }
    // The same again needs no more room.
    for (u64 i = 0; i < 100; ++i) {
        EXPECT_EQ(load(tx, i * 128), i);
        store(tx, i * 128 + 8, i);
        load(tx, i * 128 + 16);
    }
    u64 value = 0;
    u64 more = 0;
    for (; tx.read((100 + more) * 128, &value, 8) == AbortReason::none; ++more)
        ASSERT_LT(more, 101u);
    EXPECT_EQ(tx.write(100 * 128, &value, 8), AbortReason::too_big);
    EXPECT_EQ(tx.commit(), AbortReason::none);
}

TEST_F(Typed, LosesNothingWithoutMemory) {
    const std::size_t failures = fail_each_allocation([&](const FailAllocation& failure) {
        Tx tx(regions, 1);
        static_cast<void>(tx.begin());
        AbortReason reason = AbortReason::none;
        u64 value = 1;
        for (u64 i = 0; i < 200 && reason == AbortReason::none; ++i) {
            reason = tx.read((i * 128) % 8192 + (i % 2) * kSecond, &value, 8);
            if (reason == AbortReason::none && i % 50 == 0)
                reason = tx.begin_nested();
            if (reason == AbortReason::none)
                reason = tx.write(i * 128 + (i % 2) * kSecond, &value, 8);
        }
        EXPECT_EQ(reason, failure.happened() ? AbortReason::no_memory : AbortReason::none);
        tx.cancel(AbortReason::explicit_cancel);
    });
    EXPECT_GT(failures, 5u);
}

// ---- against a model ---------------------------------------------------------------------------

// One transaction after the other, each with random loads, stores and nested parts of any length,
// in two regions.
TEST_F(Typed, DoesWhatTheModelDoes) {
    constexpr u64 kBytes = 20000;
    std::vector<u8> model(2 * kBytes);
    std::mt19937_64 random(7);
    Tx tx(regions, 1);
    std::vector<u8> buffer(kBytes);
    const auto address = [](u64 place) { return place / kBytes * kSecond + place % kBytes; };
    for (int round = 0; round < 400; ++round) {
        std::vector<u8> now = model;
        std::vector<std::vector<u8>> around;
        static_cast<void>(tx.begin(protocol::Path::concurrent, random() % 2));
        const u64 actions = random() % (round % 10 == 0 ? 200 : 20);
        // Half of them use words of few stripes, again and again.
        const bool few = round % 2 != 0;
        for (u64 i = 0; i < actions; ++i) {
            const u64 kind = random() % 10;
            u64 place = few ? random() % 2 * kBytes + random() % 512 : random() % (2 * kBytes);
            u64 bytes = random() % 4 == 0 ? random() % 3000 : random() % 70;
            if (random() % 3 == 0 || (few && random() % 8 != 0)) {
                place &= ~u64{7};
                bytes = 8;
            }
            bytes = std::min(bytes, kBytes - place % kBytes);
            if (kind < 4) {
                ASSERT_EQ(tx.read(address(place), buffer.data(), bytes), AbortReason::none);
                ASSERT_TRUE(std::equal(buffer.begin(), buffer.begin() + static_cast<long>(bytes),
                                       now.begin() + static_cast<long>(place)));
            } else if (kind < 8) {
                for (u64 k = 0; k < bytes; ++k)
                    now[place + k] = buffer[k] = static_cast<u8>(random());
                ASSERT_EQ(tx.write(address(place), buffer.data(), bytes), AbortReason::none);
            } else if (kind == 8 && around.size() < 5) {
                ASSERT_EQ(tx.begin_nested(), AbortReason::none);
                around.push_back(now);
            } else if (!around.empty()) {
                if (random() % 2 == 0) {
                    tx.commit_nested();
                } else {
                    tx.cancel_nested();
                    now = around.back();
                }
                around.pop_back();
            }
        }
        for (; !around.empty(); around.pop_back())
            tx.commit_nested();
        if (random() % 5 == 0) {
            tx.cancel(AbortReason::explicit_cancel);
        } else {
            ASSERT_EQ(tx.commit(), AbortReason::none);
            model = now;
        }
    }
    for (u64 place = 0; place < 2 * kBytes; ++place)
        ASSERT_EQ(
            regions.of(address(place)).data(address(place) % kSecond / 64)[place % kBytes % 64],
            model[place]);
}

TEST_F(Typed, WritesAreSortedForTheCommit) {
    std::mt19937_64 random(3);
    for (const u64 count : {2u, 8u, 9u, 40u, 2000u}) {
        Tx tx(regions, 1);
        static_cast<void>(tx.begin());
        std::vector<u64> stripes;
        while (stripes.size() < count) {
            const u64 stripe = random() % ((1 << 20) / 64);
            if (std::find(stripes.begin(), stripes.end(), stripe) == stripes.end())
                stripes.push_back(stripe);
            store(tx, stripe * 64, stripe);
            ASSERT_EQ(load(tx, stripes[random() % stripes.size()] * 64) % 1, 0u);
        }
        tx.engine().prepare_commit();
        const auto writes = tx.engine().part(0).writes().writes();
        ASSERT_EQ(writes.size(), count);
        for (u64 i = 1; i < count; ++i)
            EXPECT_LT(writes[i - 1].stripe, writes[i].stripe);
        EXPECT_EQ(tx.commit(), AbortReason::none);
        for (const u64 stripe : stripes)
            EXPECT_EQ(committed(stripe * 64), stripe);
    }
}

// ---- the sets ----------------------------------------------------------------------------------

std::vector<u64> stripes_of(const ReadLog& log) {
    std::vector<u64> all;
    for (const u64 word : log.runs()) {
        const ReadRun run = ReadRun::from_word(word);
        for (u64 i = 0; i < run.count; ++i)
            all.push_back(run.first + i);
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

TEST(TypedReadLog, JoinsNeighbours) {
    ReadLog log;
    for (u64 stripe = 10; stripe < 40; ++stripe) {
        ASSERT_TRUE(log.try_note(stripe));
        ASSERT_TRUE(log.try_note(stripe));
    }
    EXPECT_EQ(log.runs().size(), 30u);
    log.join_neighbours();
    ASSERT_EQ(log.runs().size(), 1u);
    EXPECT_EQ(log.runs()[0], (ReadRun{10, 30}.word()));
    EXPECT_EQ(log.note(40, 200'000, 100), AbortReason::none);
    EXPECT_EQ(stripes_of(log).size(), 200'030u);
    EXPECT_EQ(log.runs().size(), 4u);
}

TEST(TypedReadLog, KeepsEveryStripeAndFewTwice) {
    std::mt19937_64 random(5);
    for (const u64 range : {50u, 3000u, 100'000u}) {
        ReadLog log;
        std::vector<u64> expected;
        for (int i = 0; i < 60'000; ++i) {
            const u64 first = random() % range;
            const u64 count = i % 100 == 0 ? random() % 100 + 1 : 1;
            if (count != 1 || !log.try_note(first)) {
                ASSERT_EQ(log.note(first, count, 1 << 20), AbortReason::none);
            }
            for (u64 k = 0; k < count; ++k)
                expected.push_back(first + k);
        }
        std::sort(expected.begin(), expected.end());
        expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
        EXPECT_EQ(stripes_of(log), expected);
        if (range == 3000) {
            EXPECT_LE(log.runs().size(), 2 * ReadLog::kManyRuns);
        }
        log.make_unique();
        EXPECT_EQ(stripes_of(log), expected);
        EXPECT_LE(log.runs().size(), expected.size());
        log.clear();
        EXPECT_TRUE(log.is_empty());
    }
}

TEST(TypedWriteSet, FindsWhatAnUndoLeaves) {
    WriteSet set;
    std::mt19937_64 random(11);
    std::vector<u64> stripes;
    std::vector<std::size_t> levels;
    for (int i = 0; i < 20'000; ++i) {
        const u64 kind = random() % 40;
        if (kind == 0 && levels.size() < 20) {
            ASSERT_TRUE(set.begin_level().ok());
            levels.push_back(stripes.size());
        } else if (kind == 1 && !levels.empty()) {
            set.undo_level();
            stripes.resize(levels.back());
            levels.pop_back();
        } else if (kind == 2 && !levels.empty()) {
            set.merge_level();
            levels.pop_back();
        } else if (kind == 3 && random() % 20 == 0) {
            set.clear();
            stripes.clear();
            levels.clear();
        } else {
            const u64 stripe = random() % 4000;
            const bool known = std::find(stripes.begin(), stripes.end(), stripe) != stripes.end();
            StripeWrite* const found = set.find(stripe);
            ASSERT_EQ(found != nullptr, known);
            if (known) {
                ASSERT_EQ(found->stripe, stripe);
                continue;
            }
            ASSERT_TRUE(set.reserve(1, 0, 1 << 20).ok());
            set.append(stripe).mask = 1;
            stripes.push_back(stripe);
        }
        ASSERT_EQ(set.size(), stripes.size());
    }
}

} // namespace
} // namespace stm::test
