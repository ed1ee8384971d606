// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/intrusive_hash.hpp"

#include "runtime/support/hash.hpp"
#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <vector>

namespace stm::runtime {
namespace {

struct Item : HashLink<Item> {
    explicit Item(u64 key) : key_(key) {}
    u64 key_;
};

struct ByKey {
    using Key = u64;
    static Key key(const Item& item) { return item.key_; }
    [[nodiscard]] u64 hash(Key key) const { return hash_number(key, seed); }
    static bool equal(Key left, Key right) { return left == right; }
    HashSeed seed{1, 2};
};

// All in one chain.
struct Colliding : ByKey {
    static u64 hash(Key) { return 3; }
};

using Table = IntrusiveHash<Item, ByKey>;

TEST(IntrusiveHash, WithoutBucketsItIsEmpty) {
    const Table table;
    EXPECT_TRUE(table.empty());
    EXPECT_EQ(table.find(1), nullptr);
    table.for_each([](Item&) { FAIL(); });
}

TEST(IntrusiveHash, FindsWhatWasInserted) {
    const test::NoLeak no_leak;
    std::vector<std::unique_ptr<Item>> items;
    Table table(ByKey{{5, 6}});
    ASSERT_TRUE(table.allocate_buckets(4).ok());
    for (u64 key = 0; key < 200; ++key) {
        Item& item = *items.emplace_back(std::make_unique<Item>(key));
        EXPECT_FALSE(Table::is_linked(item));
        EXPECT_TRUE(table.insert(item).ok());
        EXPECT_TRUE(Table::is_linked(item));
    }
    EXPECT_EQ(table.size(), 200u);
    for (u64 key = 0; key < 200; ++key)
        EXPECT_EQ(table.find(key), items[key].get());
    EXPECT_EQ(table.find(200), nullptr);

    std::set<u64> seen;
    table.for_each([&](Item& item) { EXPECT_TRUE(seen.insert(item.key_).second); });
    EXPECT_EQ(seen.size(), 200u);

    for (u64 key = 0; key < 200; key += 2)
        table.remove(*items[key]);
    for (u64 key = 0; key < 200; ++key)
        EXPECT_EQ(table.find(key), key % 2 == 0 ? nullptr : items[key].get());
    table.for_each([&](Item& item) { table.remove(item); });
    EXPECT_TRUE(table.empty());
}

TEST(IntrusiveHash, RemovesAnywhereInAChain) {
    using Chain = IntrusiveHash<Item, Colliding>;
    for (u64 removed = 0; removed < 3; ++removed) {
        Item items[] = {Item(0), Item(1), Item(2)};
        Chain::Bucket buckets[8] = {};
        Chain table;
        table.use_buckets(buckets);
        for (Item& item : items)
            ASSERT_TRUE(table.insert(item).ok());
        table.remove(items[removed]);
        for (u64 key = 0; key < 3; ++key)
            EXPECT_EQ(table.find(key), key == removed ? nullptr : &items[key]);
        EXPECT_TRUE(table.insert(items[removed]).ok());
        table.for_each([&](Item& item) { table.remove(item); });
    }
}

TEST(IntrusiveHash, AKeyIsThereOnce) {
    Item first(1);
    Item second(1);
    Table::Bucket bucket[1] = {};
    Table table;
    table.use_buckets(bucket);
    EXPECT_TRUE(table.insert(first).ok());
    EXPECT_EQ(table.insert(second).error(), Error::exists);
    EXPECT_FALSE(Table::is_linked(second));
    EXPECT_EQ(table.size(), 1u);
    table.remove(first);
    EXPECT_TRUE(table.insert(second).ok());
    table.remove(second);
}

TEST(IntrusiveHash, BucketsThatCanNotBeAllocated) {
    const test::NoLeak no_leak;
    Table table;
    EXPECT_EQ(table.allocate_buckets(64).error(), Error::overflow);
    EXPECT_EQ(table.allocate_buckets(48).error(), Error::overflow);
    {
        const test::FailAllocation failure(1);
        EXPECT_EQ(table.allocate_buckets(3).error(), Error::no_memory);
    }
    EXPECT_TRUE(table.allocate_buckets(0).ok());
}

TEST(IntrusiveHashDeathTest, Misuse) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    Table::Bucket buckets[4] = {};
    EXPECT_DEATH(
        {
            Table table;
            table.use_buckets(buckets);
            Item item(1);
            (void)table.insert(item);
        },
        "destroyed while in a table");
    EXPECT_DEATH(
        {
            Item item(1);
            Table table;
            table.use_buckets(buckets);
            (void)table.insert(item);
        },
        "destroyed with elements");
    EXPECT_DEATH(
        {
            Item item(1);
            Table table;
            (void)table.insert(item);
        },
        "has no buckets");
    EXPECT_DEATH(
        {
            Item item(1);
            Table table;
            table.use_buckets(buckets);
            (void)table.insert(item);
            (void)table.insert(item);
        },
        "in a table already");
    EXPECT_DEATH(
        {
            Item item(1);
            Table table;
            table.use_buckets(buckets);
            table.remove(item);
        },
        "in no table");
    EXPECT_DEATH(
        {
            Item item(1);
            Table::Bucket more[4] = {};
            Table table;
            Table other;
            table.use_buckets(buckets);
            other.use_buckets(more);
            (void)table.insert(item);
            other.remove(item);
        },
        "in another table");
    EXPECT_DEATH(Table().use_buckets(Span<Table::Bucket>(buckets, 3)), "no power of two");
    EXPECT_DEATH(Table().use_buckets(Span<Table::Bucket>()), "no power of two");
    EXPECT_DEATH(
        {
            Table table;
            table.use_buckets(buckets);
            table.use_buckets(buckets);
        },
        "has buckets already");
    EXPECT_DEATH(
        {
            Table table;
            table.use_buckets(buckets);
            (void)table.allocate_buckets(1);
        },
        "has buckets already");
}

} // namespace
} // namespace stm::runtime
