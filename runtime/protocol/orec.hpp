// SPDX-License-Identifier: LGPL-2.1-or-later
// The ownership record of a stripe: 64 bits that are either its version or its lock (TL2: Dice,
// Shalev, Shavit, "Transactional Locking II", DISC 2006).
//
//     unlocked:  version << 1
//     locked:    owner << 1 | 1, with the highest bit set
//
// Invariants:
// - The version of a stripe only grows, and each commit releases with a version of its own (the
//   clock is advanced by an atomic addition). So a version never comes back with other data under
//   it: there is no ABA. A commit that gives up releases with the value that it locked over, and
//   has not touched the data then.
// - 62 bits suffice: a region that commits a thousand million times a second needs 146 years.
// - So a locked record, as a number, is above all unlocked ones: one comparison with the record
//   of a stripe at the snapshot tells both that it is unlocked and that it is not newer.
// - An all-zero record is version 0: a page that was never allocated reads as zeros at version 0.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

using runtime::Atomic;
using runtime::Order;

// The value of an ownership record at one moment.
class Orec {
public:
    constexpr explicit Orec(u64 word) noexcept : word_(word) {}

    [[nodiscard]] static constexpr Orec unlocked(u64 version) noexcept {
        return Orec(version << 1);
    }
    // The owner must be below 2^62 and unique among those that may commit to the region.
    [[nodiscard]] static constexpr Orec locked(u64 owner) noexcept {
        return Orec(kLocked | owner << 1);
    }

    [[nodiscard]] constexpr u64 word() const noexcept { return word_; }
    [[nodiscard]] constexpr bool is_locked() const noexcept { return (word_ & 1) != 0; }
    // Only of an unlocked record.
    [[nodiscard]] constexpr u64 version() const noexcept { return word_ >> 1; }
    // Only of a locked record.
    [[nodiscard]] constexpr u64 owner() const noexcept { return (word_ & ~kLocked) >> 1; }

    friend constexpr bool operator==(Orec, Orec) noexcept = default;

private:
    static constexpr u64 kLocked = u64{1} << 63 | 1;
    u64 word_;
};

inline constexpr u64 kMaxVersion = ~u64{0} >> 2;

} // namespace stm::protocol
