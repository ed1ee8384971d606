// SPDX-License-Identifier: GPL-2.0
// When predictions of a site are made, by what they have been worth.
#include "kernel/core/payoff.hpp"

#include <gtest/gtest.h>

namespace stm::test {
namespace {

using kernel::Payoff;

constexpr int kWaste = -25; // a transaction for which much was mapped in vain
constexpr unsigned kLongestPause = 4096;

// How many transactions it takes until predictions are made again, or not any more.
unsigned pause(Payoff& payoff) {
    unsigned transactions = 0;
    for (; !payoff.is_on(); ++transactions)
        payoff.pass();
    return transactions;
}
unsigned patience(Payoff& payoff, int gain) {
    unsigned transactions = 0;
    for (; payoff.is_on() && transactions < 100000; ++transactions)
        payoff.add(gain);
    return transactions;
}

TEST(Payoff, PredictionsAreMadeUntilTheyHaveCostTooMuch) {
    Payoff payoff;
    EXPECT_TRUE(payoff.is_on());
    EXPECT_FALSE(payoff.is_blind());
    EXPECT_EQ(patience(payoff, kWaste), 3u);
    EXPECT_TRUE(payoff.is_blind());
}

TEST(Payoff, ThoseThatPayNeverEnd) {
    Payoff payoff;
    EXPECT_EQ(patience(payoff, 1), 100000u);
    EXPECT_EQ(patience(payoff, 0), 100000u);
}

TEST(Payoff, EachPauseIsTwiceAsLongUpToALimit) {
    Payoff payoff;
    unsigned expected = 64;
    for (int trial = 0; trial < 12; ++trial) {
        EXPECT_EQ(patience(payoff, kWaste), 3u);
        EXPECT_EQ(pause(payoff), expected);
        expected = expected == kLongestPause ? kLongestPause : 2 * expected;
    }
}

TEST(Payoff, TheEndOfAPauseIsWatched) {
    Payoff payoff;
    patience(payoff, kWaste);
    unsigned blind = 0;
    unsigned watched = 0;
    for (; !payoff.is_on(); payoff.pass())
        ++(payoff.is_blind() ? blind : watched);
    EXPECT_EQ(blind, 48u);
    EXPECT_EQ(watched, 16u);
}

TEST(Payoff, WhatHasPaidForLongIsTriedForLongerAndPausesAreShortAgain) {
    Payoff payoff;
    for (int trial = 0; trial < 12; ++trial) {
        patience(payoff, kWaste);
        pause(payoff);
    }
    for (int transaction = 0; transaction < 5000; ++transaction)
        payoff.add(2);
    const unsigned trial = patience(payoff, kWaste);
    EXPECT_GT(trial, 20u);
    EXPECT_LT(trial, 60u) << "what was saved does not count for ever";
    EXPECT_EQ(pause(payoff), 64u);
}

} // namespace
} // namespace stm::test
