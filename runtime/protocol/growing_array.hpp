// SPDX-License-Identifier: LGPL-2.1-or-later
// The storage under the sets of a transaction. It is an array whose first kInline elements need no
// allocation, and which grows by doubling. A signal handler of the same thread may read it at any
// instant.
//
// Invariants: room is reserved first, which can fail; adding an element then cannot. A failed
// reservation changes nothing. For the handler, an element is written before the count that covers
// it; a grown array is complete before its address is stored, and the old one is freed after that.
// A handler must not leave by longjmp while it interrupts a function of this class, or memory
// leaks.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/assert.hpp"
#include "runtime/support/host.h"
#include "runtime/support/result.hpp"
#include "runtime/support/utility.hpp"

namespace stm::protocol {

// Keeps the compiler, and only the compiler, from moving accesses across. That is enough for a
// signal handler that interrupts the thread.
[[gnu::always_inline]] inline void signal_fence() noexcept {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

template <runtime::trivially_copyable T, u32 kInline>
class GrowingArray : runtime::NonCopyable {
public:
    GrowingArray() noexcept : data_(inline_elements()) {}
    ~GrowingArray() { give_back(); }

    // Makes room for count elements in all. too_big if that is above the limit (at most 2^31),
    // no_memory if the allocation fails.
    [[nodiscard]] runtime::Status reserve(u64 count, u32 limit) noexcept {
        if (count <= capacity_) [[likely]]
            return runtime::kSuccess;
        if (count > limit)
            return runtime::Error::too_big;
        u64 capacity = u64{capacity_} * 2;
        if (capacity < count)
            capacity = count;
        if (capacity > limit)
            capacity = limit;
        u64 bytes = 0;
        if (__builtin_mul_overflow(capacity, sizeof(T), &bytes))
            return runtime::Error::too_big;
        auto* grown = static_cast<T*>(stm_allocate(bytes));
        if (grown == nullptr)
            return runtime::Error::no_memory;
        if (size_ != 0)
            __builtin_memcpy(static_cast<void*>(grown), data_, u64{size_} * sizeof(T));
        T* const old = data_;
        signal_fence();
        data_ = grown;
        signal_fence();
        capacity_ = static_cast<u32>(capacity);
        if (old != inline_elements())
            stm_free(old);
        return runtime::kSuccess;
    }

    // The next element, not yet counted: fill it, then call commit_append(). There must be room.
    [[nodiscard, gnu::always_inline]] T& next() noexcept {
        runtime::expects(size_ < kInline || size_ < capacity_,
                         "GrowingArray: no room was reserved");
        return data_[size_];
    }
    void commit_append() noexcept {
        signal_fence();
        size_ = size_ + 1;
    }

    void truncate(u32 size) noexcept {
        runtime::expects(size <= size_, "GrowingArray: truncated to more than there is");
        size_ = size;
    }

    // Empties it, and gives back an allocation of more than keep elements.
    void clear(u32 keep) noexcept {
        size_ = 0;
        if (capacity_ > keep && capacity_ > kInline) [[unlikely]] {
            T* const old = data_;
            signal_fence();
            data_ = inline_elements();
            capacity_ = kInline;
            stm_free(old);
        }
    }

    [[nodiscard]] u32 size() const noexcept { return size_; }
    [[nodiscard]] u32 capacity() const noexcept { return capacity_; }
    // The index must be below size(); a signal handler reads size() first.
    [[nodiscard]] T& operator[](u32 index) noexcept { return data_[index]; }
    [[nodiscard]] const T& operator[](u32 index) const noexcept { return data_[index]; }

    [[nodiscard]] static consteval bool begins_with_address_and_size() noexcept {
        return __builtin_offsetof(GrowingArray, data_) == 0 &&
               __builtin_offsetof(GrowingArray, size_) == sizeof(T*);
    }

private:
    T* inline_elements() noexcept { return reinterpret_cast<T*>(inline_); }
    void give_back() noexcept {
        if (data_ != inline_elements())
            stm_free(data_);
    }

    T* data_;
    u32 size_ = 0;
    u32 capacity_ = kInline;
    // Not initialised: to clear some kilobytes for each new context would gain nothing.
    alignas(8) alignas(T) unsigned char inline_[kInline * sizeof(T)];
};

} // namespace stm::protocol
