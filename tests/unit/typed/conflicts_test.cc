// SPDX-License-Identifier: GPL-2.0
// A conflict may be found at any call. The result is as if the function had run once.
#include "typed.hpp"

#include <cerrno>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

namespace stm::test {
namespace {

struct all {
    var<long> a;
    var<long> b;
    vector<long> numbers;
    map<int, long> ordered;
    unordered_map<int, long> hashed;
    queue<long> waiting;
    string text;
};

class Conflicts : public Typed {
protected:
    all& all_ = region_.root<all>();
};

struct Counted {
    explicit Counted(int& there) : there_(there) { ++there_; }
    ~Counted() { --there_; }
    int& there_;
};

TEST_F(Conflicts, NothingHappensTwice) {
    long expected = 0;
    with_a_conflict_at_each_call([&] {
        atomically(region_, [&](transaction& tx) {
            tx[all_.a] += 1;
            tx[all_.b] += 2;
        });
        ++expected;
        EXPECT_EQ(all_.a.unsafe_load(), expected);
        EXPECT_EQ(all_.b.unsafe_load(), 2 * expected);
    });
}

TEST_F(Conflicts, DestructorsRun) {
    int there = 0;
    int runs = 0;
    with_a_conflict_at_each_call([&] {
        atomically(region_, [&](transaction& tx) {
            const Counted one(there);
            ++runs;
            EXPECT_EQ(there, 1);
            tx.nested([&](transaction& inner) {
                const Counted two(there);
                inner[all_.a] += 1;
            });
        });
        EXPECT_EQ(there, 0);
    });
    EXPECT_GT(runs, 4);
}

TEST_F(Conflicts, AFunctionThatSwallowsRestartsRunsAgain) {
    long expected = 0;
    with_a_conflict_at_each_call([&] {
        atomically(region_, [&](transaction& tx) {
            try {
                tx[all_.a] += 1;
            } catch (...) {
            }
            try {
                tx[all_.b] += 1;
            } catch (...) {
            }
        });
        ++expected;
        EXPECT_EQ(all_.a.unsafe_load(), expected);
        EXPECT_EQ(all_.b.unsafe_load(), expected);
    });
}

TEST_F(Conflicts, AFunctionThatMakesAnotherExceptionOfARestartRunsAgain) {
    with_a_conflict_at_each_call([&] {
        atomically(region_, [&](transaction& tx) {
            try {
                tx[all_.a] += 1;
            } catch (...) {
                throw std::runtime_error("something went wrong");
            }
        });
    });
}

TEST_F(Conflicts, ASwallowedRetryWaits) {
    const unsigned long before = fake::sleeps();
    std::jthread other([&] {
        while (fake::sleeps() == before)
            std::this_thread::yield();
        atomically(region_, [&](transaction& tx) { tx[all_.a] = 1; });
    });
    const long seen = atomically(region_, [&](transaction& tx) {
        try {
            if (tx[all_.a] == 0)
                tx.retry();
        } catch (...) {
        }
        tx[all_.b] += 1;
        return tx[all_.a].get();
    });
    EXPECT_EQ(seen, 1);
    EXPECT_EQ(all_.b.unsafe_load(), 1);
}

TEST_F(Conflicts, PartsAndAlternatives) {
    long expected = 0;
    with_a_conflict_at_each_call([&] {
        atomically(region_, [&](transaction& tx) {
            tx.or_else(
                [&](transaction& first) {
                    first[all_.a] += 100;
                    first.retry();
                },
                [&](transaction& second) { second[all_.a] += 1; });
            try {
                tx.nested([&](transaction& inner) {
                    inner[all_.b] += 100;
                    throw 1;
                });
            } catch (int) {
                tx[all_.b] += 1;
            }
        });
        ++expected;
        EXPECT_EQ(all_.a.unsafe_load(), expected);
        EXPECT_EQ(all_.b.unsafe_load(), expected);
    });
}

TEST_F(Conflicts, ActionsOfAttemptsThatDoNotCount) {
    with_a_conflict_at_each_call([&] {
        int begun = 0;
        int undone = 0;
        int committed = 0;
        atomically(region_, [&](transaction& tx) {
            ++begun;
            tx.on_abort([&] { ++undone; });
            tx.on_commit([&] { ++committed; });
            tx[all_.a] += 1;
        });
        EXPECT_EQ(committed, 1);
        EXPECT_EQ(undone, begun - 1);
    });
}

TEST_F(Conflicts, ContainersAndTheHeap) {
    long run = 0;
    with_a_conflict_at_each_call([&] {
        const int key = static_cast<int>(++run);
        atomically(region_, [&](transaction& tx) {
            all_.numbers.push_back(tx, key);
            all_.ordered.insert(tx, key, key);
            all_.hashed.insert(tx, key, key);
            all_.waiting.push(tx, key);
            all_.text.assign(tx, std::to_string(key));
            if (key > 1) {
                EXPECT_TRUE(all_.ordered.erase(tx, key - 1));
                EXPECT_TRUE(all_.hashed.erase(tx, key - 1));
                EXPECT_EQ(all_.waiting.pop(tx), key - 1);
            }
        });
        read_only(region_, [&](read_transaction& tx) {
            EXPECT_EQ(all_.numbers.size(tx), static_cast<std::uint64_t>(run));
            EXPECT_EQ(all_.ordered.size(tx), 1U);
            EXPECT_EQ(all_.hashed.find(tx, key), std::optional<long>(run));
            EXPECT_EQ(all_.waiting.size(tx), 1U);
            EXPECT_EQ(all_.text.str(tx), std::to_string(key));
        });
        // What an attempt allocated that did not count is not allocated: the root, the vector's
        // and the string's characters, a node in each map, two in the queue, two counters, and the
        // hash map's first segment.
        EXPECT_EQ(blocks_of(region_), 10U);
    });
}

TEST_F(Conflicts, AnErrorAtAnyCallIsAnExceptionAndHasNoEffect) {
    unsigned call = 1;
    for (;; ++call) {
        fake::fail_at(call, ENOMEM);
        long before = all_.a.unsafe_load();
        try {
            atomically(region_, [&](transaction& tx) {
                try {
                    tx[all_.a] += 1;
                    all_.ordered.insert_or_assign(tx, static_cast<int>(call), 1);
                } catch (const std::system_error&) {
                    // Whoever goes on all the same is told at the end.
                }
            });
        } catch (const std::system_error& error) {
            EXPECT_EQ(error.code().value(), ENOMEM);
            EXPECT_EQ(all_.a.unsafe_load(), before);
            continue;
        }
        break;
    }
    EXPECT_FALSE(fake::has_happened());
    fake::conflict_at(0);
    EXPECT_GT(call, 5U);
    blocks_of(region_);
}

} // namespace
} // namespace stm::test
