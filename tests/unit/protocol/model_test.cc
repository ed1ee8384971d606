// SPDX-License-Identifier: GPL-2.0
// The engine against a trivial reference: a byte array that is copied at begin and at every
// nested begin. Random accesses of all sizes and alignments, nesting, and failing allocations.
#include "runtime/protocol/transaction.hpp"
#include "tests/unit/protocol/test_memory.hpp"
#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace stm::test {
namespace {

using protocol::AbortReason;
using protocol::Limits;
using protocol::Path;
using protocol::Transaction;
using protocol::Validity;

using Bytes = std::vector<u8>;

// What the region should hold, and what the transaction should see.
class Reference {
public:
    explicit Reference(u64 size) : committed(size) {}
    void begin() { views.assign(1, committed); }
    void begin_nested() { views.push_back(views.back()); }
    void commit_nested() {
        views[views.size() - 2] = views.back();
        views.pop_back();
    }
    void cancel_nested() { views.pop_back(); }
    void commit() { committed = views[0]; }
    Bytes& view() { return views.back(); }

    Bytes committed;
    std::vector<Bytes> views;
};

template <typename Memory>
class Model : public testing::Test {};
using Memories = testing::Types<FlatMemory, PagedMemory>;
TYPED_TEST_SUITE(Model, Memories);

// A length that is often around the edges of words, stripes and pages.
u64 random_length(std::mt19937_64& random, u64 most) {
    static constexpr u64 kEdges[] = {0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097};
    u64 length = 0;
    switch (random() % 4) {
    case 0:
        length = kEdges[random() % std::size(kEdges)];
        break;
    case 1:
        length = random() % 16;
        break;
    case 2:
        length = random() % 300;
        break;
    default:
        length = random() % (random() % 20 == 0 ? 70'000 : 2'000);
    }
    return std::min(length, most);
}

u64 random_offset(std::mt19937_64& random, u64 size) {
    const u64 any = random() % (size + 1);
    if (random() % 3 != 0)
        return any;
    const u64 edge = (random() % 2 == 0 ? 64 : 4096) * (any / 4096);
    return std::min(size, edge + random() % 17 - std::min<u64>(edge, 8));
}

TYPED_TEST(Model, RandomAccessesMatch) {
    const NoLeak no_leak;
    for (u64 seed = 1; seed <= 12; ++seed) {
        std::mt19937_64 random(seed);
        // Not a multiple of a stripe, so that the last one is short.
        const u64 size = seed % 3 == 0 ? 1 + random() % 200 : 200'000 + random() % 1000;
        TypeParam memory(size);
        Reference reference(size);
        Transaction<TypeParam> tx(memory, seed);
        for (int round = 0; round < 120; ++round) {
            const Path path = random() % 8 == 0 ? Path::serial : Path::concurrent;
            ASSERT_EQ(tx.begin(path), AbortReason::none);
            reference.begin();
            const u64 accesses = random() % 60;
            for (u64 i = 0; i < accesses; ++i) {
                const u64 offset = random_offset(random, size);
                const u64 length = random_length(random, size - offset);
                Bytes bytes(length);
                switch (random() % 8) {
                case 0:
                case 1:
                case 2:
                    ASSERT_EQ(tx.read(offset, bytes.data(), length), AbortReason::none);
                    ASSERT_TRUE(
                        std::equal(bytes.begin(), bytes.end(), reference.view().begin() + offset))
                        << "seed " << seed << " round " << round << " at " << offset << " length "
                        << length;
                    break;
                case 3:
                    if (tx.nesting() < 5) {
                        ASSERT_EQ(tx.begin_nested(), AbortReason::none);
                        reference.begin_nested();
                    }
                    break;
                case 4:
                    if (tx.nesting() == 0)
                        break;
                    if (random() % 2 == 0) {
                        tx.commit_nested();
                        reference.commit_nested();
                    } else {
                        tx.cancel_nested();
                        reference.cancel_nested();
                    }
                    break;
                default:
                    for (u8& byte : bytes)
                        byte = static_cast<u8>(random());
                    ASSERT_EQ(tx.write(offset, bytes.data(), length), AbortReason::none);
                    std::copy(bytes.begin(), bytes.end(), reference.view().begin() + offset);
                }
            }
            ASSERT_EQ(tx.validate(), Validity::valid);
            if (random() % 4 == 0) {
                tx.cancel(AbortReason::explicit_cancel);
            } else {
                while (tx.nesting() != 0) {
                    tx.commit_nested();
                    reference.commit_nested();
                }
                ASSERT_EQ(tx.commit(), AbortReason::none);
                reference.commit();
            }
            ASSERT_TRUE(memory.is_quiet());
        }
        Bytes all(size);
        ASSERT_EQ(tx.begin(), AbortReason::none);
        ASSERT_EQ(tx.read(0, all.data(), size), AbortReason::none);
        ASSERT_EQ(tx.commit(), AbortReason::none);
        EXPECT_EQ(all, reference.committed);
    }
}

// Two transactions, one of which always commits in between: either the other one's answers are
// those of its snapshot or of an extension, or it reports a conflict.
TYPED_TEST(Model, RandomConflictsNeverShowTwoSnapshots) {
    u64 conflicts = 0;
    u64 commits = 0;
    for (u64 seed = 1; seed <= 200; ++seed) {
        std::mt19937_64 random(seed);
        const u64 size = 64 * 8;
        TypeParam memory(size);
        std::vector<Bytes> history{Bytes(size)};
        Transaction<TypeParam> reader(memory, 1);
        Transaction<TypeParam> writer(memory, 2);
        for (int round = 0; round < 20; ++round) {
            ASSERT_EQ(reader.begin(), AbortReason::none);
            const u64 first = history.size() - 1;
            std::vector<std::pair<u64, Bytes>> seen;
            bool alive = true;
            for (int i = 0; i < 6 && alive; ++i) {
                if (random() % 2 == 0) {
                    ASSERT_EQ(writer.begin(), AbortReason::none);
                    const u64 offset = random() % size;
                    Bytes bytes(std::min<u64>(size - offset, 1 + random() % 20));
                    for (u8& byte : bytes)
                        byte = static_cast<u8>(random());
                    ASSERT_EQ(writer.write(offset, bytes.data(), bytes.size()), AbortReason::none);
                    ASSERT_EQ(writer.commit(), AbortReason::none);
                    history.push_back(history.back());
                    std::copy(bytes.begin(), bytes.end(), history.back().begin() + offset);
                }
                const u64 offset = random() % size;
                Bytes bytes(std::min<u64>(size - offset, 1 + random() % 100));
                const AbortReason reason = reader.read(offset, bytes.data(), bytes.size());
                alive = reason == AbortReason::none;
                if (alive)
                    seen.emplace_back(offset, bytes);
                else
                    ASSERT_EQ(reason, AbortReason::read_validation);
                // Some state since the begin must agree with everything seen.
                bool fits = false;
                for (u64 state = first; state < history.size() && !fits; ++state) {
                    fits = true;
                    for (const auto& [at, what] : seen)
                        fits = fits &&
                               std::equal(what.begin(), what.end(), history[state].begin() + at);
                }
                ASSERT_TRUE(fits) << "seed " << seed << " round " << round;
            }
            const u8 mark = 1;
            bool wrote = false;
            if (alive && random() % 2 == 0) {
                ASSERT_EQ(reader.write(size - 1, &mark, 1), AbortReason::none);
                wrote = true;
            }
            const AbortReason reason = reader.commit();
            ASSERT_EQ(reason == AbortReason::none || protocol::is_conflict(reason), true);
            (reason == AbortReason::none ? commits : conflicts) += 1;
            if (reason == AbortReason::none && wrote) {
                // What was read must be the latest state now.
                for (const auto& [at, what] : seen)
                    ASSERT_TRUE(std::equal(what.begin(), what.end(), history.back().begin() + at));
                history.push_back(history.back());
                history.back()[size - 1] = mark;
            }
        }
    }
    EXPECT_GT(conflicts, 100u);
    EXPECT_GT(commits, 100u);
}

// The same program with each allocation failing once: an operation that fails did nothing, the
// transaction goes on, and in the end everything is as the reference says.
TYPED_TEST(Model, EveryAllocationMayFail) {
    const std::size_t failed = fail_each_allocation([](const FailAllocation&) {
        const u64 size = 600'000;
        TypeParam memory(size);
        Reference reference(size);
        Transaction<TypeParam> tx(memory, 1);
        std::mt19937_64 random(7);
        for (int round = 0; round < 3; ++round) {
            ASSERT_EQ(tx.begin(), AbortReason::none);
            reference.begin();
            for (int i = 0; i < 40; ++i) {
                const u64 offset = random() % size;
                Bytes bytes(std::min<u64>(size - offset, random() % 20'000));
                if (i % 7 == 3) {
                    if (tx.begin_nested() == AbortReason::none)
                        reference.begin_nested();
                } else if (i % 9 == 5 && tx.nesting() != 0) {
                    tx.cancel_nested();
                    reference.cancel_nested();
                } else if (random() % 2 == 0) {
                    const AbortReason reason = tx.read(offset, bytes.data(), bytes.size());
                    if (reason == AbortReason::none)
                        ASSERT_TRUE(std::equal(bytes.begin(), bytes.end(),
                                               reference.view().begin() + offset));
                    else
                        ASSERT_EQ(reason, AbortReason::no_memory);
                } else {
                    for (u8& byte : bytes)
                        byte = static_cast<u8>(random());
                    const AbortReason reason = tx.write(offset, bytes.data(), bytes.size());
                    if (reason == AbortReason::none)
                        std::copy(bytes.begin(), bytes.end(), reference.view().begin() + offset);
                    else
                        ASSERT_EQ(reason, AbortReason::no_memory);
                }
            }
            while (tx.nesting() != 0) {
                tx.commit_nested();
                reference.commit_nested();
            }
            // All memory that the commit needs is there already.
            const std::size_t attempts = allocation_attempts();
            ASSERT_EQ(tx.commit(), AbortReason::none);
            ASSERT_EQ(allocation_attempts(), attempts);
            reference.commit();
        }
        Bytes all(4096);
        for (u64 offset = 0; offset + all.size() <= size; offset += all.size()) {
            ASSERT_EQ(tx.begin(), AbortReason::none);
            AbortReason reason = tx.read(offset, all.data(), all.size());
            if (reason == AbortReason::no_memory)
                reason = tx.read(offset, all.data(), all.size());
            ASSERT_EQ(reason, AbortReason::none);
            ASSERT_TRUE(std::equal(all.begin(), all.end(), reference.committed.begin() + offset));
            ASSERT_EQ(tx.commit(), AbortReason::none);
        }
    });
    EXPECT_GT(failed, 20u);
}

TYPED_TEST(Model, SixtyFourReadsAndWritesAllocateNothing) {
    const u64 size = 1 << 20;
    TypeParam memory(size);
    Transaction<TypeParam> tx(memory, 1);
    const std::size_t before = allocation_attempts();
    for (int round = 0; round < 3; ++round) {
        ASSERT_EQ(tx.begin(), AbortReason::none);
        u64 value = 0;
        for (u64 i = 0; i < 64; ++i)
            ASSERT_EQ(tx.read(i * 4096, &value, 8), AbortReason::none);
        for (u64 i = 0; i < 64; ++i)
            ASSERT_EQ(tx.write(i * 8192 + 64, &i, 8), AbortReason::none);
        ASSERT_EQ(tx.commit(), AbortReason::none);
    }
    EXPECT_EQ(allocation_attempts(), before);
}

TYPED_TEST(Model, OneMebibyteGoesTheSerialWay) {
    const u64 length = 1 << 20;
    const u64 size = length + 10'000;
    TypeParam memory(size);
    Transaction<TypeParam> tx(memory, 1);
    Bytes bytes(length);
    for (u64 i = 0; i < length; ++i)
        bytes[i] = static_cast<u8>(i * 7 + i / 256);
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.write(777, bytes.data(), length), AbortReason::none);
    Bytes back(length);
    ASSERT_EQ(tx.read(777, back.data(), length), AbortReason::none);
    EXPECT_EQ(back, bytes);
    ASSERT_EQ(tx.commit(), AbortReason::none);
    EXPECT_EQ(memory.serial_taken(), 1u);
    EXPECT_GE(memory.batches(), 3 * (length / 64 / protocol::kMaxConcurrentStripes));
    EXPECT_TRUE(memory.is_quiet());
    std::fill(back.begin(), back.end(), u8{0});
    ASSERT_EQ(tx.begin(), AbortReason::none);
    ASSERT_EQ(tx.read(777, back.data(), length), AbortReason::none);
    ASSERT_EQ(tx.commit(), AbortReason::none);
    EXPECT_EQ(back, bytes);
}

} // namespace
} // namespace stm::test
