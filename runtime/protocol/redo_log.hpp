// SPDX-License-Identifier: LGPL-2.1-or-later
// What a transaction wants to write. For each written stripe the log has the new bytes, and a mask
// that says which of the 64 bytes are new. Overlapping writes merge byte by byte with one operation
// on the mask. The log also has the order in which the commit locks, and the savepoints of closed
// nesting.
//
// Closed nesting (Moss, "Nested Transactions", 1981): begin_nested() notes the length of the log.
// The first time that a nested part overwrites a stripe that was in the log before it began, the
// old bytes are saved. A cancel puts them back, latest first, and removes what is new. Outside a
// nested part nothing is saved.
//
// Invariant: room for everything that an operation needs is reserved before, so the operation
// happens as a whole or not at all.
#pragma once

#include "runtime/protocol/growing_array.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/support/result.hpp"

namespace stm::protocol {

struct Write {
    alignas(8) u8 bytes[kStripeBytes];
    ByteMask mask;
    u64 stripe;
    StripePlace place; // from the commit's preparation on
    u64 replaced;      // while this commit locks it: the word of the orec before
    u32 access;        // its number in the access table
    u32 level;         // the innermost nesting level whose cancel needs no more bytes saved
};

class RedoLog : runtime::NonCopyable {
public:
    static constexpr u32 kInlineWrites = 64;
    static constexpr u32 kInlineSaved = 4;
    static constexpr u32 kInlineLevels = 8;
    static constexpr u32 kMaxLevels = 1024;
    // So many are sorted by insertion, which moves at most 28 of them.
    static constexpr u32 kFewWrites = 8;
    // How many are kept from one transaction to the next: 1024 stripes, 104 KiB.
    static constexpr u32 kKeptWrites = 1024;

    // True if count stripes in all, and saving `overwritten` of them in a nested part, need no
    // allocation.
    [[nodiscard]] bool has_room(u64 count, u64 overwritten) const noexcept {
        return count <= writes_.capacity() && count <= order_.capacity() &&
               (levels_.size() == 0 || saved_.size() + overwritten <= saved_.capacity());
    }

    // Makes room for count stripes in all, and in a nested part for saving `overwritten` of them.
    // too_big or no_memory.
    [[nodiscard]] runtime::Status reserve(u64 count, u64 overwritten, u32 limit) noexcept {
        if (count > limit)
            return runtime::Error::too_big;
        runtime::Status status = writes_.reserve(count, limit);
        if (status.ok())
            status = order_.reserve(count, limit);
        if (status.ok() && levels_.size() != 0)
            status = saved_.reserve(saved_.size() + overwritten, ~u32{0} >> 1);
        return status;
    }

    // Adds a stripe with nothing written in it yet, and returns its number.
    [[nodiscard]] u32 append(u64 stripe, u32 access) noexcept {
        const u32 number = writes_.size();
        Write& write = writes_.next();
        write.mask = 0;
        write.stripe = stripe;
        write.access = access;
        write.level = levels_.size();
        writes_.commit_append();
        return number;
    }

    // Call this before the bytes of a stripe in the log change.
    [[gnu::always_inline]] void prepare(u32 number) noexcept {
        if (writes_[number].level != levels_.size()) [[unlikely]]
            save(number);
    }

    // too_big: deeper than kMaxLevels.
    [[nodiscard]] runtime::Status begin_level() noexcept {
        const runtime::Status room = levels_.reserve(u64{levels_.size()} + 1, kMaxLevels);
        if (!room.ok())
            return room;
        levels_.next() = {writes_.size(), saved_.size()};
        levels_.commit_append();
        return runtime::kSuccess;
    }

    // Makes the innermost part belong to the one around it.
    void commit_level() noexcept {
        const Level level = levels_[levels_.size() - 1];
        const u32 outer = levels_.size() - 1;
        for (u32 i = level.writes; i < writes_.size(); ++i)
            writes_[i].level = outer;
        // Bytes that the outer part has saved already, or written itself, are not kept twice. So a
        // loop of nested parts does not grow the log.
        u32 kept = level.saved;
        for (u32 i = level.saved; i < saved_.size(); ++i) {
            writes_[saved_[i].write].level = outer;
            if (saved_[i].level != outer) {
                if (kept != i)
                    saved_[kept] = saved_[i];
                ++kept;
            }
        }
        saved_.truncate(kept);
        levels_.truncate(outer);
    }

    // Undoes what the innermost part wrote. Calls forget(access) for each stripe that leaves the
    // log.
    template <typename Forget>
    void cancel_level(Forget forget) noexcept {
        const Level level = levels_[levels_.size() - 1];
        for (u32 i = saved_.size(); i > level.saved; --i) {
            const Saved& saved = saved_[i - 1];
            Write& write = writes_[saved.write];
            __builtin_memcpy(write.bytes, saved.bytes, kStripeBytes);
            write.mask = saved.mask;
            write.level = saved.level;
        }
        saved_.truncate(level.saved);
        for (u32 i = level.writes; i < writes_.size(); ++i)
            forget(writes_[i].access);
        writes_.truncate(level.writes);
        levels_.truncate(levels_.size() - 1);
    }

    // For the test which shows that a cancel that restores nothing is noticed.
    template <typename Forget>
    void drop_level(Forget forget) noexcept {
        saved_.truncate(levels_[levels_.size() - 1].saved);
        cancel_level(forget);
    }

    [[nodiscard]] u32 levels() const noexcept { return levels_.size(); }

    // Puts the stripes into ascending order for in_order(). Needs no room beyond that of reserve().
    // A log written in ascending order, the common case, takes one pass. Of the others, short ones
    // are sorted by insertion, and long ones by a heap sort (Williams, CACM 7(6), 1964), which has
    // no recursion and no bad worst case.
    void sort() noexcept {
        const u32 count = writes_.size();
        sorted_ = true;
        for (u32 i = 1; i < count && sorted_; ++i)
            sorted_ = writes_[i - 1].stripe < writes_[i].stripe;
        if (sorted_)
            return;
        order_.clear(~u32{0});
        for (u32 i = 0; i < count; ++i) {
            order_.next() = i;
            order_.commit_append();
        }
        if (count <= kFewWrites) {
            for (u32 i = 1; i < count; ++i)
                insert(i);
            return;
        }
        for (u32 root = count / 2; root-- > 0;)
            sift(root, count);
        for (u32 end = count - 1; end > 0; --end) {
            runtime::swap(order_[0], order_[end]);
            sift(0, end);
        }
    }

    [[nodiscard]] Write& in_order(u32 position) noexcept {
        return writes_[sorted_ ? position : order_[position]];
    }

    void clear() noexcept {
        writes_.clear(kKeptWrites);
        order_.clear(kKeptWrites);
        saved_.clear(kKeptWrites);
        levels_.clear(kInlineLevels);
    }

    [[nodiscard]] u32 size() const noexcept { return writes_.size(); }
    [[nodiscard]] u32 capacity() const noexcept { return writes_.capacity(); }
    [[nodiscard]] Write& operator[](u32 number) noexcept { return writes_[number]; }
    [[nodiscard]] const Write& operator[](u32 number) const noexcept { return writes_[number]; }

private:
    struct Level {
        u32 writes; // the lengths when it began
        u32 saved;
    };
    struct Saved {
        u8 bytes[kStripeBytes];
        ByteMask mask;
        u32 write;
        u32 level;
    };

    void save(u32 number) noexcept {
        Write& write = writes_[number];
        Saved& saved = saved_.next();
        __builtin_memcpy(saved.bytes, write.bytes, kStripeBytes);
        saved.mask = write.mask;
        saved.write = number;
        saved.level = write.level;
        saved_.commit_append();
        write.level = levels_.size();
    }

    // Moves the one at that place to where it belongs among those before it, which are in order.
    void insert(u32 place) noexcept {
        const u32 write = order_[place];
        for (; place != 0 && writes_[order_[place - 1]].stripe > writes_[write].stripe; --place)
            order_[place] = order_[place - 1];
        order_[place] = write;
    }

    void sift(u32 root, u32 count) noexcept {
        for (;;) {
            u32 child = root * 2 + 1;
            if (child >= count)
                return;
            if (child + 1 < count &&
                writes_[order_[child]].stripe < writes_[order_[child + 1]].stripe)
                ++child;
            if (writes_[order_[root]].stripe >= writes_[order_[child]].stripe)
                return;
            runtime::swap(order_[root], order_[child]);
            root = child;
        }
    }

    bool sorted_ = true; // the stripes were written in ascending order, and order_ is not used
    GrowingArray<Write, kInlineWrites> writes_;
    GrowingArray<u32, kInlineWrites> order_;
    GrowingArray<Saved, kInlineSaved> saved_;
    GrowingArray<Level, kInlineLevels> levels_;
};

} // namespace stm::protocol
