// SPDX-License-Identifier: LGPL-2.1-or-later
#include "userspace/lib/src/heap/runs.hpp"

namespace stm::heap {
namespace {

// A run of so many batches is more than one arena should keep for itself.
constexpr u32 kBatchesToKeep = 4;
// The lowest list may hold runs that are too short. So many of them are looked at.
constexpr int kFewSteps = 8;

u32 smaller(u32 a, u32 b) {
    return a < b ? a : b;
}
u32 larger(u32 a, u32 b) {
    return a < b ? b : a;
}

} // namespace

u32 Runs::find(u32 arena, u32 pages, Effort effort) {
    for (u32 bin = bin_of(pages); bin < kBins; ++bin) {
        u32 run = memory_.load<u32>(bin_place(arena, bin));
        for (int step = 0; run != 0 && (effort == Effort::all || step < kFewSteps); ++step) {
            const Page first = page(run);
            if (first.count >= pages)
                return run;
            run = first.next;
        }
    }
    return 0;
}

void Runs::insert(u32 first, u32 pages, u32 arena) {
    const u64 bin = bin_place(arena, bin_of(pages));
    const u32 next = memory_.load<u32>(bin);
    Page begin{};
    begin.kind = Kind::free;
    begin.arena = static_cast<u8>(arena);
    begin.count = pages;
    begin.next = next;
    set_page(first, begin);
    if (pages > 1) {
        Page end{};
        end.kind = Kind::free_end;
        end.count = first;
        set_page(first + pages - 1, end);
    }
    if (next != 0) {
        Page after = page(next);
        after.previous = first;
        set_page(next, after);
    }
    memory_.store(bin, first);
}

// Its ends are marked as what they are for whoever takes them: inside of something.
void Runs::remove(u32 first, const Page& run) {
    if (run.previous != 0) {
        Page before = page(run.previous);
        before.next = run.next;
        set_page(run.previous, before);
    } else {
        memory_.store(bin_place(run.arena, bin_of(run.count)), run.next);
    }
    if (run.next != 0) {
        Page after = page(run.next);
        after.previous = run.previous;
        set_page(run.next, after);
    }
    set_page(first, Page{});
    if (run.count > 1)
        set_page(first + run.count - 1, Page{});
}

// Takes the pages from the owner's runs. The arena also gets up to as many as are wanted.
u32 Runs::take_from(u32 owner, u32 pages, u32 wanted, u32 arena, Effort effort) {
    const u32 first = find(owner, pages, effort);
    if (first == 0)
        return 0;
    const Page run = page(first);
    if (run.count < pages)
        return 0; // the transaction has failed meanwhile
    remove(first, run);
    const u32 taken = smaller(run.count, wanted);
    if (run.count > taken)
        insert(first + taken, run.count - taken, owner);
    if (taken > pages)
        insert(first + pages, taken - pages, arena);
    return first;
}

u32 Runs::take(u32 pages, u32 arena) {
    if (const u32 first = take_from(arena, pages, pages, arena, Effort::little))
        return first;
    const u32 batch = larger(pages, header_.batch);
    if (const u32 first = take_from(pool(), pages, batch, arena, Effort::all))
        return first;
    for (u32 other = 0; other < pool(); ++other)
        if (const u32 first = take_from(other, pages, pages, arena, Effort::all))
            return first;
    return 0;
}

void Runs::give(u32 first, u32 pages, u32 arena) {
    give(first, pages, arena, Join::own);
}

void Runs::give(u32 first, u32 pages, u32 arena, Join join) {
    const auto joins = [&](const Page& run) {
        return run.kind == Kind::free && (join == Join::everything || run.arena == arena);
    };
    if (first + pages < header_.pages) {
        const Page right = page(first + pages);
        if (joins(right)) {
            remove(first + pages, right);
            pages += right.count;
        }
    }
    if (first > header_.first_page) {
        u32 begin = first - 1;
        Page left = page(begin);
        if (left.kind == Kind::free_end) {
            begin = left.count;
            left = page(begin);
        }
        if (joins(left)) {
            remove(begin, left);
            pages += left.count;
            first = begin;
        }
    }
    if (arena != pool() && pages >= kBatchesToKeep * header_.batch)
        give(first, pages, pool(), join);
    else
        insert(first, pages, arena);
}

void Runs::join_all() {
    for (u32 arena = 0; arena < pool(); ++arena)
        for (u32 bin = 0; bin < kBins; ++bin)
            while (const u32 first = memory_.load<u32>(bin_place(arena, bin))) {
                const Page run = page(first);
                if (run.count == 0)
                    return; // the transaction has failed meanwhile
                remove(first, run);
                give(first, run.count, pool(), Join::everything);
            }
}

} // namespace stm::heap
