// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether stripes that were read are as they were: 3. and 5. of the proof in transaction.hpp.
//
// Adjacent stripes that had versions not above a known one are looked at together. `is_mine(record,
// stripe, version)` says of a locked record whether the transaction that asks has locked it itself,
// over a version that is not above that one either.
#pragma once

#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/records.hpp"
#include "runtime/protocol/stripe.hpp"

namespace stm::protocol {

enum class [[nodiscard]] Validity : runtime::u8{
    valid,   // everything that was read was valid together, when the look at it began
    changed, // something has changed: the transaction cannot commit
    busy,    // something is locked by a committer; ask again, or take it for changed
};

// Whether the stripes from `first` on, at most 64, whose records these are, have versions not above
// that one. Waits for nobody. A signal handler may ask.
template <Mutation kMutation, typename IsMine>
[[nodiscard]] inline Validity validity_of(u64 first, const Atomic<u64>* orecs, u32 count,
                                          u64 version, IsMine is_mine) noexcept {
    if (none_newer(orecs, count, version)) [[likely]]
        return Validity::valid;
    Validity result = Validity::valid;
    for (u32 i = 0; i < count; ++i) {
        const Orec now{orecs[i].load(Order::acquire)};
        if (!now.is_locked()) {
            if (now.version() > version)
                return Validity::changed;
        } else if (!is_mine(now, first + i, version) &&
                   kMutation != Mutation::validation_ignores_locks) {
            result = Validity::busy;
        }
    }
    return result;
}

// The first of them that is not valid now, or kNoStripe.
template <typename IsMine>
[[nodiscard]] inline u64 first_invalid(u64 first, const Atomic<u64>* orecs, u32 count, u64 version,
                                       IsMine is_mine) noexcept {
    for (u32 i = 0; i < count; ++i) {
        const Orec now{orecs[i].load(Order::acquire)};
        if (now.is_locked() ? !is_mine(now, first + i, version) : now.version() > version)
            return first + i;
    }
    return kNoStripe;
}

} // namespace stm::protocol
