// SPDX-License-Identifier: LGPL-2.1-or-later
// The stripes that a transaction has touched, in the order of the first touch: one table for the
// read set and the write set, found by stripe number in constant time.
//
// The index is an open-addressed hash table with linear probing, at most half full. Each slot
// carries the generation of the transaction that filled it, so that emptying the table is one
// addition, however large it is. Nothing is ever removed in between.
//
// Invariants: room is reserved before, so an insertion cannot fail. A failed reservation loses
// nothing. 128 stripes (64 read and 64 others written) need no allocation.
#pragma once

#include "runtime/protocol/growing_array.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/support/result.hpp"

namespace stm::protocol {

inline constexpr u32 kNoWrite = ~u32{0};
// No stripe has this version: it is above kMaxVersion.
inline constexpr u64 kNotRead = ~u64{0};

struct Access {
    u64 stripe;        // or another key, which is no stripe's number
    u64 version;       // at which it was read, or kNotRead
    StripePlace place; // as far as it is known: a page is never moved. Without a record: nullptr
    u32 write;         // its number in the redo log, or kNoWrite
    u32 more;          // 0; or this is an entry for so many stripes: Transaction::read_stripes()
};

class AccessTable : runtime::NonCopyable {
public:
    static constexpr u32 kInlineAccesses = 128;
    // How many are kept from one transaction to the next: 4096 accesses, 224 KiB.
    static constexpr u32 kKeptAccesses = 4096;

    AccessTable() noexcept { __builtin_memset(inline_slots_, 0, sizeof(inline_slots_)); }
    ~AccessTable() {
        if (slots_ != inline_slots_)
            stm_free(slots_);
    }

    // True if count accesses in all need no allocation.
    [[nodiscard]] bool has_room(u64 count) const noexcept { return count <= room_; }

    // Makes room for count accesses in all: too_big or no_memory.
    [[nodiscard]] runtime::Status reserve(u64 count, u32 limit) noexcept {
        if (count > limit) [[unlikely]]
            return runtime::Error::too_big;
        if (has_room(count)) [[likely]]
            return runtime::kSuccess;
        runtime::Status status = accesses_.reserve(count, limit);
        if (status.ok())
            status = grow_index(count);
        measure_room();
        return status;
    }

    // The access of the stripe, or nullptr. The pointer holds until the next reservation.
    [[nodiscard, gnu::always_inline]] Access* find(u64 stripe) noexcept {
        return locate(stripe).access;
    }

    // The place where a stripe is, or where it would go.
    struct Place {
        Access* access; // or nullptr
        u32 slot;
    };
    [[nodiscard, gnu::always_inline]] Place locate(u64 stripe) noexcept {
        for (u32 slot = slot_of(stripe);; slot = (slot + 1) & slot_mask_) {
            if (slots_[slot].generation != generation_)
                return {nullptr, slot};
            Access& access = accesses_[slots_[slot].access];
            if (access.stripe == stripe)
                return {&access, slot};
        }
    }

    [[nodiscard]] const Access* find(u64 stripe) const noexcept {
        return const_cast<AccessTable*>(this)->find(stripe);
    }

    // Adds a stripe that is not in the table, as neither read nor written.
    Access& insert(u64 stripe, u64 version = kNotRead) noexcept {
        next_place() = {};
        return insert_at(locate(stripe).slot, stripe, version);
    }
    // The same, where next_place() is set. The slot is the one that locate() found, and the table
    // has not changed since.
    [[gnu::always_inline]] Access& insert_at(u32 slot, u64 stripe, u64 version,
                                             u32 more = 0) noexcept {
        Access& access = accesses_.next();
        access.stripe = stripe;
        access.version = version;
        access.write = kNoWrite;
        access.more = more;
        slots_[slot] = {generation_, accesses_.size()};
        accesses_.commit_append();
        return access;
    }
    // The place of the stripe that will be added next. There is room for it.
    [[nodiscard, gnu::always_inline]] StripePlace& next_place() noexcept {
        return accesses_.next().place;
    }

    void clear() noexcept {
        accesses_.clear(kKeptAccesses);
        if (slot_mask_ + 1 > kKeptAccesses * 2) [[unlikely]] {
            stm_free(slots_);
            slots_ = inline_slots_;
            slot_mask_ = kInlineSlots - 1;
            shift_ = kInlineShift;
        }
        measure_room();
        if (++generation_ == 0) [[unlikely]] {
            // After 2^32 transactions a slot could look filled. Empty all of them once; the inline
            // ones as well, because a table that has grown may come back to them.
            __builtin_memset(slots_, 0, (u64{slot_mask_} + 1) * sizeof(Slot));
            __builtin_memset(inline_slots_, 0, sizeof(inline_slots_));
            generation_ = 1;
        }
    }

    // The number of an access of this table.
    [[nodiscard]] u32 index_of(const Access& access) const noexcept {
        return static_cast<u32>(&access - &accesses_[0]);
    }
    [[nodiscard]] u32 size() const noexcept { return accesses_.size(); }
    [[nodiscard]] u32 capacity() const noexcept { return accesses_.capacity(); }
    [[nodiscard]] Access& operator[](u32 index) noexcept { return accesses_[index]; }
    [[nodiscard]] const Access& operator[](u32 index) const noexcept { return accesses_[index]; }

    // For the test of the wrap-around.
    void set_generation_for_test(u32 generation) noexcept { generation_ = generation; }

private:
    struct Slot {
        u32 generation; // filled in this transaction if equal to generation_; never 0 then
        u32 access;
    };
    static constexpr u32 kInlineSlots = kInlineAccesses * 2;
    static constexpr u32 kInlineShift = 64 - 8;
    static_assert(kInlineSlots == 1u << (64 - kInlineShift));

    // Fibonacci hashing (Knuth, TAOCP 3, 6.4): the high bits of the product, so that neighbours
    // spread evenly and strides that are powers of two do not collide.
    [[nodiscard]] u32 slot_of(u64 stripe) const noexcept {
        return static_cast<u32>(stripe * 0x9e3779b97f4a7c15ull >> shift_);
    }

    // Both the array and the index must have it.
    void measure_room() noexcept {
        room_ = runtime::min(accesses_.capacity(), (slot_mask_ + 1) / 2);
    }

    [[nodiscard]] runtime::Status grow_index(u64 count) noexcept {
        u64 slots = u64{slot_mask_} + 1;
        u32 shift = shift_;
        while (slots < count * 2) {
            slots *= 2;
            --shift;
        }
        if (slots == u64{slot_mask_} + 1)
            return runtime::kSuccess;
        auto* grown = static_cast<Slot*>(stm_allocate(slots * sizeof(Slot)));
        if (grown == nullptr)
            return runtime::Error::no_memory;
        __builtin_memset(grown, 0, slots * sizeof(Slot));
        Slot* const old = slots_;
        // In this order a signal handler that looks something up meanwhile stays inside one of the
        // two.
        slots_ = grown;
        signal_fence();
        slot_mask_ = static_cast<u32>(slots - 1);
        signal_fence();
        shift_ = shift;
        signal_fence();
        if (old != inline_slots_)
            stm_free(old);
        for (u32 i = 0; i < accesses_.size(); ++i) {
            u32 slot = slot_of(accesses_[i].stripe);
            while (slots_[slot].generation == generation_)
                slot = (slot + 1) & slot_mask_;
            slots_[slot] = {generation_, i};
        }
        return runtime::kSuccess;
    }

    Slot* slots_ = inline_slots_;
    u32 slot_mask_ = kInlineSlots - 1;
    u32 shift_ = kInlineShift;
    u32 generation_ = 1;
    u32 room_ = kInlineAccesses;
    GrowingArray<Access, kInlineAccesses> accesses_;
    Slot inline_slots_[kInlineSlots];
};

} // namespace stm::protocol
