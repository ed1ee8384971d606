// SPDX-License-Identifier: LGPL-2.1-or-later
// The allocator: slabs for small blocks, runs of pages for large ones. A slab's free blocks are
// bits of what describes its page. So an allocation touches one stripe, and never the block itself;
// a block that is freed twice is noticed; and no program can spoil the heap by what it stores into
// blocks.
#pragma once

#include "userspace/lib/src/heap/runs.hpp"

#include <stm/heap.h>

namespace stm::heap {

/** Results are errno values, or 0; whether the transaction goes on is what Memory knows. */
class Heap {
public:
    enum class Missing { make, leave };

    explicit Heap(Memory& memory) : memory_(memory), runs_(memory, header_) {}

    /** Comes first. A heap that is missing has no pages, if it is left so. */
    [[nodiscard]] int open(Missing missing);

    [[nodiscard]] int allocate(u64 bytes, u64 alignment, u64& offset);
    [[nodiscard]] int free(u64 offset);
    [[nodiscard]] int usable(u64 offset, u64& bytes);

    [[nodiscard]] const Header& header() const { return header_; }
    void set_root(u64 offset, u64 tag);
    [[nodiscard]] int check(stm_heap_report& report);

private:
    struct Block;

    [[nodiscard]] int format();
    [[nodiscard]] int find(u64 offset, Block& block);
    u32 take(u32 pages, u32 arena);
    u32 new_slab(u32 size_class, u32 arena);
    int allocate_small(u32 size_class, u64& offset);
    int allocate_large(u64 bytes, u64& offset);
    void free_small(Block& block);
    void enlist(u32 number, Page& slab);
    void unlist(u32 number, Page& slab);
    void give_empty_slabs();

    const char* check_pages(stm_heap_report& report, u64& slabs, u64& runs);
    const char* check_slab_lists(u64 slabs);
    const char* check_run_lists(u64 runs);

    static u64 list_place(u32 arena, u32 size_class) {
        return arena_place(arena) + offsetof(Arena, slabs) + size_class * sizeof(u32);
    }

    Memory& memory_;
    Header header_{};
    Runs runs_;
};

/** Blocks of a class in a slab. */
constexpr u32 capacity_of(u32 size_class) {
    return static_cast<u32>(kPageBytes / kClassBytes[size_class]);
}

} // namespace stm::heap
