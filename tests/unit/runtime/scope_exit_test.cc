// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/scope_exit.hpp"

#include <gtest/gtest.h>

namespace stm::runtime {
namespace {

TEST(ScopeExit, RunsAtTheEndOfTheScope) {
    int runs = 0;
    {
        const ScopeExit at_end([&] { ++runs; });
        EXPECT_EQ(runs, 0);
    }
    EXPECT_EQ(runs, 1);
}

TEST(ScopeExit, RunsInReverseOrder) {
    int order = 0;
    {
        const ScopeExit last([&] { order = order * 10 + 2; });
        const ScopeExit first([&] { order = order * 10 + 1; });
    }
    EXPECT_EQ(order, 12);
}

TEST(ScopeExit, DoesNothingOnceDismissed) {
    int runs = 0;
    {
        ScopeExit at_end([&] { ++runs; });
        at_end.dismiss();
    }
    EXPECT_EQ(runs, 0);
}

} // namespace
} // namespace stm::runtime
