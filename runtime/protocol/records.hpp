// SPDX-License-Identifier: LGPL-2.1-or-later
// Ownership records that are looked at together.
#pragma once

#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/stripe.hpp"

namespace stm::protocol {

// The limit is even. So in the difference to it the lowest bit is set for a locked record, and
// the highest for a newer one: versions count commits and stay far below 2^62.
[[nodiscard, gnu::noinline]] inline bool none_newer_one_by_one(const Atomic<u64>* orecs, u32 count,
                                                               u64 limit) noexcept {
    constexpr u64 kBad = u64{1} << 63 | 1;
    u64 differences = 0;
    for (u32 i = 0; i < count; ++i)
        differences |= limit - orecs[i].load(Order::acquire);
    return (differences & kBad) == 0;
}

// Whether the records, which are adjacent, are unlocked and have at most that version. The
// union of their bits, as a number, is at least the greatest of them. Mostly it is not above
// the limit, because the stripes of a page have few different versions.
[[nodiscard, gnu::always_inline]] inline bool none_newer(const Atomic<u64>* orecs, u32 count,
                                                         u64 version) noexcept {
    constexpr u32 kUnrolled = 16; // the compiler does not unroll loops of atomic loads
    const u64 limit = Orec::unlocked(version).word();
    u64 bits = 0;
    u32 i = 0;
    for (; i + kUnrolled <= count; i += kUnrolled) {
#pragma GCC unroll 16
        for (u32 j = 0; j < kUnrolled; ++j)
            bits = orecs[i + j].load_or(bits);
    }
    for (; i < count; ++i)
        bits = orecs[i].load_or(bits);
    if (bits <= limit && (bits & Orec::locked(0).word()) == 0) [[likely]]
        return true;
    return none_newer_one_by_one(orecs, count, limit);
}

// Which of the records of a page are locked or have a newer version, as bits.
[[nodiscard, gnu::noinline]] inline u64 which_are_newer(const Atomic<u64>* orecs,
                                                        u64 version) noexcept {
    constexpr u64 kBad = u64{1} << 63 | 1; // see none_newer_one_by_one()
    constexpr u32 kOfLine = 8;
    const u64 limit = Orec::unlocked(version).word();
    u64 found = 0;
    for (u32 first = 0; first < kStripesPerPage; first += kOfLine) {
        u64 differences = 0;
#pragma GCC unroll 8
        for (u32 i = 0; i < kOfLine; ++i)
            differences |= limit - orecs[first + i].load(Order::acquire);
        if ((differences & kBad) == 0) [[likely]]
            continue;
        for (u32 i = 0; i < kOfLine; ++i) {
            const u64 difference = limit - orecs[first + i].load(Order::acquire);
            found |= u64{(difference & kBad) != 0} << (first + i);
        }
    }
    return found;
}

} // namespace stm::protocol
