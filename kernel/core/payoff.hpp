// SPDX-License-Identifier: GPL-2.0
// Whether it pays to predict what the transactions of a site touch.
//
// What a right guess saves and a wrong one costs is added up. Where too much was spent in vain,
// nothing is predicted for a while: first for a few transactions, then for twice as many each time,
// until predictions have paid again. So a site at which nothing can be known costs hardly more than
// without predictions, and one that becomes steady is known in the end. For most of that time
// nothing is learned either, because that costs something, too.
//
// Invariants: the context's lock protects it.
#pragma once

#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class Payoff {
    using i32 = runtime::i32;
    using u32 = runtime::u32;

public:
    // In some 350 instructions, as counted by `ci/bench --counted mapped ways`. What is saved: a
    // page that was copied and mapped before it was loaded from, or stored to (mostly a load comes
    // first, with a fault of its own); and stores that were allowed to a page that was there.
    static constexpr i32 kFaultOfLoad = 4;
    static constexpr i32 kFaultOfStore = 11;
    static constexpr i32 kAllowedStore = 4;
    // What is spent: to close the view for pages at all, and to look at them later; a copy of a
    // page that was not touched; a start that would have needed no call; to allow stores that did
    // not come.
    static constexpr i32 kMapping = 6;
    static constexpr i32 kCopy = 7;
    static constexpr i32 kCall = 2;
    static constexpr i32 kAllow = 1;

    // Whether predictions are made.
    [[nodiscard]] bool is_on() const noexcept { return pause_ == 0; }
    // Whether nothing is to be learned from the transaction that ends.
    [[nodiscard]] bool is_blind() const noexcept { return pause_ > kWatched; }

    // A transaction without predictions has ended.
    void pass() noexcept {
        if (pause_ != 0)
            --pause_;
    }
    // One with predictions, which were worth that.
    void add(i32 gain) noexcept {
        balance_ = runtime::min(balance_ + gain, kMostCredit);
        if (balance_ == kMostCredit)
            next_pause_ = kFirstPause;
        if (balance_ >= -kMostDebt)
            return;
        balance_ = 0;
        pause_ = next_pause_;
        next_pause_ = runtime::min(2 * next_pause_, kLongestPause);
    }

private:
    // What may be lost by a trial, and in addition where predictions have paid for long.
    static constexpr i32 kMostDebt = 64;
    static constexpr i32 kMostCredit = 1024;
    static constexpr u32 kFirstPause = 64;
    static constexpr u32 kLongestPause = 4096;
    // The last ones of a pause, from which the site is learned anew.
    static constexpr u32 kWatched = 16;

    i32 balance_ = 0;
    u32 pause_ = 0; // transactions
    u32 next_pause_ = kFirstPause;
};

} // namespace stm::kernel
