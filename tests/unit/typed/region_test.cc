// SPDX-License-Identifier: GPL-2.0
// Regions, their roots, and pointers into them.
#include "typed.hpp"

#include <cerrno>
#include <new>
#include <stm/stm.h>
#include <system_error>
#include <utility>

namespace stm::test {
namespace {

struct counters {
    var<long> first;
    var<int> second;
    var<int> third;
    using layout = members<&counters::first, &counters::second, &counters::third>;
};

// The same name and size in another program, whose members changed places.
namespace other_program {
struct counters {
    var<long> first;
    var<int> third;
    var<int> second;
    using layout = members<&counters::first, &counters::third, &counters::second>;
};
} // namespace other_program

struct node {
    var<int> value;
    var<ptr<node>> next;
};

using Regions = Typed;

TEST_F(Regions, AreMovedAndOpenedByTheirNames) {
    region moved = std::move(region_);
    EXPECT_EQ(moved.size(), std::size_t{4} << 20);
    region_ = region::open("typed");
    EXPECT_EQ(region::attach(region_.fd()).size(), moved.size());
    try {
        static_cast<void>(region::open("missing"));
        FAIL();
    } catch (const std::system_error& error) {
        EXPECT_EQ(error.code().value(), ENOENT);
    }
}

TEST_F(Regions, HaveOneRoot) {
    counters& made = region_.root<counters>(5L, 6, 7);
    EXPECT_EQ(made.first.unsafe_load(), 5);
    EXPECT_EQ(made.third.unsafe_load(), 7);
    counters& found = region_.root<counters>(8L, 8, 8);
    EXPECT_EQ(&made, &found);
    EXPECT_EQ(made.first.unsafe_load(), 5);
    // Another process has it elsewhere, and may be allowed to read only.
    const region again = region::open("typed", STM_RDONLY);
    EXPECT_NE(&again.root<counters>(), &made);
    EXPECT_EQ(again.root<counters>().first.unsafe_load(), 5);
}

TEST_F(Regions, RefuseAnotherLayoutOfTheRoot) {
    region_.root<counters>();
    EXPECT_THROW(region_.root<other_program::counters>(), layout_error);
    EXPECT_THROW(region_.root<node>(), layout_error);
    EXPECT_THROW(region_.root<var<long>>(), layout_error);
}

TEST_F(Regions, RefuseWhatIsNoHeap) {
    atomically(region_, [](transaction& tx) { tx.store(0, 1L); });
    EXPECT_THROW(region_.root<counters>(), std::system_error);
}

TEST_F(Regions, PointersAreOffsets) {
    auto& first = region_.root<var<ptr<node>>>();
    atomically(region_, [&](transaction& tx) {
        for (int value = 0; value < 3; ++value)
            tx[first] = tx.make<node>(value, tx[first].get());
    });
    const region again = region::open("typed");
    auto& same = again.root<var<ptr<node>>>();
    const int sum = read_only(again, [&](read_transaction& tx) {
        int all = 0;
        for (ptr<node> p = tx[same]; p != nullptr; p = tx.load(tx[p].next)) {
            EXPECT_EQ(tx.ptr_to(tx[p]), p);
            EXPECT_EQ(&again[p], &tx[p]);
            all = 10 * all + tx.load(tx[p].value);
        }
        return all;
    });
    EXPECT_EQ(sum, 210);
    atomically(region_, [&](transaction& tx) {
        EXPECT_EQ(tx[tx[first]].value.unsafe_load(), 2);
        while (tx[first] != nullptr) {
            const ptr<node> gone = tx[first];
            tx[first] = tx[tx[gone].next];
            tx.destroy(gone);
        }
    });
    EXPECT_EQ(blocks_of(region_), 1U);
}

TEST_F(Regions, HaveArrays) {
    const auto row = atomically(region_, [](transaction& tx) {
        const ptr<var<int>> made = tx.make_array<int>(3000);
        tx[tx[made + 2999]] = 7;
        return made;
    });
    read_only(region_, [&](read_transaction& tx) {
        EXPECT_EQ(tx[tx[row + 2999]], 7);
        EXPECT_EQ(tx[tx[row + 2998]], 0);
    });
    atomically(region_, [&](transaction& tx) { tx.destroy(row); });
}

TEST_F(Regions, ThatAreFullGoOn) {
    const region small = region::create("small", 65536);
    auto& x = small.root<var<long>>();
    atomically(small, [&](transaction& tx) {
        EXPECT_THROW(static_cast<void>(tx.allocate(1 << 20)), std::bad_alloc);
        EXPECT_THROW(static_cast<void>(tx.make_array<long>(1 << 30)), std::bad_alloc);
        tx[x] = 1;
    });
    EXPECT_EQ(x.unsafe_load(), 1);
    EXPECT_THROW(region::create("tiny", 4096).root<var<long>>(), std::bad_alloc);
}

} // namespace
} // namespace stm::test
