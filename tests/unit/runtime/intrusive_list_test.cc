// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/intrusive_list.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace stm::runtime {
namespace {

struct OtherTag;

struct Item : ListLink<Item>, ListLink<OtherTag> {
    explicit Item(int number) : number_(number) {}
    int number_;
};

using List = IntrusiveList<Item>;
using OtherList = IntrusiveList<Item, OtherTag>;

std::vector<int> numbers(const auto& list) {
    std::vector<int> result;
    for (const Item& item : list)
        result.push_back(item.number_);
    return result;
}

class IntrusiveListTest : public testing::Test {
protected:
    ~IntrusiveListTest() override {
        while (list_.pop_front() != nullptr) {
        }
    }

    Item one_{1};
    Item two_{2};
    Item three_{3};
    List list_;
};

using testing::ElementsAre;
using testing::IsEmpty;

TEST_F(IntrusiveListTest, BeginsEmpty) {
    EXPECT_TRUE(list_.empty());
    EXPECT_EQ(list_.front(), nullptr);
    EXPECT_EQ(list_.back(), nullptr);
    EXPECT_EQ(list_.pop_front(), nullptr);
    EXPECT_THAT(numbers(list_), IsEmpty());
    for ([[maybe_unused]] Item& item : list_)
        ADD_FAILURE();
}

TEST_F(IntrusiveListTest, KeepsTheOrder) {
    list_.push_back(two_);
    list_.push_back(three_);
    list_.push_front(one_);
    EXPECT_THAT(numbers(list_), ElementsAre(1, 2, 3));
    EXPECT_EQ(list_.front(), &one_);
    EXPECT_EQ(list_.back(), &three_);
    EXPECT_EQ(list_.begin()->number_, 1);
}

TEST_F(IntrusiveListTest, InsertsBefore) {
    list_.push_back(three_);
    list_.insert_before(three_, one_);
    list_.insert_before(three_, two_);
    EXPECT_THAT(numbers(list_), ElementsAre(1, 2, 3));
}

TEST_F(IntrusiveListTest, ElementsKnowWhetherTheyAreLinked) {
    EXPECT_FALSE(List::is_linked(one_));
    list_.push_back(one_);
    EXPECT_TRUE(List::is_linked(one_));
    EXPECT_FALSE(OtherList::is_linked(one_));
    list_.remove(one_);
    EXPECT_FALSE(List::is_linked(one_));
    EXPECT_TRUE(list_.empty());
    list_.push_back(one_);
    EXPECT_TRUE(List::is_linked(one_));
}

TEST_F(IntrusiveListTest, RemovesAnywhere) {
    for (Item* removed : {&one_, &two_, &three_}) {
        list_.push_back(one_);
        list_.push_back(two_);
        list_.push_back(three_);
        list_.remove(*removed);
        EXPECT_EQ(numbers(list_).size(), 2u);
        EXPECT_THAT(numbers(list_), testing::Not(testing::Contains(removed->number_)));
        EXPECT_NE(list_.pop_front(), nullptr);
        EXPECT_NE(list_.pop_front(), nullptr);
        EXPECT_EQ(list_.pop_front(), nullptr);
    }
}

TEST_F(IntrusiveListTest, IsInOneListOfEachTag) {
    OtherList other;
    list_.push_back(one_);
    list_.push_back(two_);
    other.push_back(two_);
    other.push_back(one_);
    EXPECT_THAT(numbers(list_), ElementsAre(1, 2));
    EXPECT_THAT(numbers(other), ElementsAre(2, 1));
    other.remove(one_);
    other.remove(two_);
    EXPECT_THAT(numbers(list_), ElementsAre(1, 2));
}

TEST_F(IntrusiveListTest, TheLoopMayRemoveAndDestroyTheCurrentElement) {
    List heap;
    std::vector<std::unique_ptr<Item>> owners;
    for (int number = 0; number < 6; ++number)
        heap.push_back(*owners.emplace_back(std::make_unique<Item>(number)));
    for (Item& item : heap) {
        if (item.number_ % 2 != 0)
            continue;
        heap.remove(item);
        owners[static_cast<usize>(item.number_)].reset();
    }
    EXPECT_THAT(numbers(heap), ElementsAre(1, 3, 5));
    for (Item& item : heap)
        heap.remove(item);
    EXPECT_TRUE(heap.empty());
}

TEST_F(IntrusiveListTest, AppendMovesAll) {
    List other;
    list_.append(other);
    EXPECT_TRUE(list_.empty());
    other.push_back(one_);
    other.push_back(two_);
    list_.append(other);
    EXPECT_TRUE(other.empty());
    EXPECT_THAT(numbers(list_), ElementsAre(1, 2));
    other.push_back(three_);
    list_.append(other);
    EXPECT_THAT(numbers(list_), ElementsAre(1, 2, 3));
    EXPECT_EQ(list_.back(), &three_);
    list_.append(list_);
    list_.remove(two_);
    EXPECT_THAT(numbers(list_), ElementsAre(1, 3));
}

TEST_F(IntrusiveListTest, PopFrontUnlinksInOrder) {
    list_.push_back(one_);
    list_.push_back(two_);
    EXPECT_EQ(list_.pop_front(), &one_);
    EXPECT_FALSE(List::is_linked(one_));
    EXPECT_EQ(list_.pop_front(), &two_);
    EXPECT_TRUE(list_.empty());
}

TEST(IntrusiveListDeathTest, Misuse) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            List list;
            Item item(1);
            list.push_back(item);
        },
        "destroyed while in a list");
    EXPECT_DEATH(
        {
            Item item(1);
            List list;
            list.push_back(item);
        },
        "destroyed with elements");
    EXPECT_DEATH(
        {
            Item item(1);
            List list;
            list.push_back(item);
            list.push_back(item);
        },
        "in a list already");
    EXPECT_DEATH(
        {
            Item item(1);
            List list;
            list.remove(item);
        },
        "in no list");
    EXPECT_DEATH(
        {
            Item item(1);
            Item position(2);
            List list;
            list.insert_before(position, item);
        },
        "in no list");
}

} // namespace
} // namespace stm::runtime
