// SPDX-License-Identifier: LGPL-2.1-or-later
// What to do after an abort: run again after a random time, or take the serial path. It computes
// and nothing else; the caller sleeps.
//
// Randomised exponential back-off, as after Metcalfe and Boggs ("Ethernet", CACM 19(7), 1976): the
// n-th abort in a row waits a time drawn evenly from [0, base * 2^(n-1)], capped. Chance alone
// cannot exclude starvation. So after serial_after aborts in a row the next attempt holds the
// serial token from its begin on and cannot conflict. No transaction ever aborts by conflict more
// than serial_after times in a row.
#pragma once

#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/stripe.hpp"

namespace stm::protocol {

struct RetryPolicy {
    // The first delay is about as long as a commit by system call, the longest about as long as a
    // scheduler tick.
    u64 base_ns = 500;
    u64 cap_ns = 1'000'000;
    // This many conflicts in a row are retried at once, without sleeping, because most conflicts
    // are over when they are noticed.
    u32 immediate = 1;
    // 0: serial at once. 16 keeps the serial path rare (with a chance of 1/2 to lose each time,
    // one in 65536) and the worst case short.
    u32 serial_after = 16;
};

struct Advice {
    u64 delay_ns; // sleep this long first; 0: not at all
    enum class Path : runtime::u8 { concurrent, serial } path;
    // `gate`: the stripe was locked for longer than a spin, so probably a large serial commit is
    // being applied. Instead of the delay, waiting at the gate (enter_commit, leave_commit) sleeps
    // exactly until it is over.
    enum class Until : runtime::u8 { delay, gate } until;
};

// A small random generator, one for each context (xorshift64*, Marsaglia 2003, Vigna 2016). The
// state must never be 0.
[[nodiscard]] constexpr u64 next_random(u64& state) noexcept {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dull;
}

// For the conflicts-th conflict in a row (1 for the first); the last one had the reason. Any thread
// may call it, and also a signal handler (with a random state of its own).
[[nodiscard]] constexpr Advice advise(const RetryPolicy& policy, u32 conflicts, AbortReason reason,
                                      u64& random) noexcept {
    const auto until =
        reason == AbortReason::read_locked ? Advice::Until::gate : Advice::Until::delay;
    if (conflicts >= policy.serial_after)
        return {0, Advice::Path::serial, until};
    if (conflicts <= policy.immediate)
        return {0, Advice::Path::concurrent, until};
    u64 window = policy.base_ns;
    for (u32 i = policy.immediate + 1; i < conflicts && window < policy.cap_ns; ++i)
        window *= 2;
    window = runtime::min(window, policy.cap_ns);
    // The high half of the product is below 2^32 ns, and needs no modulo.
    window = runtime::min(window, u64{0xffffffff});
    const u64 delay = ((next_random(random) >> 32) * (window + 1)) >> 32;
    return {delay, Advice::Path::concurrent, until};
}

} // namespace stm::protocol
