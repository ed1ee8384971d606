// SPDX-License-Identifier: LGPL-2.1-or-later
// Bits of unsigned integers, in place of <bit>.
//
// Invariant: nothing here calls libgcc, which the kernel does not have. So popcount is computed
// here; counting zeros is an instruction of every x86-64 processor.
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/types.hpp"

namespace stm::runtime {

// How many bits are set: sums of pairs, of nibbles, of bytes, and of all bytes by one
// multiplication.
[[nodiscard]] constexpr u32 popcount(u64 value) noexcept {
    value -= (value >> 1) & 0x5555'5555'5555'5555;
    value = (value & 0x3333'3333'3333'3333) + ((value >> 2) & 0x3333'3333'3333'3333);
    value = (value + (value >> 4)) & 0x0f0f'0f0f'0f0f'0f0f;
    return static_cast<u32>((value * 0x0101'0101'0101'0101) >> 56);
}

// The number of the lowest set bit; 64 if none is set.
[[nodiscard]] constexpr u32 count_trailing_zeros(u64 value) noexcept {
    return value == 0 ? 64 : static_cast<u32>(__builtin_ctzll(value));
}

// How many bits are zero above the highest set bit; 64 if none is set.
[[nodiscard]] constexpr u32 count_leading_zeros(u64 value) noexcept {
    return value == 0 ? 64 : static_cast<u32>(__builtin_clzll(value));
}

[[nodiscard]] constexpr bool is_power_of_two(u64 value) noexcept {
    return value != 0 && (value & (value - 1)) == 0;
}

// The exponent of the largest power of two that is not above the value, which must not be 0.
[[nodiscard]] constexpr u32 log2_floor(u64 value) noexcept {
    expects(value != 0, "log2_floor: of zero");
    return 63 - count_leading_zeros(value);
}

// The exponent of the smallest power of two that is not below the value, which must not be 0.
[[nodiscard]] constexpr u32 log2_ceil(u64 value) noexcept {
    expects(value != 0, "log2_ceil: of zero");
    return 64 - count_leading_zeros(value - 1);
}

} // namespace stm::runtime
