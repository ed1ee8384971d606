// SPDX-License-Identifier: GPL-2.0
// A process is killed at each instruction of a commit. What it was about to write is there as a
// whole or not at all, and nobody waits for it.
#include "committer.hpp"

#include <algorithm>
#include <cstdlib>
#include <stm/heap.h>

using namespace stm::test;

namespace {

// Words of a region that change together.
struct Shape {
    const char* name;
    unsigned words;
    std::uint64_t first;
    std::uint64_t distance;
    unsigned stride; // a kill at each so-many-th instruction

    [[nodiscard]] std::uint64_t at(unsigned word) const { return first + word * distance; }
};

int store_all(stm_tx* tx, stm_region* region, const Shape& shape, long value) {
    for (unsigned word = 0; word < shape.words; ++word) {
        if (const int result = stm_tx_store(tx, region, shape.at(word), &value, sizeof value);
            result != 0)
            return result;
    }
    return 0;
}

// The value of all of them; -1: they differ.
long common_value(stm_region* region, const Shape& shape) {
    long first = 0;
    bool same = false;
    EXPECT_TRUE(atomically(region, STM_TX_READ_ONLY, [&](stm_tx* tx) {
        same = true;
        for (unsigned word = 0; word < shape.words; ++word) {
            long value = 0;
            if (stm_tx_load(tx, region, shape.at(word), &value, sizeof value) != 0)
                return;
            if (word == 0)
                first = value;
            same = same && value == first;
        }
    }));
    return same ? first : -1;
}

// STM_EVERY_INSTRUCTION: no instruction is left out (ci/deaths).
std::size_t stride_or_one(unsigned stride) {
    return std::getenv("STM_EVERY_INSTRUCTION") != nullptr ? 1 : stride;
}

// Kills a process at each so-many-th instruction of the commit of storing(value + 1), before which
// storing(value) was committed. After each kill found_next(), the first transaction of another
// process, returns which of them it has found, and begins anew.
template <typename Storing, typename Next>
void kill_in_commits(const char* name, stm_region* region, std::size_t stride, Storing storing,
                     Next found_next) {
    std::vector<Moment> moments;
    {
        Committer committer(region, storing(0), storing(1));
        moments = moments_of(committer);
    }
    unsigned kills = 0;
    unsigned finished = 0;
    unsigned slow = 0;
    double longest = 0;
    long value = 10;
    for (std::size_t i = 0; i < moments.size(); i += stride, value += 10) {
        {
            Committer committer(region, storing(value), storing(value + 1));
            ASSERT_FALSE(testing::Test::HasFailure());
            if (!committer.run_to(moments[i].address, moments[i].times))
                continue;
        }
        double took = 0;
        const long found = found_next(took);
        longest = std::max(longest, took);
        slow += took > 0.010 * time_scale() ? 1 : 0;
        ASSERT_TRUE(found == value || found == value + 1) << found << " at instruction " << i;
        ++kills;
        finished += found == value + 1 ? 1 : 0;
    }
    std::printf("%s: killed at %u of %zu instructions, %u commits were finished, the next "
                "transaction took %.2f ms at most\n",
                name, kills, moments.size(), finished, longest * 1e3);
    EXPECT_GT(kills, moments.size() / stride / 2);
    EXPECT_GT(finished, 1u);
    EXPECT_LT(finished, kills);
    // A machine that has other things to do does not count.
    EXPECT_LE(slow, kills / 20);
}

class DirectDeaths : public testing::TestWithParam<Shape> {};

TEST_P(DirectDeaths, LeaveAllOrNothing) {
    const Shape& shape = GetParam();
    const TypedRegion region("deaths", 16 * kPage, STM_DIRECT);
    const auto storing = [&](long value) {
        return [&, value](stm_tx* tx) {
            long seen = 0;
            if (stm_tx_load(tx, region, shape.at(0), &seen, sizeof seen) == 0)
                static_cast<void>(store_all(tx, region, shape, value));
        };
    };
    kill_in_commits(shape.name, region, stride_or_one(shape.stride), storing, [&](double& took) {
        const double begun = now();
        const long found = common_value(region, shape);
        set_value(region, shape.at(shape.words - 1), found);
        took = now() - begun;
        // Every record can be locked again.
        EXPECT_TRUE(atomically(
            region, 0, [&](stm_tx* tx) { static_cast<void>(store_all(tx, region, shape, 0)); }));
        EXPECT_EQ(common_value(region, shape), 0);
        return found;
    });
}

// The value in the only block of a heap, in place of which the transaction puts another one.
void replace_block(stm_tx* tx, stm_region* region, long value) {
    std::uint64_t old = 0;
    std::uint64_t tag = 0;
    std::uint64_t fresh = 0;
    if (stm_heap_root(tx, region, &old, &tag) == 0 &&
        stm_heap_allocate(tx, region, sizeof value, 8, &fresh) == 0 &&
        stm_tx_store(tx, region, fresh, &value, sizeof value) == 0 &&
        stm_heap_free(tx, region, old) == 0)
        static_cast<void>(stm_heap_set_root(tx, region, fresh, 1));
}

long only_value(stm_region* region) {
    long value = -1;
    EXPECT_TRUE(atomically(region, STM_TX_READ_ONLY, [&](stm_tx* tx) {
        std::uint64_t block = 0;
        std::uint64_t tag = 0;
        if (stm_heap_root(tx, region, &block, &tag) == 0)
            static_cast<void>(stm_tx_load(tx, region, block, &value, sizeof value));
    }));
    return value;
}

TEST(DirectDeathsWithAllocation, LeaveTheHeapAsItWasOrChanged) {
    const TypedRegion region("deaths", 16 * kPage, STM_DIRECT);
    const auto storing = [&](long value) {
        return [&, value](stm_tx* tx) { replace_block(tx, region, value); };
    };
    kill_in_commits("WithAllocation", region, stride_or_one(5), storing, [&](double& took) {
        const double begun = now();
        const long found = only_value(region);
        EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) { replace_block(tx, region, found); }));
        took = now() - begun;
        stm_heap_report report{};
        EXPECT_TRUE(atomically(region, STM_TX_READ_ONLY, [&](stm_tx* tx) {
            if (stm_heap_check(tx, region, &report) != 0 && errno == EBADMSG)
                ADD_FAILURE() << report.problem;
        }));
        EXPECT_EQ(report.blocks, 1u);
        return found;
    });
}

INSTANTIATE_TEST_SUITE_P(Shapes, DirectDeaths,
                         testing::Values(Shape{"OneStripe", 1, 128, 8, 1},
                                         Shape{"TwoStripes", 2, 64, 640, 1},
                                         Shape{"AcrossPages", 3, kPage - 64, 64, 1},
                                         Shape{"SixtyFourStripes", 64, 2 * kPage, 192, 41}),
                         [](const auto& shape) { return std::string(shape.param.name); });

} // namespace
