// SPDX-License-Identifier: GPL-2.0
// copy_from_shared() and copy_to_shared() of atomic.hpp.
#include "runtime/support/atomic.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

namespace stm::runtime {
namespace {

using Copy = void (*)(void*, const void*, usize);

class SharedCopy : public testing::TestWithParam<Copy> {};

// Blocks of the exact size, so that AddressSanitizer sees an access outside of them.
TEST_P(SharedCopy, CopiesExactlyTheBytesAtEveryAlignment) {
    for (usize target_offset = 0; target_offset < 9; ++target_offset) {
        for (usize source_offset = 0; source_offset < 9; ++source_offset) {
            for (usize bytes = 0; bytes < 150; ++bytes) {
                const auto source = std::make_unique<u8[]>(source_offset + bytes);
                const auto target = std::make_unique<u8[]>(target_offset + bytes);
                for (usize index = 0; index < bytes; ++index)
                    source[source_offset + index] = static_cast<u8>(index * 7 + 1);
                GetParam()(target.get() + target_offset, source.get() + source_offset, bytes);
                EXPECT_EQ(
                    std::memcmp(target.get() + target_offset, source.get() + source_offset, bytes),
                    0);
            }
        }
    }
}

TEST_P(SharedCopy, LeavesTheBytesAroundAlone) {
    std::vector<u8> source(256, 1);
    for (usize offset = 0; offset < 16; ++offset) {
        for (usize bytes = 0; bytes < 150; ++bytes) {
            std::vector<u8> target(256, 0);
            GetParam()(target.data() + offset, source.data() + 3, bytes);
            for (usize index = 0; index < target.size(); ++index)
                EXPECT_EQ(target[index], index >= offset && index < offset + bytes ? 1 : 0);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Both, SharedCopy, testing::Values(copy_from_shared, copy_to_shared),
                         [](const testing::TestParamInfo<Copy>& test) {
                             return test.param == Copy{copy_from_shared} ? "FromShared"
                                                                         : "ToShared";
                         });

// One thread writes the same value into all of a block, others copy it out, from and to odd
// addresses: every aligned word that they see is whole, and ThreadSanitizer sees no race.
TEST(SharedCopyThreads, NoWordIsTornAndNothingRaces) {
    constexpr usize kWords = 64;
    constexpr int kRounds = 2000;
    alignas(8) static u8 shared[kWords * 8 + 16];
    u8* const block = shared + 5; // words begin 3 bytes later
    constexpr usize kBytes = kWords * 8;
    Atomic<u32> done;

    std::vector<std::thread> readers;
    for (int reader = 0; reader < 2; ++reader) {
        readers.emplace_back([&] {
            std::vector<u8> copy(kBytes + 1);
            do {
                copy_from_shared(copy.data() + 1, block, kBytes);
                for (usize at = 3; at + 8 <= kBytes; at += 8) {
                    for (usize byte = 1; byte < 8; ++byte)
                        ASSERT_EQ(copy[1 + at], copy[1 + at + byte]);
                }
            } while (done.load(Order::acquire) == 0);
        });
    }
    std::vector<u8> pattern(kBytes + 3);
    for (int round = 0; round < kRounds; ++round) {
        std::memset(pattern.data(), round, pattern.size());
        copy_to_shared(block, pattern.data() + 3, kBytes);
    }
    done.store(1, Order::release);
    for (std::thread& reader : readers)
        reader.join();
}

// Neighbours that write next to each other in one word do not undo each other.
TEST(SharedCopyThreads, NeighboursInAWordKeepTheirBytes) {
    alignas(8) static u8 word[8];
    const auto fill = [](usize from, usize to) {
        u8 pattern[8];
        for (int round = 0; round < 5000; ++round) {
            std::memset(pattern, round | 1, sizeof(pattern));
            copy_to_shared(word + from, pattern, to - from);
            u8 seen[8];
            copy_from_shared(seen, word + from, to - from);
            for (usize index = 0; index < to - from; ++index)
                ASSERT_EQ(seen[index], static_cast<u8>(round | 1));
        }
    };
    std::thread left(fill, 0, 3);
    std::thread right(fill, 3, 8);
    left.join();
    right.join();
}

} // namespace
} // namespace stm::runtime
