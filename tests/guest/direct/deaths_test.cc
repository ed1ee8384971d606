// SPDX-License-Identifier: GPL-2.0
// A process is killed at each instruction of a commit. What it was about to write is there as a
// whole or not at all, and nobody waits for it.
#include "committer.hpp"

#include <algorithm>

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
    for (std::size_t i = 0; i < moments.size(); i += shape.stride, value += 10) {
        {
            Committer committer(region, storing(value), storing(value + 1));
            ASSERT_FALSE(HasFailure());
            if (!committer.run_to(moments[i].address, moments[i].times))
                continue;
        }
        const double begun = now();
        const long found = common_value(region, shape);
        set_value(region, shape.at(shape.words - 1), found);
        const double took = now() - begun;
        longest = std::max(longest, took);
        slow += took > 0.010 * time_scale() ? 1 : 0;
        ASSERT_TRUE(found == value || found == value + 1) << found << " at instruction " << i;
        ++kills;
        finished += found == value + 1 ? 1 : 0;
        // Every record can be locked again.
        ASSERT_TRUE(atomically(
            region, 0, [&](stm_tx* tx) { static_cast<void>(store_all(tx, region, shape, 0)); }));
        ASSERT_EQ(common_value(region, shape), 0);
    }
    std::printf("%s: killed at %u of %zu instructions, %u commits were finished, the next "
                "transaction took %.2f ms at most\n",
                shape.name, kills, moments.size(), finished, longest * 1e3);
    EXPECT_GT(kills, moments.size() / shape.stride / 2);
    EXPECT_GT(finished, 1u);
    EXPECT_LT(finished, kills);
    // A machine that has other things to do does not count.
    EXPECT_LE(slow, kills / 20);
}

INSTANTIATE_TEST_SUITE_P(Shapes, DirectDeaths,
                         testing::Values(Shape{"OneStripe", 1, 128, 8, 1},
                                         Shape{"TwoStripes", 2, 64, 640, 1},
                                         Shape{"AcrossPages", 3, kPage - 64, 64, 1},
                                         Shape{"SixtyFourStripes", 64, 2 * kPage, 192, 41}),
                         [](const auto& shape) { return std::string(shape.param.name); });

} // namespace
