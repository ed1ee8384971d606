// SPDX-License-Identifier: GPL-2.0
// What can be promised of plain sharing: atomics count everything, a robust mutex survives its
// owner, and a read or write call is whole.
#pragma once

#include "tests/storm/access.hpp"

#include <atomic>
#include <cstdint>
#include <pthread.h>

namespace stm::storm {

struct Plain {
    static constexpr std::size_t kSize = 256 << 10;
    static constexpr std::uint64_t kBlock = 64 << 10; // where the block for calls is
    static constexpr std::size_t kBlockBytes = 16 << 10;

    // Everybody adds to `first`, then to `second`.
    std::atomic<std::uint64_t> first;
    std::atomic<std::uint64_t> second;
    // Equal unless the mutex is held.
    alignas(64) pthread_mutex_t mutex;
    alignas(64) volatile std::uint64_t left;
    alignas(4096) volatile std::uint64_t right;

    static Plain& in(const Access& access) { return *reinterpret_cast<Plain*>(access.base()); }
};

/** By the first process. */
void make_plain(Access& access);
void count_and_lock(Access& access, Random& random, bool broken);
/** Writes the block with one call, or reads it with one. */
void write_block(Access& access, Random& random, bool broken);
void read_block(Access& access);

/** At the end; `deaths`: how many processes can have ended between the two additions. */
void audit_plain(Access& access, Random& random, std::uint64_t deaths);

} // namespace stm::storm
