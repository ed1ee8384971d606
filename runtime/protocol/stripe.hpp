// SPDX-License-Identifier: LGPL-2.1-or-later
// The geometry of a region: bytes, stripes of 64 bytes (the unit of conflict detection, one cache
// line) and pages of 4096 bytes (the unit of allocation).
//
// Invariants: offsets are bytes from the start of the region, a stripe's number is its offset / 64,
// and a byte mask has bit i set for byte i of its stripe.
#pragma once

#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::protocol {

using runtime::u32;
using runtime::u64;
using runtime::u8;

inline constexpr u32 kStripeShift = 6;
inline constexpr u32 kStripeBytes = 1u << kStripeShift;
inline constexpr u32 kPageShift = 12;
inline constexpr u32 kPageBytes = 1u << kPageShift;
inline constexpr u32 kStripesPerPage = kPageBytes / kStripeBytes;

// No stripe has this number.
inline constexpr u64 kNoStripe = ~u64{0};

// All stripes of a page, where each has a bit.
inline constexpr u64 kAllStripes = ~u64{0};
static_assert(kStripesPerPage == 64);

// One bit for each byte of a stripe.
using ByteMask = u64;
static_assert(kStripeBytes == sizeof(ByteMask) * 8);
inline constexpr ByteMask kWholeStripe = ~ByteMask{0};

[[nodiscard]] constexpr u64 stripe_of(u64 offset) noexcept {
    return offset >> kStripeShift;
}
[[nodiscard]] constexpr u64 page_of_stripe(u64 stripe) noexcept {
    return stripe / kStripesPerPage;
}

// The number of stripes that the bytes [offset, offset + bytes) touch. The sum must not overflow.
[[nodiscard]] constexpr u64 stripes_in(u64 offset, u64 bytes) noexcept {
    return bytes == 0 ? 0 : stripe_of(offset + bytes - 1) - stripe_of(offset) + 1;
}

// The part of an access that lies in one stripe.
struct StripePart {
    u64 stripe;
    u32 first; // byte within the stripe
    u32 bytes; // 1 to 64
};

// The first part of the access [offset, offset + bytes); bytes must not be 0.
[[nodiscard]] constexpr StripePart first_part(u64 offset, u64 bytes) noexcept {
    const u32 first = static_cast<u32>(offset & (kStripeBytes - 1));
    const u64 room = kStripeBytes - first;
    return {stripe_of(offset), first, static_cast<u32>(runtime::min(room, bytes))};
}

// The mask of bytes bytes (1 to 64) from first on. first + bytes must be at most 64.
[[nodiscard]] constexpr ByteMask mask_of(u32 first, u32 bytes) noexcept {
    return (kWholeStripe >> (kStripeBytes - bytes)) << first;
}

// The compiler's own function may be a call of a library that the kernel does not have. (Knuth,
// TAOCP 4A, 7.1.3.)
[[nodiscard]] constexpr u32 count_ones(u64 bits) noexcept {
    bits -= bits >> 1 & 0x5555'5555'5555'5555;
    bits = (bits & 0x3333'3333'3333'3333) + (bits >> 2 & 0x3333'3333'3333'3333);
    bits = (bits + (bits >> 4)) & 0x0f0f'0f0f'0f0f'0f0f;
    return static_cast<u32>(bits * 0x0101'0101'0101'0101 >> 56);
}
static_assert(count_ones(~u64{0}) == 64 && count_ones(u64{0x8000'0000'0000'0101}) == 3);

} // namespace stm::protocol
