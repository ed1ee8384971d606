// SPDX-License-Identifier: LGPL-2.1-or-later
#include "userspace/lib/src/heap/heap.hpp"

#include <cerrno>
#include <cstdint>
#include <unistd.h>

namespace stm::heap {
namespace {

constexpr u64 kPagesForEachArena = 64;
constexpr u64 kMaxBatch = 16;

u64 clamp(u64 value, u64 least, u64 most) {
    return value < least ? least : (value > most ? most : value);
}

// Which arena this thread uses. Threads begin somewhere. One that has met a conflict moves on, and
// so comes to an arena that nobody else uses, if there is one.
u32 arena_of_this_thread(const Memory& memory, u32 arenas) {
    static thread_local u32 place = 0;
    static thread_local unsigned seen = 0;
    if (place == 0)
        place = static_cast<u32>(::gettid());
    const unsigned conflicts = memory.conflicts();
    if (conflicts > seen)
        place = place * 5 + 1;
    seen = conflicts;
    if (place == 0)
        place = 1;
    return (place ^ place >> 8) % arenas;
}

// The class for a block, or kClasses: it is large. A page holds blocks of a class one after the
// other from its beginning, so they are aligned as their size is.
u32 class_of(u64 bytes, u64 alignment) {
    u32 size_class = 0;
    while (size_class < kClasses &&
           (kClassBytes[size_class] < bytes || kClassBytes[size_class] % alignment != 0))
        ++size_class;
    return size_class;
}

// The first block of a slab that is free; there is one.
u32 first_free(const Page& slab) {
    u32 word = 0;
    while (word < 3 && ~slab.used[word] == 0)
        ++word;
    return word * 64 + static_cast<u32>(__builtin_ctzll(~slab.used[word]));
}

} // namespace

struct Heap::Block {
    u32 number; // of its page
    Page page;
    u32 index; // in a slab
};

int Heap::open(Missing missing) {
    header_ = memory_.load<Header>(0);
    if (header_.magic == kMagic || memory_.result() != 0)
        return 0;
    const u64 other = header_.magic | header_.root | header_.tag | header_.pages |
                      header_.first_page | header_.arenas | header_.batch;
    if (other != 0)
        return EBADMSG;
    return missing == Missing::make ? format() : 0;
}

int Heap::format() {
    const u64 pages = memory_.size() / kPageBytes;
    if (pages > UINT32_MAX)
        return ENOSPC;
    const u64 arenas = clamp(pages / kPagesForEachArena, 1, kMaxArenas);
    const u64 described = page_place(static_cast<u32>(arenas), static_cast<u32>(pages));
    const u64 first = (described + kPageBytes - 1) / kPageBytes;
    if (first >= pages)
        return ENOSPC;
    header_.magic = kMagic;
    header_.pages = static_cast<u32>(pages);
    header_.first_page = static_cast<u32>(first);
    header_.arenas = static_cast<u32>(arenas);
    header_.batch = static_cast<u32>(clamp(pages / (8 * arenas), 1, kMaxBatch));
    memory_.store(0, header_);
    for (u32 arena = 0; arena <= header_.arenas; ++arena)
        memory_.store(arena_place(arena), Arena{});
    runs_.give(header_.first_page, header_.pages - header_.first_page, runs_.pool());
    return 0;
}

void Heap::set_root(u64 offset, u64 tag) {
    header_.root = offset;
    header_.tag = tag;
    memory_.store(0, header_);
}

// -- Slabs --

void Heap::enlist(u32 number, Page& slab) {
    const u64 list = list_place(slab.arena, slab.size_class);
    slab.next = memory_.load<u32>(list);
    slab.previous = 0;
    if (slab.next != 0) {
        Page after = runs_.page(slab.next);
        after.previous = number;
        runs_.set_page(slab.next, after);
    }
    memory_.store(list, number);
}

void Heap::unlist(u32 number, Page& slab) {
    if (slab.previous != 0) {
        Page before = runs_.page(slab.previous);
        before.next = slab.next;
        runs_.set_page(slab.previous, before);
    } else {
        memory_.store(list_place(slab.arena, slab.size_class), slab.next);
    }
    if (slab.next != 0) {
        Page after = runs_.page(slab.next);
        after.previous = slab.previous;
        runs_.set_page(slab.next, after);
    }
    slab.next = slab.previous = 0;
    runs_.set_page(number, slab);
}

u32 Heap::new_slab(u32 size_class, u32 arena) {
    const u32 number = take(1, arena);
    if (number == 0)
        return 0;
    Page slab{};
    slab.kind = Kind::slab;
    slab.size_class = static_cast<u8>(size_class);
    slab.arena = static_cast<u8>(arena);
    enlist(number, slab);
    runs_.set_page(number, slab);
    return number;
}

// Each list keeps one slab that has become empty, because it may be needed again at once.
void Heap::give_empty_slabs() {
    for (u32 arena = 0; arena < header_.arenas; ++arena)
        for (u32 size_class = 0; size_class < kClasses; ++size_class) {
            u32 number = memory_.load<u32>(list_place(arena, size_class));
            while (number != 0) {
                Page slab = runs_.page(number);
                const u32 next = slab.next;
                if (slab.kind == Kind::slab && slab.count == 0) {
                    unlist(number, slab);
                    runs_.give(number, 1, arena);
                }
                number = next;
            }
        }
}

// -- Allocating --

u32 Heap::take(u32 pages, u32 arena) {
    if (const u32 first = runs_.take(pages, arena))
        return first;
    give_empty_slabs();
    runs_.join_all();
    return runs_.take(pages, arena);
}

int Heap::allocate(u64 bytes, u64 alignment, u64& offset) {
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > kPageBytes)
        return EINVAL;
    const u32 size_class = class_of(bytes, alignment < 16 ? 16 : alignment);
    return size_class < kClasses ? allocate_small(size_class, offset)
                                 : allocate_large(bytes, offset);
}

int Heap::allocate_small(u32 size_class, u64& offset) {
    const u32 arena = arena_of_this_thread(memory_, header_.arenas);
    u32 number = memory_.load<u32>(list_place(arena, size_class));
    if (number == 0)
        number = new_slab(size_class, arena);
    if (number == 0)
        return ENOSPC;
    Page slab = runs_.page(number);
    const u32 index = first_free(slab);
    slab.used[index / 64] |= u64{1} << index % 64;
    if (++slab.count == capacity_of(size_class))
        unlist(number, slab);
    else
        runs_.set_page(number, slab);
    offset = number * kPageBytes + index * kClassBytes[size_class];
    return 0;
}

int Heap::allocate_large(u64 bytes, u64& offset) {
    if (bytes > memory_.size())
        return ENOSPC;
    const u32 pages = bytes == 0 ? 1 : static_cast<u32>((bytes + kPageBytes - 1) / kPageBytes);
    const u32 arena = arena_of_this_thread(memory_, header_.arenas);
    const u32 number = take(pages, arena);
    if (number == 0)
        return ENOSPC;
    Page first{};
    first.kind = Kind::large;
    first.arena = static_cast<u8>(arena);
    first.count = pages;
    runs_.set_page(number, first);
    offset = number * kPageBytes;
    return 0;
}

// -- Freeing --

int Heap::find(u64 offset, Block& block) {
    const u64 number = offset / kPageBytes;
    if (number < header_.first_page || number >= header_.pages)
        return EINVAL;
    block.number = static_cast<u32>(number);
    block.page = runs_.page(block.number);
    if (memory_.result() != 0)
        return 0; // nothing is known of it, and nothing will be done with it
    const u64 within = offset % kPageBytes;
    if (block.page.kind == Kind::large)
        return within == 0 ? 0 : EINVAL;
    if (block.page.kind != Kind::slab || within % kClassBytes[block.page.size_class] != 0)
        return EINVAL;
    block.index = static_cast<u32>(within / kClassBytes[block.page.size_class]);
    // The rest of a page is no block, and its bits are never set.
    return (block.page.used[block.index / 64] >> block.index % 64 & 1) != 0 ? 0 : EINVAL;
}

int Heap::free(u64 offset) {
    Block block{};
    if (const int error = find(offset, block))
        return error;
    if (memory_.result() != 0)
        return 0;
    if (block.page.kind == Kind::slab) {
        free_small(block);
    } else {
        runs_.set_page(block.number, Page{});
        runs_.give(block.number, block.page.count, block.page.arena);
    }
    return 0;
}

void Heap::free_small(Block& block) {
    Page& slab = block.page;
    slab.used[block.index / 64] &= ~(u64{1} << block.index % 64);
    if (slab.count-- == capacity_of(slab.size_class))
        enlist(block.number, slab);
    const bool alone = slab.previous == 0 && slab.next == 0;
    if (slab.count == 0 && !alone) {
        unlist(block.number, slab);
        runs_.give(block.number, 1, slab.arena);
    } else {
        runs_.set_page(block.number, slab);
    }
}

int Heap::usable(u64 offset, u64& bytes) {
    Block block{};
    if (const int error = find(offset, block))
        return error;
    bytes = block.page.kind == Kind::slab ? kClassBytes[block.page.size_class]
                                          : block.page.count * kPageBytes;
    return 0;
}

} // namespace stm::heap
