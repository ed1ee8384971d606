// SPDX-License-Identifier: GPL-2.0
// Processes that use one region by <stm/stm.hpp>, each at its own address, and are killed.
#include "cxx_region.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <stop_token>
#include <thread>

namespace stm::test {
namespace {

using namespace std::chrono_literals;

struct node {
    var<long> value;
    var<ptr<node>> next;
};

TEST(TypedStructures, AListMadeByOneProcessIsWalkedByAnother) {
    const OwnRegion region("list");
    auto& first = region.here.root<var<ptr<node>>>();
    EXPECT_EQ(Child::doing([&] {
                  const auto own = region::open(region.name);
                  auto& there = own.root<var<ptr<node>>>();
                  EXPECT_NE(&there, &first);
                  atomically(own, [&](transaction& tx) {
                      for (long value = 0; value < 100; ++value)
                          tx[there] = tx.make<node>(value, tx[there].get());
                  });
              }).wait(),
              0);
    const long sum = read_only(region.here, [&](read_transaction& tx) {
        long all = 0;
        for (ptr<node> p = tx[first]; p != nullptr; p = tx.load(tx[p].next))
            all += tx.load(tx[p].value);
        return all;
    });
    EXPECT_EQ(sum, 4950);
    EXPECT_EQ(blocks_of(region.here), 101U);
}

TEST(TypedStructures, AProgramWithAnotherLayoutIsRefused) {
    const OwnRegion region("layout");
    region.here.root<node>();
    EXPECT_EQ(Child::doing([&] {
                  const auto own = region::open(region.name);
                  EXPECT_THROW(own.root<var<long>>(), layout_error);
              }).wait(),
              0);
}

TEST(TypedStructures, WhatIsMappedCannotBeStoredTo) {
    const OwnRegion region("read-only");
    auto& x = region.here.root<var<long>>();
    EXPECT_EQ(signal_of_store(&x), SIGSEGV);
}

TEST(TypedStructures, PopSleepsUntilAnotherProcessPushes) {
    const OwnRegion region("pop");
    auto& q = region.here.root<queue<long>>();
    Child consumer([&] {
        long sum = 0;
        for (int i = 0; i < 100; ++i)
            sum += atomically(region.here, [&](transaction& tx) { return q.pop(tx); });
        return sum == 4950 ? 0 : 1;
    });
    for (long value = 0; value < 100; ++value) {
        if (value % 10 == 0)
            std::this_thread::sleep_for(2ms);
        atomically(region.here, [&](transaction& tx) { q.push(tx, value); });
    }
    EXPECT_EQ(consumer.wait(), 0);
}

TEST(TypedStructures, WaitingEndsByTimeAndByAStop) {
    const OwnRegion region("waiting");
    auto& q = region.here.root<queue<long>>();
    const auto pop = [&](transaction& tx) { return q.pop(tx); };
    EXPECT_THROW(atomically(region.here, pop, within(20ms)), timed_out);
    std::jthread waits([&](std::stop_token stop) {
        EXPECT_THROW(atomically(region.here, pop, {.stop = stop}), stopped);
    });
}

TEST(TypedStructures, OneTransactionInTwoRegions) {
    const OwnRegion a("a");
    const OwnRegion b("b");
    auto& from = a.here.root<var<long>>();
    auto& to = b.here.root<var<long>>();
    const auto move = [&] {
        for (int i = 0; i < 200; ++i)
            atomically(a.here, [&](transaction& tx) {
                tx[from] -= 1;
                tx[to] += 1;
            });
    };
    Child one = Child::doing(move);
    Child two = Child::doing(move);
    for (int i = 0; i < 200; ++i)
        EXPECT_EQ(read_only(a.here, [&](read_transaction& tx) { return tx[from] + tx[to]; }), 0);
    EXPECT_EQ(one.wait(), 0);
    EXPECT_EQ(two.wait(), 0);
    EXPECT_EQ(to.unsafe_load(), 400);
}

// Items go round: from the queue into both maps, and back. Whoever is killed, whenever: each item
// is somewhere once, and no block is lost.
struct round_trip {
    queue<long> waiting;
    map<long, ptr<string>> ordered;
    unordered_map<long, long> hashed;
};

void take(transaction& tx, round_trip& all) {
    const auto item = all.waiting.try_pop(tx);
    if (!item)
        return;
    const auto text = tx.make<string>();
    tx[text].assign(tx, std::string(static_cast<std::size_t>(*item % 100), 'x'));
    EXPECT_TRUE(all.ordered.insert(tx, *item, text));
    EXPECT_TRUE(all.hashed.insert(tx, *item, *item));
}

void give_back(transaction& tx, round_trip& all, long from) {
    const auto found = all.ordered.lower_bound(tx, from);
    if (!found)
        return;
    EXPECT_EQ(tx[found->value].size(tx), static_cast<std::uint64_t>(found->key % 100));
    EXPECT_TRUE(all.hashed.erase(tx, found->key));
    EXPECT_TRUE(all.ordered.erase(tx, found->key));
    tx.destroy(found->value);
    all.waiting.push(tx, found->key);
}

[[noreturn]] void go_round(const region& where, round_trip& all, unsigned seed) {
    std::mt19937 random(seed);
    for (;;) {
        const bool takes = random() % 2 == 0;
        const long from = static_cast<long>(random() % 200);
        atomically(where, [&](transaction& tx) {
            if (takes)
                take(tx, all);
            else
                give_back(tx, all, from);
        });
        if (testing::Test::HasFailure())
            std::_Exit(1);
    }
}

TEST(TypedStructures, SurviveProcessesThatAreKilled) {
    constexpr long items = 200;
    const OwnRegion region("killed");
    auto& all = region.here.root<round_trip>();
    atomically(region.here, [&](transaction& tx) {
        for (long item = 0; item < items; ++item)
            all.waiting.push(tx, item);
    });
    std::mt19937 random(11);
    for (int round = 0; round < 30; ++round) {
        std::vector<Child> workers;
        for (unsigned worker = 0; worker < 3; ++worker) {
            const unsigned seed = random();
            workers.emplace_back(
                [&region, &all, seed]() -> int { go_round(region.here, all, seed); });
        }
        std::this_thread::sleep_for(std::chrono::microseconds(5000 + random() % 20000));
        for (Child& worker : workers) {
            worker.kill(SIGKILL);
            EXPECT_EQ(worker.wait(), 128 + SIGKILL);
        }
        read_only(region.here, [&](read_transaction& tx) {
            std::uint64_t number = 0;
            for (const auto& [key, text] : all.ordered.in(tx)) {
                EXPECT_EQ(all.hashed.find(tx, key), std::optional(key));
                ++number;
            }
            EXPECT_EQ(all.ordered.size(tx), number);
            EXPECT_EQ(all.hashed.size(tx), number);
            EXPECT_EQ(all.waiting.size(tx) + number, static_cast<std::uint64_t>(items));
        });
        blocks_of(region.here);
    }
    // In the end all of it is freed, and nothing else was allocated.
    atomically(region.here, [&](transaction& tx) {
        while (!all.ordered.empty(tx))
            give_back(tx, all, 0);
        std::map<long, int> seen;
        while (const auto item = all.waiting.try_pop(tx))
            ++seen[*item];
        EXPECT_EQ(seen.size(), static_cast<std::size_t>(items));
        all.ordered.clear(tx);
        all.hashed.clear(tx);
        all.waiting.clear(tx);
    });
    EXPECT_EQ(blocks_of(region.here), 1U);
}

} // namespace
} // namespace stm::test
