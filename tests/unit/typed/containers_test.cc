// SPDX-License-Identifier: GPL-2.0
// Containers in a region do what those of the standard library do.
#include "typed.hpp"

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace stm::test {
namespace {

using Containers = Typed;

TEST_F(Containers, Vector) {
    auto& v = region_.root<vector<int>>();
    std::vector<int> model;
    std::mt19937 random(1);
    for (int step = 0; step < 3000; ++step)
        atomically(region_, [&](transaction& tx) {
            const int value = static_cast<int>(random());
            const std::size_t place = model.empty() ? 0 : random() % model.size();
            const auto at = model.begin() + static_cast<std::ptrdiff_t>(place);
            switch (random() % 8) {
            case 0:
            case 1:
            case 2:
                v.push_back(tx, value);
                model.push_back(value);
                break;
            case 3:
                v.insert(tx, place, value);
                model.insert(at, value);
                break;
            case 4:
                if (!model.empty()) {
                    v.erase(tx, place);
                    model.erase(at);
                }
                break;
            case 5:
                if (!model.empty()) {
                    v.pop_back(tx);
                    model.pop_back();
                }
                break;
            case 6:
                if (!model.empty()) {
                    tx[v.at(tx, place)] += 1;
                    model[place] += 1;
                }
                break;
            default:
                if (step % 100 == 0) {
                    v.resize(tx, place, value);
                    model.resize(place, value);
                }
            }
            ASSERT_EQ(v.size(tx), model.size());
            std::vector<int> seen;
            for (const int x : v.in(tx))
                seen.push_back(x);
            ASSERT_EQ(seen, model);
        });
    atomically(region_, [&](transaction& tx) {
        EXPECT_THROW(static_cast<void>(v.at(tx, model.size())), std::out_of_range);
        v.clear(tx);
        EXPECT_TRUE(v.empty(tx));
        EXPECT_THROW(v.pop_back(tx), std::out_of_range);
    });
    EXPECT_EQ(blocks_of(region_), 1U);
}

TEST_F(Containers, String) {
    auto& s = region_.root<string>();
    std::string model;
    for (int step = 0; step < 200; ++step)
        atomically(region_, [&](transaction& tx) {
            s.append(tx, std::to_string(step));
            model += std::to_string(step);
            s.push_back(tx, ' ');
            model += ' ';
            EXPECT_TRUE(s.equals(tx, model));
            EXPECT_EQ(s.at(tx, model.size() / 2), model[model.size() / 2]);
        });
    atomically(region_, [&](transaction& tx) {
        s.assign(tx, "short");
        EXPECT_EQ(s.str(tx), "short");
        EXPECT_LT(s.compare(tx, "shout"), 0);
        s.clear(tx);
        EXPECT_EQ(s.str(tx), "");
    });
    EXPECT_EQ(blocks_of(region_), 1U);
}

TEST_F(Containers, Queue) {
    auto& q = region_.root<queue<int>>();
    std::deque<int> model;
    std::mt19937 random(3);
    for (int step = 0; step < 3000; ++step)
        atomically(region_, [&](transaction& tx) {
            if (random() % 2 == 0) {
                q.push(tx, step);
                model.push_back(step);
            } else {
                const std::optional<int> got = q.try_pop(tx);
                ASSERT_EQ(got.has_value(), !model.empty());
                if (got) {
                    ASSERT_EQ(*got, model.front());
                    model.pop_front();
                }
            }
            ASSERT_EQ(q.size(tx), model.size());
            ASSERT_EQ(q.empty(tx), model.empty());
            ASSERT_EQ(q.front(tx), model.empty() ? std::nullopt : std::optional(model.front()));
        });
    atomically(region_, [&](transaction& tx) { q.clear(tx); });
    EXPECT_EQ(blocks_of(region_), 1U);
    atomically(region_, [&](transaction& tx) {
        EXPECT_TRUE(q.empty(tx));
        q.push(tx, 1);
        EXPECT_EQ(q.pop(tx), 1);
    });
}

/** What both maps do. */
template <typename Map, typename Model>
void compare(const region& where, Map& m, Model model, int keys) {
    std::mt19937 random(5);
    for (int step = 0; step < 6000; ++step)
        atomically(where, [&](transaction& tx) {
            // First there are more and more keys, then fewer and fewer.
            const int key = static_cast<int>(random() % static_cast<unsigned>(keys));
            const bool inserts = random() % 4 != 0;
            if (inserts == (step < 3000)) {
                if (random() % 2 == 0)
                    ASSERT_EQ(m.insert(tx, key, step), model.emplace(key, step).second);
                else
                    ASSERT_EQ(m.insert_or_assign(tx, key, step),
                              model.insert_or_assign(key, step).second);
            } else {
                ASSERT_EQ(m.erase(tx, key), model.erase(key) == 1);
            }
            const auto found = model.find(key);
            ASSERT_EQ(m.contains(tx, key), found != model.end());
            ASSERT_EQ(m.find(tx, key),
                      found == model.end() ? std::nullopt : std::optional<long>(found->second));
            if (step % 100 == 0) {
                ASSERT_EQ(m.size(tx), model.size());
                ASSERT_EQ(m.empty(tx), model.empty());
                std::size_t seen = 0;
                for (const auto& [k, v] : m.in(tx)) {
                    ASSERT_EQ(model.at(k), v);
                    ++seen;
                }
                ASSERT_EQ(seen, model.size());
            }
        });
    atomically(where, [&](transaction& tx) {
        m.insert_or_assign(tx, 1, 1);
        tx[m.at(tx, 1)] += 5;
        EXPECT_EQ(m.find(tx, 1), std::optional<long>(6));
        m.erase(tx, 2);
        EXPECT_THROW(static_cast<void>(m.at(tx, 2)), std::out_of_range);
        m.clear(tx);
        EXPECT_TRUE(m.empty(tx));
        EXPECT_EQ(m.size(tx), 0U);
    });
    EXPECT_EQ(blocks_of(where), 1U);
}

TEST_F(Containers, Map) {
    compare(region_, region_.root<map<int, long>>(), std::map<int, long>(), 1000);
}
TEST_F(Containers, UnorderedMap) {
    compare(region_, region_.root<unordered_map<int, long>>(), std::unordered_map<int, long>(),
            1000);
}

TEST_F(Containers, MapIsInOrderAndShallow) {
    auto& m = region_.root<map<int, int>>();
    atomically(region_, [&](transaction& tx) {
        for (int key = 0; key < 1000; ++key)
            m.insert(tx, 2 * key, key);
    });
    atomically(region_, [&](transaction& tx) {
        int last = -1;
        for (const auto& [key, value] : m.in(tx)) {
            EXPECT_LT(last, key);
            last = key;
        }
        EXPECT_EQ(m.lower_bound(tx, 501)->key, 502);
        EXPECT_EQ(m.lower_bound(tx, 502)->key, 502);
        EXPECT_EQ(m.upper_bound(tx, 502)->key, 504);
        EXPECT_FALSE(m.upper_bound(tx, 1998));
    });
    // A search looks at some thirty nodes at most, though the keys came in order.
    for (int key = 0; key < 2000; ++key) {
        fake::conflict_at(60);
        read_only(region_, [&](read_transaction& tx) { return m.contains(tx, key); });
        EXPECT_FALSE(fake::has_happened()) << key;
    }
    fake::conflict_at(0);
}

TEST_F(Containers, MayChangeInALoop) {
    struct both {
        map<int, int> ordered;
        unordered_map<int, int> hashed;
        vector<int> row;
    };
    auto& all = region_.root<both>();
    atomically(region_, [&](transaction& tx) {
        for (int key = 0; key < 500; ++key) {
            all.ordered.insert(tx, key, key);
            all.hashed.insert(tx, key, key);
            all.row.push_back(tx, key);
        }
        int sum = 0;
        for (const auto& [key, value] : all.ordered.in(tx)) {
            all.ordered.erase(tx, key);
            all.ordered.erase(tx, key + 1);
            sum += value;
        }
        EXPECT_EQ(sum, 249 * 250);
        EXPECT_TRUE(all.ordered.empty(tx));

        // All that was there comes once, though the table grows meanwhile.
        std::map<int, int> times;
        for (const auto& [key, value] : all.hashed.in(tx)) {
            ++times[key];
            for (int more = 0; key < 500 && more < 10; ++more)
                all.hashed.insert(tx, 1000 + 10 * key + more, 0);
        }
        for (int key = 0; key < 500; ++key)
            EXPECT_EQ(times[key], 1) << key;
        for ([[maybe_unused]] const auto& entry : all.hashed.in(tx))
            all.hashed.clear(tx);
        EXPECT_TRUE(all.hashed.empty(tx));

        for (const int value : all.row.in(tx)) {
            EXPECT_LT(value, 100);
            if (value == 99)
                all.row.clear(tx);
        }
        all.ordered.clear(tx);
    });
    EXPECT_EQ(blocks_of(region_), 1U);
}

TEST_F(Containers, HaveKeysOfSeveralBytesAndBucketsInAdvance) {
    using Name = std::array<char, 12>;
    auto& m = region_.root<unordered_map<Name, int>>();
    atomically(region_, [&](transaction& tx) {
        m.reserve(tx, 128);
        EXPECT_EQ(m.bucket_count(tx), 128U);
        m.insert(tx, Name{"anna"}, 1);
        m.insert(tx, Name{"bert"}, 2);
        EXPECT_EQ(m.find(tx, Name{"bert"}), std::optional(2));
        EXPECT_FALSE(m.contains(tx, Name{"carl"}));
    });
}

TEST_F(Containers, LieInTheirOwnRegion) {
    const region other = region::create("other", 1 << 20);
    struct both {
        map<int, int> ordered;
        unordered_map<int, int> hashed;
        vector<int> row;
        queue<int> waiting;
        string text;
    };
    auto& here = region_.root<both>();
    auto& there = other.root<both>();
    atomically(region_, [&](transaction& tx) {
        for (both* all : {&here, &there})
            for (int key = 0; key < 100; ++key) {
                all->ordered.insert(tx, key, key);
                all->hashed.insert(tx, key, key);
                all->row.push_back(tx, key);
                all->waiting.push(tx, key);
                all->text.push_back(tx, 'a');
            }
    });
    EXPECT_EQ(blocks_of(region_), blocks_of(other));
    read_only(other, [&](read_transaction& tx) {
        EXPECT_EQ(here.ordered.size(tx), 100U);
        EXPECT_EQ(there.ordered.find(tx, 5), std::optional(5));
        EXPECT_EQ(here.hashed.find(tx, 5), std::optional(5));
        EXPECT_EQ(here.text.str(tx), there.text.str(tx));
    });
    atomically(region_, [&](transaction& tx) {
        there.ordered.clear(tx);
        there.hashed.clear(tx);
        there.row.clear(tx);
        there.waiting.clear(tx);
        there.text.clear(tx);
    });
    EXPECT_EQ(blocks_of(other), 1U);
}

} // namespace
} // namespace stm::test
