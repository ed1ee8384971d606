// SPDX-License-Identifier: LGPL-2.1-or-later
// How a program that reads by itself tells which stripes it has read, and what it wants to write.
#pragma once

#include "runtime/protocol/stripe.hpp"

namespace stm::protocol {

// Stripes that were read, one behind the other. A stripe may be in several runs.
struct ReadRun {
    u64 first;
    u64 count; // 1 to kMostInRun

    static constexpr u32 kCountShift = 48;
    static constexpr u64 kMostInRun = u64{1} << (64 - kCountShift);
    static constexpr u64 kFirstMask = (u64{1} << kCountShift) - 1;

    [[nodiscard]] static constexpr ReadRun from_word(u64 word) noexcept {
        return {word & kFirstMask, (word >> kCountShift) + 1};
    }
    [[nodiscard]] constexpr u64 word() const noexcept { return first | (count - 1) << kCountShift; }
};

// What is to be written to one stripe: the bytes that have a bit in the mask.
struct StripeWrite {
    u64 stripe;
    ByteMask mask; // not 0
    u8 bytes[kStripeBytes];
};

} // namespace stm::protocol
