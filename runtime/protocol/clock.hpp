// SPDX-License-Identifier: LGPL-2.1-or-later
// The region's global version clock (TL2). It starts at 0 and counts the commits that reached the
// point of advancing it; a commit that fails its validation leaves a gap, which harms nobody.
//
// What must hold: all advances are acquire-release read-modify-writes of one variable, so they are
// totally ordered, and everything that one committer did before its advance (its locks) is visible
// to everybody who reads its or a later value. The proof in transaction.hpp rests on that.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

// The clock now. Who reads a value v also sees every lock of every commit with a version <= v.
[[nodiscard, gnu::always_inline]] inline u64 clock_now(const runtime::Atomic<u64>& clock) noexcept {
    return clock.load(runtime::Order::acquire);
}

// Advances the clock and returns the new value: a version that nobody else gets.
[[nodiscard, gnu::always_inline]] inline u64 clock_advance(runtime::Atomic<u64>& clock) noexcept {
    return clock.fetch_add(1, runtime::Order::acq_rel) + 1;
}

// Takes a place among the advances without changing the value. Afterwards, of the caller and any
// committer: either the committer's advance comes later, and it sees what the caller did before
// this, or it came earlier, and the caller sees the committer's locks. It replaces a sequentially
// consistent fence on the committer's side (see wait_filter.hpp).
inline void clock_meet(runtime::Atomic<u64>& clock) noexcept {
    clock.fetch_add(0, runtime::Order::acq_rel);
}

} // namespace stm::protocol
