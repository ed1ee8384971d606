// SPDX-License-Identifier: LGPL-2.1-or-later
// A view of count objects in a row that another object owns.
//
// Invariants: the objects outlive the view. Every index is checked; a wrong one panics. An index,
// an offset or a count that a user controls goes through at() or subspan(), which return a Result.
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

template <typename T>
class Span {
public:
    constexpr Span() noexcept = default;
    constexpr Span(T* data, usize count) noexcept : data_(data), count_(count) {
        expects(data != nullptr || count == 0, "Span: null with a count");
    }
    template <usize kCount>
    constexpr Span(T (&array)[kCount]) noexcept : data_(array), count_(kCount) {}
    // From Span<U> to Span<const U>.
    template <typename U>
    requires(same_as<const U, T> && !same_as<U, T>) constexpr Span(Span<U> other) noexcept
        : data_(other.data()), count_(other.size()) {}

    [[nodiscard]] constexpr T* data() const noexcept { return data_; }
    [[nodiscard]] constexpr usize size() const noexcept { return count_; }
    [[nodiscard]] constexpr usize size_bytes() const noexcept { return count_ * sizeof(T); }
    [[nodiscard]] constexpr bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] constexpr T* begin() const noexcept { return data_; }
    [[nodiscard]] constexpr T* end() const noexcept { return data_ + count_; }

    [[nodiscard]] constexpr T& operator[](usize index) const noexcept {
        expects(index < count_, "Span: index out of range");
        return data_[index];
    }

    // The object with that index, or Error::invalid if there is none.
    [[nodiscard]] constexpr Result<T*> at(usize index) const noexcept {
        if (index >= count_)
            return Error::invalid;
        return data_ + index;
    }

    // The count objects from offset on, or Error::invalid if they do not all lie in the span.
    [[nodiscard]] constexpr Result<Span> subspan(usize offset, usize count) const noexcept {
        if (offset > count_ || count > count_ - offset)
            return Error::invalid;
        return Span(data_ + offset, count);
    }

private:
    T* data_ = nullptr;
    usize count_ = 0;
};

using ByteSpan = Span<const u8>;
using MutableByteSpan = Span<u8>;

// The bytes of the objects, including padding. Clear the padding before it goes to user space.
template <trivially_copyable T>
[[nodiscard]] ByteSpan as_bytes(Span<T> span) noexcept {
    return {reinterpret_cast<const u8*>(span.data()), span.size_bytes()};
}

} // namespace stm::runtime
