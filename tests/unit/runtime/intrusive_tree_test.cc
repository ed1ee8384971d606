// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/intrusive_tree.hpp"

#include "runtime/support/hash.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace stm::runtime {
namespace {

struct Item : TreeLink<Item> {
    explicit Item(u64 key) : key_(key) {}
    u64 key_;
};

struct ByKey {
    using Key = u64;
    static Key key(const Item& item) {
        ++looks;
        return item.key_;
    }
    [[nodiscard]] u64 priority(Key key) const { return hash_number(key, seed); }
    HashSeed seed{1, 2};
    static inline u64 looks = 0;
};

// All of one priority.
struct Flat : ByKey {
    static u64 priority(Key) { return 3; }
};

using Tree = IntrusiveTree<Item, ByKey>;

template <typename AnyTree>
std::vector<u64> keys_of(const AnyTree& tree) {
    std::vector<u64> keys;
    for (const Item* item = tree.find_from(0); item != nullptr;
         item = tree.find_from(item->key_ + 1))
        keys.push_back(item->key_);
    return keys;
}

TEST(IntrusiveTree, IsEmptyWithoutElements) {
    const Tree tree;
    EXPECT_TRUE(tree.empty());
    EXPECT_EQ(tree.find_from(0), nullptr);
}

TEST(IntrusiveTree, FindsTheFirstFromAKeyOn) {
    Item items[] = {Item(10), Item(30), Item(20)};
    Tree tree;
    for (Item& item : items) {
        EXPECT_FALSE(Tree::is_linked(item));
        tree.insert(item);
        EXPECT_TRUE(Tree::is_linked(item));
    }
    EXPECT_FALSE(tree.empty());
    EXPECT_EQ(tree.find_from(0), &items[0]);
    EXPECT_EQ(tree.find_from(10), &items[0]);
    EXPECT_EQ(tree.find_from(11), &items[2]);
    EXPECT_EQ(tree.find_from(30), &items[1]);
    EXPECT_EQ(tree.find_from(31), nullptr);
    for (Item& item : items)
        tree.remove(item);
    EXPECT_TRUE(tree.empty());
    EXPECT_FALSE(Tree::is_linked(items[0]));
}

TEST(IntrusiveTree, TakesAnElementAgain) {
    Item item(5);
    Tree tree;
    for (int turn = 0; turn < 3; ++turn) {
        tree.insert(item);
        EXPECT_EQ(tree.find_from(5), &item);
        tree.remove(item);
        EXPECT_EQ(tree.find_from(5), nullptr);
    }
}

template <typename AnyTree>
void change_at_random(unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::unique_ptr<Item>> items;
    for (u64 key = 0; key < 64; ++key)
        items.push_back(std::make_unique<Item>(key * 3));
    AnyTree tree;
    std::map<u64, Item*> expected;
    for (int step = 0; step < 4000; ++step) {
        Item& item = *items[random() % items.size()];
        if (AnyTree::is_linked(item)) {
            tree.remove(item);
            expected.erase(item.key_);
        } else {
            tree.insert(item);
            expected[item.key_] = &item;
        }
        const u64 key = random() % 200;
        const auto next = expected.lower_bound(key);
        ASSERT_EQ(tree.find_from(key), next == expected.end() ? nullptr : next->second);
    }
    ASSERT_EQ(keys_of(tree).size(), expected.size());
    for (const auto& [key, item] : expected)
        tree.remove(*item);
    EXPECT_TRUE(tree.empty());
}

TEST(IntrusiveTree, FindsAsAMapDoesWhileElementsComeAndGo) {
    for (unsigned seed = 0; seed < 20; ++seed) {
        change_at_random<Tree>(seed);
        change_at_random<IntrusiveTree<Item, Flat>>(seed);
    }
}

TEST(IntrusiveTree, IsShallowInWhateverOrderElementsCome) {
    constexpr u64 kElements = 4096;
    std::vector<u64> keys(kElements);
    for (u64 key = 0; key < kElements; ++key)
        keys[key] = key;
    for (int order = 0; order < 3; ++order) {
        if (order == 1)
            std::reverse(keys.begin(), keys.end());
        else if (order == 2)
            std::shuffle(keys.begin(), keys.end(), std::mt19937(1));
        std::vector<std::unique_ptr<Item>> items;
        Tree tree;
        for (const u64 key : keys) {
            items.push_back(std::make_unique<Item>(key));
            tree.insert(*items.back());
        }
        ByKey::looks = 0;
        EXPECT_EQ(keys_of(tree).size(), kElements);
        EXPECT_LT(ByKey::looks, kElements * 30) << "2 ln 4096 is 17";
        for (const auto& item : items)
            tree.remove(*item);
    }
}

TEST(IntrusiveTree, KeepsElementsOfOneKeyInTheirOrder) {
    Item items[] = {Item(7), Item(7), Item(5), Item(7), Item(9)};
    Tree tree;
    for (Item& item : items)
        tree.insert(item);
    EXPECT_EQ(tree.find_from(6), &items[0]);
    tree.remove(items[1]);
    EXPECT_EQ(tree.find_from(6), &items[0]);
    tree.remove(items[0]);
    EXPECT_EQ(tree.find_from(6), &items[3]);
    tree.remove(items[3]);
    EXPECT_EQ(tree.find_from(6), &items[4]);
    tree.remove(items[2]);
    tree.remove(items[4]);
}

TEST(IntrusiveTreeDeathTest, Misuse) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            Tree tree;
            Item item(1);
            tree.insert(item);
        },
        "destroyed while in a tree");
    EXPECT_DEATH(
        {
            Item item(1);
            Tree tree;
            tree.insert(item);
        },
        "destroyed with elements");
    EXPECT_DEATH(
        {
            Tree tree;
            Item item(1);
            tree.insert(item);
            tree.insert(item);
        },
        "in a tree already");
    EXPECT_DEATH(
        {
            Tree tree;
            Item item(1);
            tree.remove(item);
        },
        "in no tree");
    EXPECT_DEATH(
        {
            Item item(1);
            Tree tree;
            Tree other;
            tree.insert(item);
            other.remove(item);
        },
        "in another tree");
}

} // namespace
} // namespace stm::runtime
