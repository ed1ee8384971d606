// SPDX-License-Identifier: LGPL-2.1-or-later
// A growing array that keeps its first elements in itself and allocates only beyond them.
//
// Invariants: T is trivially copyable. Elements move when the array grows: pointers and spans
// are good until the next push_back() or reserve(). The inline elements count as a part of whatever
// contains the vector: mind the size of stack frames in the kernel.
#pragma once

#include "runtime/support/allocate.hpp"
#include "runtime/support/assert.hpp"
#include "runtime/support/checked.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

template <typename T, usize kInline>
requires(trivially_copyable<T>&& constructible_from<T>&& kInline > 0) class SmallVector
    : NonCopyable {
public:
    constexpr SmallVector() noexcept = default;

    [[nodiscard]] usize size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] usize capacity() const noexcept { return heap_.empty() ? kInline : heap_.size(); }
    [[nodiscard]] T* data() noexcept { return heap_.empty() ? inline_ : heap_.data(); }
    [[nodiscard]] const T* data() const noexcept { return heap_.empty() ? inline_ : heap_.data(); }
    [[nodiscard]] Span<T> span() noexcept { return {data(), size_}; }
    [[nodiscard]] Span<const T> span() const noexcept { return {data(), size_}; }
    [[nodiscard]] T* begin() noexcept { return data(); }
    [[nodiscard]] T* end() noexcept { return data() + size_; }
    [[nodiscard]] const T* begin() const noexcept { return data(); }
    [[nodiscard]] const T* end() const noexcept { return data() + size_; }

    // A wrong index panics; so do back() and pop_back() of an empty vector.
    [[nodiscard]] T& operator[](usize index) noexcept { return span()[index]; }
    [[nodiscard]] const T& operator[](usize index) const noexcept { return span()[index]; }
    [[nodiscard]] T& back() noexcept {
        expects(size_ != 0, "SmallVector: back() of an empty vector");
        return data()[size_ - 1];
    }
    void pop_back() noexcept {
        expects(size_ != 0, "SmallVector: pop_back() of an empty vector");
        --size_;
    }

    // Room for that many elements in all; then push_back() neither fails nor allocates until there
    // are so many. Error::no_memory or Error::overflow leave everything as it was.
    Status reserve(usize count) noexcept {
        if (count <= capacity())
            return kSuccess;
        Result<UniqueArray<T>> larger = make_array<T>(count);
        if (!larger.ok())
            return larger.error();
        __builtin_memcpy(static_cast<void*>(larger->data()), data(), size_ * sizeof(T));
        heap_ = runtime::move(*larger);
        return kSuccess;
    }

    // Errors as reserve(). The value may be an element of the vector.
    Status push_back(T value) noexcept {
        if (size_ == capacity()) {
            const Result<usize> doubled = checked_mul(capacity(), usize{2});
            if (!doubled.ok())
                return doubled.error();
            const Status grown = reserve(*doubled);
            if (!grown.ok())
                return grown;
        }
        data()[size_++] = value;
        return kSuccess;
    }

    // Forgets all elements but the first count ones. The capacity stays.
    void truncate(usize count) noexcept {
        expects(count <= size_, "SmallVector: truncated to more than there is");
        size_ = count;
    }
    void clear() noexcept { size_ = 0; }

private:
    UniqueArray<T> heap_;
    usize size_ = 0;
    T inline_[kInline] = {};
};

} // namespace stm::runtime
