// SPDX-License-Identifier: LGPL-2.1-or-later
// Where things lie in a region that has a heap.
#pragma once

#include <cstddef> // IWYU pragma: export (offsetof)
#include <cstdint>

namespace stm::heap {

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

inline constexpr u64 kPageBytes = 4096;
inline constexpr u64 kStripeBytes = 64;

// Sizes of small blocks: four for each doubling, but the last fill a page as well as they can.
inline constexpr u32 kClassBytes[] = {16,  32,  48,  64,  80,  96,  112, 128,  160,  192, 224,
                                      256, 320, 384, 448, 512, 640, 800, 1024, 1344, 2048};
inline constexpr u32 kClasses = sizeof kClassBytes / sizeof kClassBytes[0];

inline constexpr u32 kMaxArenas = 16;
inline constexpr u32 kBins = 32;

// The region's first stripe. It never changes but for the root, so that it can be in every read
// set.
struct Header {
    u64 magic;
    u64 root;
    u64 tag;
    u32 pages;      // of the region
    u32 first_page; // the first one for blocks; what lies before it describes them
    u32 arenas;     // the pool comes after these
    u32 batch;      // pages that an arena takes from the pool at once
    u64 reserved[3];
};
static_assert(sizeof(Header) == kStripeBytes);
inline constexpr u64 kMagic = 0x31'70'61'65'68'6d'74'73; // "stmheap1"

// An arena is what a thread allocates from. Threads use different ones as far as there are enough,
// so they conflict rarely. The pool is one more, from which the arenas take pages.
struct Arena {
    u32 slabs[kClasses]; // for each class: the first slab that is not full, or 0
    u32 reserved[kBins - kClasses];
    u32 runs[kBins]; // runs[b]: the first run of 2^b pages or more, and less than 2^(b+1); or 0
};
static_assert(sizeof(Arena) == 4 * kStripeBytes);

enum class Kind : u8 {
    inside = 0,   // of a block or a run, or never used
    slab = 1,     // a page of small blocks
    large = 2,    // the first page of a large block
    free = 3,     // the first page of a run of free pages
    free_end = 4, // the last page of a run of two or more
};

// What describes one page. It fills a stripe, so that blocks of different pages do not conflict.
// Invariants:
// - A slab is in the list of its class and arena unless it is full. A run is in a list of its
//   arena.
// - Two runs of one arena never touch each other, nor do two of the pool.
struct Page {
    Kind kind;
    u8 size_class;
    u8 arena;
    u8 reserved;
    u32 count; // of a slab: blocks in use; of a large block and a run: pages; of a run's end: where
               // it begins
    u32 next;  // in its list; page 0 is never in one
    u32 previous;
    u64 used[4]; // of a slab: one bit for each block
    u64 reserved2[2];
};
static_assert(sizeof(Page) == kStripeBytes);

constexpr u64 arena_place(u32 number) {
    return sizeof(Header) + number * sizeof(Arena);
}

constexpr u64 page_place(u32 arenas, u32 number) {
    return arena_place(arenas + 1) + u64{number} * sizeof(Page);
}

} // namespace stm::heap
