// SPDX-License-Identifier: GPL-2.0
// Commits over several regions have a place in one serial order with those in one region and with
// transactions that only read, which validate nothing when they end. Each other transaction comes
// at a chosen moment of the commit.
#include "tests/unit/protocol/typed_memory.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>

namespace stm::test {
namespace {

// Calls the hook before each access to what is shared.
class HookedRegion : public FlatMemory {
public:
    using FlatMemory::FlatMemory;
    void step(protocol::Step, u64) {
        if (on_step)
            on_step();
    }
    std::function<void()> on_step;
};

using Tx = TypedTx<HookedRegion>;

class SerialOrder : public testing::Test {
protected:
    static constexpr u64 kSecond = Regions<HookedRegion>::kSpan;

    static u64 load(Tx& tx, u64 address, AbortReason& reason) {
        u64 value = 0;
        if (reason == AbortReason::none)
            reason = tx.read(address, &value, 8);
        return value;
    }
    static void store(Tx& tx, u64 address, AbortReason& reason) {
        const u64 value = 1;
        if (reason == AbortReason::none)
            reason = tx.write(address, &value, 8);
    }
    static bool commits(Tx& tx, AbortReason reason) {
        if (reason == AbortReason::none)
            return tx.commit() == AbortReason::none;
        tx.cancel(reason);
        return false;
    }

    // Does the one, and in its middle, when it has taken so many steps, the other. Returns whether
    // it has taken as many. The other's own steps do not count.
    template <typename Other, typename Call>
    bool in_the_middle(u64 moment, Other other, Call call) {
        u64 steps = 0;
        bool inside = false;
        bool reached = false;
        for (const auto& region : regions.all) {
            region->on_step = [&] {
                if (inside || steps++ != moment)
                    return;
                inside = reached = true;
                other();
                inside = false;
            };
        }
        call();
        for (const auto& region : regions.all)
            region->on_step = nullptr;
        return reached;
    }

    // Four transactions, of which each precedes the next one if it succeeds, and the last one the
    // first one:
    // - `both` writes `seen` in one region and `lost` in the other one;
    // - `viewer` reads `seen` after it, and has read `news` before;
    // - `author` writes `news`, and has read `base` in the other region;
    // - `single` writes `base`, and has read `lost` before: it is alone in that region.
    // The last three come when `both` has taken so many steps. Returns whether it has taken as
    // many.
    bool try_cycle(u64 seen_region, u64 moment) {
        regions.all.clear();
        for (u32 i = 0; i < 2; ++i)
            regions.all.push_back(std::make_unique<HookedRegion>(4096));
        const u64 lost_region = 1 - seen_region;
        const u64 seen = seen_region * kSecond;
        const u64 news = seen + 64;
        const u64 lost = lost_region * kSecond;
        const u64 base = lost + 64;
        Tx both(regions, 1);
        Tx viewer(regions, 2);
        Tx author(regions, 3);
        Tx single(regions, 4);
        AbortReason of_both = both.begin();
        AbortReason of_viewer = AbortReason::none;
        AbortReason of_single = single.begin(protocol::Path::concurrent, lost_region);
        const u64 lost_by_single = load(single, lost, of_single);
        store(single, base, of_single);
        store(both, seen, of_both);
        store(both, lost, of_both);
        u64 news_of_viewer = 0;
        u64 base_of_author = 0;
        bool author_commits = false;
        bool single_commits = false;
        const auto others = [&] {
            of_viewer = viewer.begin(protocol::Path::concurrent, seen_region);
            news_of_viewer = load(viewer, news, of_viewer);
            AbortReason of_author = author.begin();
            base_of_author = load(author, base, of_author);
            store(author, news, of_author);
            author_commits = commits(author, of_author);
            single_commits = commits(single, of_single);
        };
        bool both_commits = false;
        if (!in_the_middle(moment, others, [&] { both_commits = commits(both, of_both); }))
            return false;
        const u64 seen_by_viewer = load(viewer, seen, of_viewer);
        const bool viewer_commits = commits(viewer, of_viewer);
        const bool cycle = both_commits && author_commits && single_commits && viewer_commits &&
                           seen_by_viewer == 1 && news_of_viewer == 0 && base_of_author == 0 &&
                           lost_by_single == 0;
        EXPECT_FALSE(cycle) << "no serial order, at step " << moment;
        EXPECT_TRUE(regions.all[0]->is_quiet() && regions.all[1]->is_quiet());
        return true;
    }

    Regions<HookedRegion> regions;
};

TEST_F(SerialOrder, HasNoCycleThroughTwoRegions) {
    for (const u64 seen_region : {0u, 1u}) {
        u64 moments = 0;
        while (try_cycle(seen_region, moments))
            ++moments;
        EXPECT_GE(moments, 9u);
    }
}

// Three transactions, of which each precedes the next one if it succeeds, and the last one the
// first one:
// - `both` reads `base` in the first region, and writes in both; one of these stripes is `lost`;
// - `author` writes `base`, and has read `news` in the other region;
// - `single` writes `news`, and has read `lost` before: it is alone in that region.
TEST_F(SerialOrder, NeedsTheLastClockBeforeTheFirstValidation) {
    for (u64 moment = 0;; ++moment) {
        regions.all.clear();
        for (u32 i = 0; i < 2; ++i)
            regions.all.push_back(std::make_unique<HookedRegion>(4096));
        const u64 base = 0;
        const u64 lost = kSecond;
        const u64 news = kSecond + 64;
        Tx both(regions, 1);
        Tx author(regions, 2);
        Tx single(regions, 3);
        AbortReason of_single = single.begin(protocol::Path::concurrent, 1);
        const u64 lost_by_single = load(single, lost, of_single);
        store(single, news, of_single);
        AbortReason of_both = both.begin();
        const u64 base_by_both = load(both, base, of_both);
        store(both, base + 64, of_both);
        store(both, lost, of_both);
        u64 news_by_author = 0;
        bool author_commits = false;
        bool single_commits = false;
        const auto others = [&] {
            AbortReason of_author = author.begin();
            news_by_author = load(author, news, of_author);
            store(author, base, of_author);
            author_commits = commits(author, of_author);
            single_commits = commits(single, of_single);
        };
        bool both_commits = false;
        if (!in_the_middle(moment, others, [&] { both_commits = commits(both, of_both); }))
            return;
        EXPECT_FALSE(both_commits && author_commits && single_commits && base_by_both == 0 &&
                     news_by_author == 0 && lost_by_single == 0)
            << "no serial order, at step " << moment;
    }
}

} // namespace
} // namespace stm::test
