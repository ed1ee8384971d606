// SPDX-License-Identifier: LGPL-2.1-or-later
// Runs of free pages: lists by size for each arena, and one set of them that is the pool.
#pragma once

#include "userspace/lib/src/heap/memory.hpp"

namespace stm::heap {

class Runs {
public:
    /** The header may be filled in later. */
    Runs(Memory& memory, const Header& header) : memory_(memory), header_(header) {}

    /** The first of that many pages, which are in no list any more; 0: there are not so many. */
    u32 take(u32 pages, u32 arena);

    /** Pages are free now, and belong to that arena, or to the pool if they are many. */
    void give(u32 first, u32 pages, u32 arena);

    /** Joins all runs that touch each other, whichever arena has them, in the pool. */
    void join_all();

    Page page(u32 number) { return memory_.load<Page>(place_of(number)); }
    void set_page(u32 number, const Page& page) { memory_.store(place_of(number), page); }

    [[nodiscard]] u32 pool() const { return header_.arenas; }

    static u32 bin_of(u32 pages) { return 31U - static_cast<u32>(__builtin_clz(pages)); }
    static u64 bin_place(u32 arena, u32 bin) {
        return arena_place(arena) + offsetof(Arena, runs) + bin * sizeof(u32);
    }

private:
    [[nodiscard]] u64 place_of(u32 number) const { return page_place(header_.arenas, number); }

    enum class Effort { little, all };
    enum class Join { own, everything };

    u32 find(u32 arena, u32 pages, Effort effort);
    u32 take_from(u32 owner, u32 pages, u32 wanted, u32 arena, Effort effort);
    void insert(u32 first, u32 pages, u32 arena);
    void remove(u32 first, const Page& page);
    void give(u32 first, u32 pages, u32 arena, Join join);

    Memory& memory_;
    const Header& header_;
};

} // namespace stm::heap
