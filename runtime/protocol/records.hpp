// SPDX-License-Identifier: LGPL-2.1-or-later
// Ownership records that are looked at together. A locked one, as a number, is above all that are
// not (orec.hpp), so one comparison tells both.
#pragma once

#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/stripe.hpp"

namespace stm::protocol {

// Which of the records, at most 64 that are adjacent, are locked or have a newer version, as bits.
[[nodiscard, gnu::noinline]] inline u64 which_are_newer(const Atomic<u64>* orecs, u32 count,
                                                        u64 version) noexcept {
    constexpr u32 kUnrolled = 8; // the compiler does not unroll loops of atomic loads
    const u64 limit = Orec::unlocked(version).word();
    u64 newer = 0;
    u32 left = count;
    for (; left % kUnrolled != 0; --left)
        newer = orecs[left - 1].append_is_above(newer, limit);
    for (; left != 0; left -= kUnrolled) {
#pragma GCC unroll 8
        for (u32 i = 1; i <= kUnrolled; ++i)
            newer = orecs[left - i].append_is_above(newer, limit);
    }
    return newer;
}

// Whether the records, at most 64 that are adjacent, are unlocked and have at most that version.
// The union of their bits, as a number, is at least the greatest of them. Often it is not above the
// limit, because the stripes of a page have few different versions.
[[nodiscard, gnu::always_inline]] inline bool none_newer(const Atomic<u64>* orecs, u32 count,
                                                         u64 version) noexcept {
    constexpr u32 kUnrolled = 16; // see above
    u64 bits = 0;
    u32 i = 0;
    for (; i + kUnrolled <= count; i += kUnrolled) {
#pragma GCC unroll 16
        for (u32 j = 0; j < kUnrolled; ++j)
            bits = orecs[i + j].load_or(bits);
    }
    for (; i < count; ++i)
        bits = orecs[i].load_or(bits);
    if (bits <= Orec::unlocked(version).word()) [[likely]]
        return true;
    return which_are_newer(orecs, count, version) == 0;
}

} // namespace stm::protocol
