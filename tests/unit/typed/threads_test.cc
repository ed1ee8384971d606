// SPDX-License-Identifier: GPL-2.0
// Threads that use one region at once.
#include "typed.hpp"

#include <atomic>
#include <cstdint>
#include <stop_token>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

using Threads = Typed;

template <typename F>
void run(int number, F f) {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < number; ++thread)
        threads.emplace_back([=] { f(thread); });
}

TEST_F(Threads, NoUpdateIsLost) {
    auto& x = region_.root<var<long>>();
    run(4, [&](int) {
        for (int i = 0; i < 500; ++i)
            atomically(region_, [&](transaction& tx) { ++tx[x]; });
    });
    EXPECT_EQ(x.unsafe_load(), 2000);
}

TEST_F(Threads, AllSeeOneState) {
    struct bank {
        var<long> accounts[16];
    };
    auto& all = region_.root<bank>();
    std::atomic<int> working = 2;
    run(3, [&](int thread) {
        if (thread == 2) {
            while (working > 0)
                read_only(region_, [&](read_transaction& tx) {
                    long sum = 0;
                    for (const auto& account : all.accounts)
                        sum += tx[account];
                    EXPECT_EQ(sum, 0);
                });
            return;
        }
        for (int i = 0; i < 1000; ++i)
            atomically(region_, [&](transaction& tx) {
                tx[all.accounts[i % 16]] -= 1;
                tx[all.accounts[(i + thread + 1) % 16]] += 1;
            });
        --working;
    });
}

TEST_F(Threads, WhatIsPushedIsPoppedOnce) {
    auto& q = region_.root<queue<int>>();
    constexpr int each = 300;
    std::atomic<long> sum = 0;
    run(4, [&](int thread) {
        for (int i = 0; i < each; ++i)
            if (thread < 2)
                atomically(region_, [&](transaction& tx) { q.push(tx, thread * each + i); });
            else
                sum += atomically(region_, [&](transaction& tx) { return q.pop(tx); });
    });
    EXPECT_EQ(sum, 2L * each * (2 * each - 1) / 2);
    EXPECT_EQ(read_only(region_, [&](read_transaction& tx) { return q.size(tx); }), 0U);
}

TEST_F(Threads, WhoeverWaitsIsStopped) {
    auto& q = region_.root<queue<int>>();
    std::jthread waits([&](std::stop_token stop) {
        EXPECT_THROW(
            atomically(region_, [&](transaction& tx) { return q.pop(tx); }, {.stop = stop}),
            stopped);
    });
}

TEST_F(Threads, MapsAndTheHeapStayConsistent) {
    struct both {
        map<int, int> ordered;
        unordered_map<int, int> hashed;
    };
    auto& all = region_.root<both>();
    run(4, [&](int thread) {
        for (int i = 0; i < 400; ++i) {
            const int key = (i * 7 + thread) % 100;
            atomically(region_, [&](transaction& tx) {
                if (all.ordered.erase(tx, key))
                    EXPECT_TRUE(all.hashed.erase(tx, key));
                else {
                    all.ordered.insert(tx, key, i);
                    EXPECT_TRUE(all.hashed.insert(tx, key, i));
                }
            });
        }
    });
    read_only(region_, [&](read_transaction& tx) {
        std::uint64_t number = 0;
        for (const auto& [key, value] : all.ordered.in(tx)) {
            EXPECT_EQ(all.hashed.find(tx, key), std::optional(value));
            ++number;
        }
        EXPECT_EQ(all.ordered.size(tx), number);
        EXPECT_EQ(all.hashed.size(tx), number);
    });
    atomically(region_, [&](transaction& tx) {
        all.ordered.clear(tx);
        all.hashed.clear(tx);
    });
    EXPECT_EQ(blocks_of(region_), 1U);
}

// Threads that only allocate come to use arenas of their own, and conflict no more.
TEST_F(Threads, AllocateSideBySide) {
    std::atomic<unsigned long> conflicts = 0;
    constexpr int number = 2000;
    run(2, [&](int) {
        std::vector<std::uint64_t> blocks;
        for (int i = 0; i < number; ++i)
            atomically(region_, [&](transaction& tx) {
                conflicts += tx.conflicts() > 0 ? 1 : 0;
                if (i % 3 == 2) {
                    tx.deallocate(blocks.back());
                    tx.on_commit([&] { blocks.pop_back(); });
                } else {
                    const std::uint64_t block = tx.allocate(64);
                    tx.on_commit([&blocks, block] { blocks.push_back(block); });
                }
            });
    });
    EXPECT_LT(conflicts, number / 20);
    blocks_of(region_);
}

} // namespace
} // namespace stm::test
