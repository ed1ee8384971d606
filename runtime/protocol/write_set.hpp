// SPDX-License-Identifier: LGPL-2.1-or-later
// What a typed transaction wants to write in one region: for each written stripe the new bytes and
// a mask of them, in the form in which the commit takes them. It also has the savepoints of closed
// nesting, as the redo log of transaction.hpp has them.
//
// A stripe is found in constant time. Up to kFewWrites they are looked through, latest first.
// Beyond that there is an index: an open-addressed hash table with linear probing, at most half
// full. Each slot carries the generation of the transaction that filled it, so that emptying the
// table is one addition. Stripes leave it in the reverse of the order in which they came, so no
// other one was put behind them, and their slots can simply be emptied.
//
// Invariant: room for everything that an operation needs is reserved before, so the operation
// happens as a whole or not at all.
#pragma once

#include "runtime/protocol/growing_array.hpp"
#include "runtime/protocol/stripe_sets.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"

namespace stm::protocol {

class WriteSet {
public:
    static constexpr u32 kInlineWrites = 16;
    static constexpr u32 kFewWrites = 8;
    static_assert(kFewWrites <= kInlineWrites);
    static constexpr u32 kMaxLevels = 1024;
    // How many are kept from one transaction to the next: 1024 stripes, 80 KiB.
    static constexpr u32 kKeptWrites = 1024;

    WriteSet() noexcept = default;
    // NonCopyable would take the place in front of an array that has that base, too.
    WriteSet(const WriteSet&) = delete;
    WriteSet& operator=(const WriteSet&) = delete;
    ~WriteSet() { stm_free(slots_); }

    [[nodiscard]] u32 size() const noexcept { return writes_.size(); }
    [[nodiscard]] u32 levels() const noexcept { return levels_.size(); }

    // The writes to the stripe, or nullptr. The pointer holds until the next reservation.
    [[nodiscard]] StripeWrite* find(u64 stripe) noexcept {
        if (writes_.size() <= kFewWrites) [[likely]] {
            for (u32 i = writes_.size(); i-- > 0;) {
                if (writes_[i].stripe == stripe)
                    return &writes_[i];
            }
            return nullptr;
        }
        const Slot& slot = slots_[locate(stripe)];
        return slot.generation == generation_ ? &writes_[slot.write] : nullptr;
    }

    // True if a new stripe needs no room beyond what is there, no index and no savepoint.
    [[nodiscard]] bool has_simple_room() const noexcept {
        return has_room_for_few() && levels_.size() == 0;
    }
    // The same if no nested part has begun.
    [[nodiscard]] bool has_room_for_few() const noexcept { return writes_.size() < kFewWrites; }

    // Makes room for `fresh` new stripes, and in a nested part for saving `overwritten` ones.
    // too_big or no_memory.
    [[nodiscard]] runtime::Status reserve(u64 fresh, u64 overwritten, u32 limit) noexcept {
        const u64 count = writes_.size() + fresh;
        if (count > limit)
            return runtime::Error::too_big;
        if (count > kFewWrites)
            is_plain_ = false;
        runtime::Status status = writes_.reserve(count, limit);
        if (status.ok() && levels_.size() != 0) {
            status = level_of_.reserve(count, limit);
            if (status.ok())
                status = saved_.reserve(saved_.size() + overwritten, ~u32{0} >> 1);
        }
        if (status.ok() && count > kFewWrites)
            status = grow_index(count);
        return status;
    }

    // Adds a stripe that is not there, with nothing written in it yet. There is room.
    StripeWrite& append(u64 stripe) noexcept {
        StripeWrite& write = writes_.next();
        write.stripe = stripe;
        write.mask = 0;
        writes_.commit_append();
        if (levels_.size() != 0) {
            level_of_.next() = levels_.size();
            level_of_.commit_append();
        }
        const u32 size = writes_.size();
        if (size > kFewWrites) [[unlikely]] {
            for (u32 i = size == kFewWrites + 1 ? 0 : size - 1; i < size; ++i)
                slots_[locate(writes_[i].stripe)] = {generation_, i};
        }
        return write;
    }

    // Adds a stripe that is not there, with the word written that begins with that byte, if
    // has_simple_room(). A signal handler that leaves it by a jump leaves all of it or nothing.
    [[gnu::always_inline]] void append_word(u64 stripe, u32 first, const void* from) noexcept {
        StripeWrite& write = writes_.next();
        write.stripe = stripe;
        write.mask = mask_of(first, 8);
        __builtin_memcpy(write.bytes + first, from, 8);
        writes_.commit_append();
    }

    // Call this before the bytes of a stripe that is there change.
    [[gnu::always_inline]] void prepare(StripeWrite& write) noexcept {
        if (levels_.size() != 0) [[unlikely]]
            save(static_cast<u32>(&write - &writes_[0]));
    }

    // too_big: deeper than kMaxLevels. no_memory.
    [[nodiscard]] runtime::Status begin_level() noexcept {
        is_plain_ = false;
        runtime::Status status = levels_.reserve(u64{levels_.size()} + 1, kMaxLevels);
        if (status.ok())
            status = level_of_.reserve(writes_.size(), ~u32{0} >> 1);
        if (!status.ok())
            return status;
        if (levels_.size() == 0) {
            level_of_.truncate(0);
            while (level_of_.size() < writes_.size()) {
                level_of_.next() = 0;
                level_of_.commit_append();
            }
        }
        levels_.next() = {writes_.size(), saved_.size()};
        levels_.commit_append();
        return runtime::kSuccess;
    }

    // Makes the innermost part belong to the one around it.
    void merge_level() noexcept {
        const Level level = levels_[levels_.size() - 1];
        const u32 outer = levels_.size() - 1;
        for (u32 i = level.writes; i < writes_.size(); ++i)
            level_of_[i] = outer;
        // Bytes that the outer part has saved already, or written itself, are not kept twice. So a
        // loop of nested parts does not grow the log.
        u32 kept = level.saved;
        for (u32 i = level.saved; i < saved_.size(); ++i) {
            level_of_[saved_[i].write] = outer;
            if (saved_[i].level != outer) {
                if (kept != i)
                    saved_[kept] = saved_[i];
                ++kept;
            }
        }
        saved_.truncate(kept);
        levels_.truncate(outer);
    }

    // Undoes what the innermost part wrote.
    void undo_level() noexcept {
        const Level level = levels_[levels_.size() - 1];
        for (u32 i = saved_.size(); i > level.saved; --i) {
            const Saved& saved = saved_[i - 1];
            writes_[saved.write] = saved.old;
            level_of_[saved.write] = saved.level;
        }
        saved_.truncate(level.saved);
        // The index is there from the first stripe on that is one too many.
        for (u32 i = writes_.size(); writes_.size() > kFewWrites && i > level.writes; --i)
            slots_[locate(writes_[i - 1].stripe)].generation = 0;
        if (level.writes <= kFewWrites)
            forget_index();
        writes_.truncate(level.writes);
        level_of_.truncate(level.writes);
        levels_.truncate(levels_.size() - 1);
    }

    // For the test which shows that an undo that restores nothing is noticed.
    void drop_level() noexcept {
        saved_.truncate(levels_[levels_.size() - 1].saved);
        undo_level();
    }

    // Ascending, as the commit wants them. Stripes cannot be found afterwards. Mostly they are
    // sorted already, or few.
    [[gnu::always_inline]] void sort() noexcept {
        for (u32 i = 1; i < writes_.size(); ++i) {
            if (writes_[i - 1].stripe >= writes_[i].stripe)
                return sort_from(i);
        }
    }

    [[gnu::always_inline]] void clear() noexcept {
        if (is_plain_) [[likely]]
            writes_.truncate(0);
        else
            clear_all();
    }

    [[nodiscard]] runtime::Span<const StripeWrite> writes() const noexcept {
        return {&writes_[0], writes_.size()};
    }

    // Whether the array of writes comes first, and begins with their address and their number.
    [[nodiscard]] static consteval bool begins_with_its_writes() noexcept {
        return __builtin_offsetof(WriteSet, writes_) == 0 &&
               decltype(writes_)::begins_with_address_and_size();
    }

private:
    struct Slot {
        u32 generation; // filled in this transaction if equal to generation_, which is never 0
        u32 write;
    };
    struct Level {
        u32 writes; // the lengths when it began
        u32 saved;
    };
    struct Saved {
        StripeWrite old;
        u32 write;
        u32 level;
    };

    // Where the stripe is, or the empty slot where it would go.
    [[nodiscard]] u32 locate(u64 stripe) const noexcept {
        // Fibonacci hashing, as in access_table.hpp.
        u32 slot = static_cast<u32>(stripe * 0x9e3779b97f4a7c15ull >> shift_);
        while (slots_[slot].generation == generation_ &&
               writes_[slots_[slot].write].stripe != stripe)
            slot = (slot + 1) & slot_mask_;
        return slot;
    }

    [[nodiscard]] runtime::Status grow_index(u64 count) noexcept {
        u64 slots = slots_ == nullptr ? 64 : u64{slot_mask_} + 1;
        while (slots < count * 2)
            slots *= 2;
        if (slots_ != nullptr && slots == u64{slot_mask_} + 1)
            return runtime::kSuccess;
        auto* const grown = static_cast<Slot*>(stm_allocate(slots * sizeof(Slot)));
        if (grown == nullptr)
            return runtime::Error::no_memory;
        __builtin_memset(grown, 0, slots * sizeof(Slot));
        stm_free(slots_);
        slots_ = grown;
        slot_mask_ = static_cast<u32>(slots - 1);
        shift_ = 64 - static_cast<u32>(__builtin_ctzll(slots));
        if (writes_.size() > kFewWrites) {
            for (u32 i = 0; i < writes_.size(); ++i)
                slots_[locate(writes_[i].stripe)] = {generation_, i};
        }
        return runtime::kSuccess;
    }

    void forget_index() noexcept {
        if (slots_ != nullptr && ++generation_ == 0) [[unlikely]] {
            // After 2^32 transactions a slot could look filled.
            __builtin_memset(slots_, 0, (u64{slot_mask_} + 1) * sizeof(Slot));
            generation_ = 1;
        }
    }

    [[gnu::noinline]] void clear_all() noexcept {
        forget_index();
        if (slot_mask_ + 1 > kKeptWrites * 2) {
            stm_free(slots_);
            slots_ = nullptr;
            slot_mask_ = 0;
        }
        writes_.clear(kKeptWrites);
        level_of_.clear(kKeptWrites);
        saved_.clear(kKeptWrites);
        levels_.clear(kInlineLevels);
        is_plain_ = true;
    }

    void save(u32 number) noexcept {
        if (level_of_[number] == levels_.size())
            return;
        saved_.next() = {writes_[number], number, level_of_[number]};
        saved_.commit_append();
        level_of_[number] = levels_.size();
    }

    // Those before `first` are in order.
    [[gnu::noinline]] void sort_from(u32 first) noexcept {
        const u32 count = writes_.size();
        if (count <= kFewWrites) {
            for (; first < count; ++first) {
                for (u32 i = first; i > 0 && writes_[i].stripe < writes_[i - 1].stripe; --i)
                    runtime::swap(writes_[i], writes_[i - 1]);
            }
            return;
        }
        for (u32 root = count / 2; root-- > 0;)
            sift(root, count);
        for (u32 end = count - 1; end > 0; --end) {
            runtime::swap(writes_[0], writes_[end]);
            sift(0, end);
        }
    }
    void sift(u32 root, u32 count) noexcept {
        for (;;) {
            u32 child = root * 2 + 1;
            if (child >= count)
                return;
            if (child + 1 < count && writes_[child].stripe < writes_[child + 1].stripe)
                ++child;
            if (writes_[root].stripe >= writes_[child].stripe)
                return;
            runtime::swap(writes_[root], writes_[child]);
            root = child;
        }
    }

    static constexpr u32 kInlineLevels = 4;

    GrowingArray<StripeWrite, kInlineWrites> writes_; // the first: see begins_with_its_writes()
    Slot* slots_ = nullptr;
    u32 slot_mask_ = 0;
    u32 shift_ = 0;
    u32 generation_ = 1;
    bool is_plain_ = true;          // since it was cleared: few stripes, no nested part
    GrowingArray<u32, 4> level_of_; // for each write, in nested parts: see prepare()
    GrowingArray<Saved, 1> saved_;
    GrowingArray<Level, kInlineLevels> levels_;
};

} // namespace stm::protocol
