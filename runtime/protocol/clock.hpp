// SPDX-License-Identifier: LGPL-2.1-or-later
// The region's global version clock (TL2). It starts at 0 and counts the commits that advanced it.
// A commit that fails its validation leaves a gap, which does no harm.
//
// Invariant: all advances are acquire-release read-modify-writes of one variable, so they are
// totally ordered. Everything that a committer did before its advance (its locks) is visible to
// every thread that reads its or a later value. The proof in transaction.hpp rests on that.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

// The clock now. A thread that reads v also sees every lock of every commit with a version <= v.
[[nodiscard, gnu::always_inline]] inline u64 clock_now(const runtime::Atomic<u64>& clock) noexcept {
    return clock.load(runtime::Order::acquire);
}

// Advances the clock and returns the new value, a version that no other commit gets.
[[nodiscard, gnu::always_inline]] inline u64 clock_advance(runtime::Atomic<u64>& clock) noexcept {
    return clock.fetch_add(1, runtime::Order::acq_rel) + 1;
}

// Takes a place among the advances without changing the value. For any committer there are two
// cases. Its advance comes later, and it sees what the caller did before this. Or its advance came
// earlier, and the caller sees its locks. This replaces a sequentially consistent fence on the
// committer's side (see wait_filter.hpp).
inline void clock_meet(runtime::Atomic<u64>& clock) noexcept {
    clock.fetch_add(0, runtime::Order::acq_rel);
}

} // namespace stm::protocol
