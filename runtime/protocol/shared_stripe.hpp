// SPDX-License-Identifier: LGPL-2.1-or-later
// Copies between private memory and the data of one stripe, which others may read or write at the
// same time.
#pragma once

#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

// A word of private memory at any address.
[[nodiscard, gnu::always_inline]] inline u64 load_word(const u8* from) noexcept {
    u64 word;
    __builtin_memcpy(&word, from, sizeof(word));
    return word;
}

// Calls copy(byte, bytes) for each run of ones in the mask.
template <typename Copy>
[[gnu::always_inline]] inline void for_each_run(ByteMask mask, Copy copy) noexcept {
    while (mask != 0) {
        const u32 first = static_cast<u32>(__builtin_ctzll(mask));
        const ByteMask rest = ~(mask >> first);
        const u32 bytes =
            rest == 0 ? kStripeBytes
                      : runtime::min(static_cast<u32>(__builtin_ctzll(rest)), kStripeBytes - first);
        copy(first, bytes);
        if (first + bytes == kStripeBytes)
            return;
        mask &= kWholeStripe << (first + bytes);
    }
}

namespace detail {

// Cuts [first, first + bytes) at the 8-byte words, each with a step in front.
template <typename M, typename Copy>
void in_steps(M& memory, Step what, u64 stripe, u32 first, u32 bytes, Copy copy) noexcept {
    while (bytes != 0) {
        const u32 now = runtime::min(bytes, 8 - first % 8);
        step(memory, what, stripe * (kStripeBytes / 8) + first / 8);
        copy(first, now);
        first += now;
        bytes -= now;
    }
}

} // namespace detail

// Reads the bytes of the part of a stripe whose 64 bytes are at `data`. They may be a mixture of
// old and new: the caller validates.
template <StripeMemory M>
[[gnu::always_inline]] inline void load_part([[maybe_unused]] M& memory, StripePart part,
                                             const u8* data, u8* to) noexcept {
    if constexpr (SteppedMemory<M>) {
        detail::in_steps(memory, Step::read_data, part.stripe, part.first, part.bytes,
                         [&](u32 first, u32 bytes) {
                             runtime::copy_from_shared(to + (first - part.first), data + first,
                                                       bytes);
                         });
    } else if (part.bytes == 8 && part.first % 8 == 0) [[likely]] {
        const u64 word = runtime::load_shared_word(data + part.first);
        __builtin_memcpy(to, &word, sizeof(word));
    } else {
        runtime::copy_from_shared(to, data + part.first, part.bytes);
    }
}

// Writes the bytes of the mask, and no others, to the stripe, whose 64 bytes are at `data`. It must
// be locked by the caller.
template <StripeMemory M>
inline void store_masked(M& memory, u64 stripe, u8* data, ByteMask mask, const u8* from) noexcept {
    if constexpr (!SteppedMemory<M>) {
        // Most writes are of one word.
        const u32 first = static_cast<u32>(__builtin_ctzll(mask));
        if (mask >> first == 0xff && first % 8 == 0) [[likely]] {
            runtime::store_shared_word(data + first, load_word(from + first));
            return;
        }
    }
    for_each_run(mask, [&](u32 first, u32 bytes) {
        if constexpr (SteppedMemory<M>)
            detail::in_steps(
                memory, Step::write_data, stripe, first, bytes,
                [&](u32 at, u32 count) { runtime::copy_to_shared(data + at, from + at, count); });
        else
            runtime::copy_to_shared(data + first, from + first, bytes);
    });
}

} // namespace stm::protocol
