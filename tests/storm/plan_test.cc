// SPDX-License-Identifier: GPL-2.0
// The decisions of a storm come from its seed alone.
#include "tests/storm/plan.hpp"

#include <algorithm>
#include <gtest/gtest.h>

using namespace stm::storm;

namespace {

TEST(Plan, IsTheSameForTheSameSeed) {
    EXPECT_EQ(make_plan(7, 20, 26), make_plan(7, 20, 26));
    EXPECT_NE(make_plan(7, 20, 26), make_plan(8, 20, 26));
}

TEST(Plan, OfALongerStormBeginsWithThatOfAShorterOne) {
    const std::vector<Decision> shorter = make_plan(7, 10, 26);
    const std::vector<Decision> longer = make_plan(7, 20, 26);
    ASSERT_GT(longer.size(), shorter.size());
    EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), longer.begin()));
}

TEST(Plan, HasEveryActionInAMinute) {
    const std::vector<Decision> plan = make_plan(1, 60, 26);
    for (int action = 0; action < kActions; ++action)
        EXPECT_TRUE(std::any_of(plan.begin(), plan.end(), [action](const Decision& each) {
            return each.action == static_cast<Action>(action);
        })) << to_string(static_cast<Action>(action));
    for (const Decision& each : plan) {
        EXPECT_LT(each.slot, 26u);
        EXPECT_LT(each.at_ms, 60000u);
    }
}

TEST(Plan, OfASeedStaysTheSame) {
    // What was found with a seed is to be found again with the next version of a compiler.
    const std::vector<Decision> plan = make_plan(12345, 60, 26);
    ASSERT_GE(plan.size(), 3u);
    EXPECT_EQ(to_string(plan[0]), "7 ms: kill process 3");
    EXPECT_EQ(to_string(plan[1]), "64 ms: stop process 10 for 37 ms");
    EXPECT_EQ(to_string(plan[2]), "78 ms: kill process 16");
}

} // namespace
