// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether a heap is consistent: each page is something, and each list holds what it should.
#include "userspace/lib/src/heap/heap.hpp"

#include <cerrno>

namespace stm::heap {
namespace {

u32 blocks_in(const Page& slab) {
    u32 blocks = 0;
    for (const u64 word : slab.used)
        blocks += static_cast<u32>(__builtin_popcountll(word));
    return blocks;
}

// The bits beyond the last block of a slab.
bool has_impossible_blocks(const Page& slab) {
    for (u32 index = capacity_of(slab.size_class); index < 256; ++index)
        if ((slab.used[index / 64] >> index % 64 & 1) != 0)
            return true;
    return false;
}

} // namespace

// Goes from block to block and from run to run. Counts the slabs and the runs that lists must have.
const char* Heap::check_pages(stm_heap_report& report, u64& slabs, u64& runs) {
    u32 number = header_.first_page;
    while (number < header_.pages) {
        const Page page = runs_.page(number);
        const u64 bytes = u64{page.count} * kPageBytes;
        u32 pages = page.count;
        switch (page.kind) {
        case Kind::slab:
            if (page.size_class >= kClasses || page.arena >= header_.arenas)
                return "a slab is of no class or arena that there is";
            if (has_impossible_blocks(page) || blocks_in(page) != page.count)
                return "a slab has other blocks than it counts";
            slabs += page.count < capacity_of(page.size_class) ? 1 : 0;
            report.blocks += page.count;
            report.block_bytes += u64{page.count} * kClassBytes[page.size_class];
            report.slab_bytes += kPageBytes;
            pages = 1;
            break;
        case Kind::large:
            ++report.blocks;
            report.block_bytes += bytes;
            break;
        case Kind::free:
            ++runs;
            report.free_bytes += bytes;
            report.largest_free = report.largest_free < bytes ? bytes : report.largest_free;
            break;
        default:
            return "a page is neither a block's nor free";
        }
        if (pages == 0 || pages > header_.pages - number)
            return "a block or a run does not end where the region does";
        if (page.kind == Kind::free && pages > 1) {
            const Page end = runs_.page(number + pages - 1);
            if (end.kind != Kind::free_end || end.count != number)
                return "the end of a run does not tell its beginning";
        }
        number += pages;
    }
    return nullptr;
}

const char* Heap::check_slab_lists(u64 slabs) {
    u64 listed = 0;
    for (u32 arena = 0; arena < header_.arenas; ++arena)
        for (u32 size_class = 0; size_class < kClasses; ++size_class) {
            u32 previous = 0;
            u32 number = memory_.load<u32>(list_place(arena, size_class));
            while (number != 0) {
                const Page slab = runs_.page(number);
                if (slab.kind != Kind::slab || slab.size_class != size_class ||
                    slab.arena != arena || slab.count >= capacity_of(size_class))
                    return "a list of slabs has something else";
                if (slab.previous != previous || ++listed > slabs)
                    return "a list of slabs is not linked as it should be";
                previous = number;
                number = slab.next;
            }
        }
    return listed == slabs ? nullptr : "a slab that is not full is in no list";
}

const char* Heap::check_run_lists(u64 runs) {
    u64 listed = 0;
    for (u32 arena = 0; arena <= header_.arenas; ++arena)
        for (u32 bin = 0; bin < kBins; ++bin) {
            u32 previous = 0;
            u32 number = memory_.load<u32>(Runs::bin_place(arena, bin));
            while (number != 0) {
                const Page run = runs_.page(number);
                if (run.kind != Kind::free || run.arena != arena || run.count == 0 ||
                    Runs::bin_of(run.count) != bin)
                    return "a list of runs has something else";
                if (run.previous != previous || ++listed > runs)
                    return "a list of runs is not linked as it should be";
                previous = number;
                number = run.next;
            }
        }
    return listed == runs ? nullptr : "a run is in no list";
}

int Heap::check(stm_heap_report& report) {
    report = {};
    if (header_.pages == 0)
        return 0; // there is no heap yet
    report.bytes = u64{header_.pages - header_.first_page} * kPageBytes;
    u64 slabs = 0;
    u64 runs = 0;
    report.problem = check_pages(report, slabs, runs);
    if (report.problem == nullptr)
        report.problem = check_slab_lists(slabs);
    if (report.problem == nullptr)
        report.problem = check_run_lists(runs);
    return report.problem == nullptr ? 0 : EBADMSG;
}

} // namespace stm::heap
