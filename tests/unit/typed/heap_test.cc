// SPDX-License-Identifier: GPL-2.0
// The allocator in a region, against what it says of itself and what a test keeps beside it.
#include "typed.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <new>
#include <random>
#include <system_error>
#include <vector>

namespace stm::test {
namespace {

class Heap : public Typed {
protected:
    std::uint64_t allocate(std::size_t bytes, std::size_t alignment = 16) {
        return atomically(region_, [&](transaction& tx) { return tx.allocate(bytes, alignment); });
    }
    void free(std::uint64_t offset) {
        atomically(region_, [&](transaction& tx) { tx.deallocate(offset); });
    }
    stm_heap_report report() {
        return read_only(region_, [&](read_transaction& tx) {
            stm_heap_report all{};
            tx.expect(stm_heap_check(tx.handle(), region_.handle(), &all));
            return all;
        });
    }
};

TEST_F(Heap, BlocksAreAlignedAndApart) {
    std::map<std::uint64_t, std::size_t> blocks;
    for (std::size_t bytes : {0, 1, 16, 17, 100, 700, 1344, 2048, 2049, 4096, 4097, 100000})
        for (std::size_t alignment : {1, 16, 64, 256, 4096}) {
            const std::uint64_t offset = allocate(bytes, alignment);
            EXPECT_EQ(offset % std::max<std::size_t>(alignment, 16), 0U);
            ASSERT_TRUE(blocks.emplace(offset, bytes).second);
        }
    for (auto now = blocks.begin(); std::next(now) != blocks.end(); ++now)
        EXPECT_LE(now->first + now->second, std::next(now)->first);
    EXPECT_EQ(report().blocks, blocks.size());
    for (const auto& [offset, bytes] : blocks)
        free(offset);
    EXPECT_EQ(report().blocks, 0U);
}

TEST_F(Heap, WhatIsNotAllocatedIsNotFreed) {
    const std::uint64_t small = allocate(100);
    const std::uint64_t large = allocate(10000);
    for (std::uint64_t wrong : {small + 1, small + 112, large + 16, large + 4096, std::uint64_t{64},
                                region_.size(), ~std::uint64_t{0}})
        atomically(region_, [&](transaction& tx) {
            EXPECT_EQ(stm_heap_free(tx.handle(), region_.handle(), wrong), -1) << wrong;
            EXPECT_EQ(errno, EINVAL);
        });
    free(small);
    free(large);
    EXPECT_THROW(free(small), std::system_error);
    EXPECT_THROW(free(large), std::system_error);
    free(0);
    EXPECT_EQ(report().blocks, 0U);
}

TEST_F(Heap, AnAbortUndoesIt) {
    const std::uint64_t kept = allocate(3000);
    const stm_heap_report before = report();
    EXPECT_THROW(atomically(region_,
                            [&](transaction& tx) {
                                tx.deallocate(kept);
                                for (int i = 0; i < 100; ++i)
                                    static_cast<void>(tx.allocate(500));
                                throw 1;
                            }),
                 int);
    const stm_heap_report after = report();
    EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0);
}

TEST_F(Heap, AllOfItIsUsedBeforeItIsFull) {
    std::vector<std::uint64_t> blocks;
    try {
        for (;;)
            blocks.push_back(allocate(4096));
    } catch (const std::bad_alloc&) {
    }
    EXPECT_EQ(blocks.size() * 4096, report().bytes);
    // Pages that are free beside each other are one run again, whoever had them.
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(1));
    for (const std::uint64_t block : blocks)
        free(block);
    const std::uint64_t all = allocate(report().bytes);
    EXPECT_EQ(report().free_bytes, 0U);
    free(all);
    EXPECT_EQ(report().largest_free, report().bytes);
}

TEST_F(Heap, EmptySlabsAreGivenBackWhenPagesAreNeeded) {
    std::vector<std::uint64_t> blocks;
    for (std::size_t bytes = 16; bytes <= 2048; bytes += 16)
        blocks.push_back(allocate(bytes));
    for (const std::uint64_t block : blocks)
        free(block);
    EXPECT_GT(report().slab_bytes, 0U);
    free(allocate(report().bytes));
    EXPECT_EQ(report().slab_bytes, 0U);
}

TEST_F(Heap, RandomLoad) {
    std::mt19937_64 random(7);
    struct Block {
        std::uint64_t offset;
        std::size_t bytes;
        unsigned char content;
    };
    std::vector<Block> blocks;
    std::size_t in_use = 0;
    for (int step = 0; step < 30000; ++step) {
        std::size_t bytes = std::size_t{1} << random() % 14;
        bytes += random() % bytes;
        if (in_use + bytes < region_.size() / 2 && random() % 16 != 0) {
            const auto content = static_cast<unsigned char>(random());
            const std::uint64_t offset = atomically(region_, [&](transaction& tx) {
                const std::uint64_t made = tx.allocate(bytes);
                tx.store(made, content);
                tx.store(made + bytes - 1, content);
                std::size_t usable = 0;
                tx.expect(stm_heap_usable(tx.handle(), region_.handle(), made, &usable));
                EXPECT_GE(usable, bytes);
                return made;
            });
            blocks.push_back({offset, bytes, content});
            in_use += bytes;
        } else if (!blocks.empty()) {
            std::swap(blocks[random() % blocks.size()], blocks.back());
            const Block gone = blocks.back();
            atomically(region_, [&](transaction& tx) {
                EXPECT_EQ(tx.load<unsigned char>(gone.offset), gone.content);
                EXPECT_EQ(tx.load<unsigned char>(gone.offset + gone.bytes - 1), gone.content);
                tx.deallocate(gone.offset);
            });
            in_use -= gone.bytes;
            blocks.pop_back();
        }
        if (step % 1000 == 0) {
            ASSERT_EQ(blocks_of(region_), blocks.size());
        }
    }
    for (const Block& gone : blocks)
        free(gone.offset);
    EXPECT_EQ(blocks_of(region_), 0U);
}

} // namespace
} // namespace stm::test
