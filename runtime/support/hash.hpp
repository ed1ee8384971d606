// SPDX-License-Identifier: LGPL-2.1-or-later
// Hash functions for tables whose keys users choose.
//
// Invariant: the seed is random, made once per boot (or per process), and never leaves it. Without
// the seed no user can choose keys that all fall into one bucket.
#pragma once

#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"

namespace stm::runtime {

struct HashSeed {
    u64 first;
    u64 second;
};

// A bijection in which every bit of the value changes every bit of the result in about half of the
// cases. For keys that are ours, such as addresses and numbers counted up. The finalizer of
// MurmurHash3 with the constants "Mix13" of David Stafford, "Better Bit Mixing", 2011.
[[nodiscard]] constexpr u64 mix(u64 value) noexcept {
    value ^= value >> 30;
    value *= 0xbf58'476d'1ce4'e5b9;
    value ^= value >> 27;
    value *= 0x94d0'49bb'1331'11eb;
    value ^= value >> 31;
    return value;
}

namespace detail {

// The state of SipHash, and its round.
struct SipState {
    u64 v0, v1, v2, v3;

    constexpr explicit SipState(HashSeed seed) noexcept
        : v0(seed.first ^ 0x736f'6d65'7073'6575), v1(seed.second ^ 0x646f'7261'6e64'6f6d),
          v2(seed.first ^ 0x6c79'6765'6e65'7261), v3(seed.second ^ 0x7465'6462'7974'6573) {}

    static constexpr u64 rotate(u64 value, u32 bits) noexcept {
        return (value << bits) | (value >> (64 - bits));
    }

    constexpr void round() noexcept {
        v0 += v1;
        v1 = rotate(v1, 13) ^ v0;
        v0 = rotate(v0, 32);
        v2 += v3;
        v3 = rotate(v3, 16) ^ v2;
        v0 += v3;
        v3 = rotate(v3, 21) ^ v0;
        v2 += v1;
        v1 = rotate(v1, 17) ^ v2;
        v2 = rotate(v2, 32);
    }

    constexpr void take(u64 word) noexcept {
        v3 ^= word;
        round();
        round();
        v0 ^= word;
    }

    [[nodiscard]] constexpr u64 finish() noexcept {
        v2 ^= 0xff;
        for (int rounds = 0; rounds < 4; ++rounds)
            round();
        return v0 ^ v1 ^ v2 ^ v3;
    }
};

} // namespace detail

// SipHash-2-4 of the bytes: Jean-Philippe Aumasson and Daniel J. Bernstein, "SipHash: a fast
// short-input PRF", 2012. The seed is its 128-bit key, low half first.
[[nodiscard]] inline u64 hash_bytes(ByteSpan bytes, HashSeed seed) noexcept {
    detail::SipState state(seed);
    const u8* next = bytes.data();
    usize left = bytes.size();
    for (; left >= sizeof(u64); left -= sizeof(u64), next += sizeof(u64)) {
        u64 word;
        __builtin_memcpy(&word, next, sizeof(word));
        state.take(word);
    }
    u64 last = static_cast<u64>(bytes.size()) << 56;
    for (usize index = 0; index < left; ++index)
        last |= static_cast<u64>(next[index]) << (8 * index);
    state.take(last);
    return state.finish();
}

// The same for a number, as 8 bytes in the machine's byte order.
[[nodiscard]] constexpr u64 hash_number(u64 value, HashSeed seed) noexcept {
    detail::SipState state(seed);
    state.take(value);
    state.take(u64{sizeof(value)} << 56);
    return state.finish();
}

} // namespace stm::runtime
