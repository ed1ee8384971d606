// SPDX-License-Identifier: LGPL-2.1-or-later
// Arithmetic on sizes and offsets that reports an overflow, and values from user space that cannot
// be used before they are checked.
//
// Invariant: a value that a caller of the module or a peer in shared memory controls is an
// Untrusted<T> from the moment it is read until one of the functions here has turned it into a T or
// a Range. It is read once, because a second read may give another value.
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/bits.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

// Both operands have one type, so nothing is converted before it is checked. Each returns
// Error::overflow if the exact result does not fit into T.
template <integer T>
[[nodiscard]] constexpr Result<T> checked_add(T left, T right) noexcept {
    T result;
    if (__builtin_add_overflow(left, right, &result))
        return Error::overflow;
    return result;
}

template <integer T>
[[nodiscard]] constexpr Result<T> checked_sub(T left, T right) noexcept {
    T result;
    if (__builtin_sub_overflow(left, right, &result))
        return Error::overflow;
    return result;
}

template <integer T>
[[nodiscard]] constexpr Result<T> checked_mul(T left, T right) noexcept {
    T result;
    if (__builtin_mul_overflow(left, right, &result))
        return Error::overflow;
    return result;
}

// The smallest multiple of alignment (a power of two) that is not below the value.
template <unsigned_integer T>
[[nodiscard]] constexpr Result<T> checked_align_up(T value, T alignment) noexcept {
    expects(is_power_of_two(alignment), "checked_align_up: the alignment is no power of two");
    const T mask = static_cast<T>(alignment - 1);
    const Result<T> sum = checked_add(value, mask);
    if (!sum.ok())
        return sum.error();
    return static_cast<T>(sum.value() & static_cast<T>(~mask));
}

// The largest multiple of alignment (a power of two) that is not above the value.
template <unsigned_integer T>
[[nodiscard]] constexpr T align_down(T value, T alignment) noexcept {
    expects(is_power_of_two(alignment), "align_down: the alignment is no power of two");
    return static_cast<T>(value & static_cast<T>(~static_cast<T>(alignment - 1)));
}

template <unsigned_integer T>
[[nodiscard]] constexpr bool is_aligned(T value, T alignment) noexcept {
    return align_down(value, alignment) == value;
}

// The same number in another type, or Error::overflow if To cannot represent it.
template <integer To, integer From>
[[nodiscard]] constexpr Result<To> narrow(From value) noexcept {
    To result;
    if (__builtin_add_overflow(value, From{0}, &result))
        return Error::overflow;
    return result;
}

// A number that was not checked yet. It has the size of T and no operators: it cannot be compared,
// computed with or converted. Copying it is harmless.
template <integer T>
class Untrusted {
public:
    // From a field of the same width and signedness: Untrusted<u64>(int) does not compile.
    template <integer U>
    requires(sizeof(U) == sizeof(T) &&
             unsigned_integer<U> ==
                 unsigned_integer<T>) constexpr explicit Untrusted(U value) noexcept
        : value_(static_cast<T>(value)) {}

    // The value, if min <= value <= max; Error::invalid otherwise.
    [[nodiscard]] constexpr Result<T> checked(T min, T max) const noexcept {
        if (value_ < min || value_ > max)
            return Error::invalid;
        return value_;
    }

    // The same for a value that must be a multiple of unit, a power of two: a size in whole pages.
    [[nodiscard]] constexpr Result<T>
    checked_multiple(T unit, T min, T max) const noexcept requires unsigned_integer<T> {
        if (!is_aligned(value_, unit))
            return Error::invalid;
        return checked(min, max);
    }

    // The value, if it has no bit that known lacks; Error::invalid otherwise.
    [[nodiscard]] constexpr Result<T>
    checked_flags(T known) const noexcept requires unsigned_integer<T> {
        if ((value_ & static_cast<T>(~known)) != 0)
            return Error::invalid;
        return value_;
    }

    // For a field where each value of T is valid: a key that is looked up, or a cookie that goes
    // back as it came. Never for a size, an offset, an index or a count.
    [[nodiscard]] constexpr T any_value() const noexcept { return value_; }

private:
    T value_;
};

// Length bytes from offset on, which within() has found to be within a limit. May be empty.
class Range {
public:
    [[nodiscard]] constexpr u64 offset() const noexcept { return offset_; }
    [[nodiscard]] constexpr u64 length() const noexcept { return length_; }
    [[nodiscard]] constexpr u64 end() const noexcept { return offset_ + length_; }

private:
    constexpr Range(u64 offset, u64 length) noexcept : offset_(offset), length_(length) {}
    friend constexpr Result<Range> within(u64 offset, u64 length, u64 limit) noexcept;

    u64 offset_;
    u64 length_;
};

// The range, if offset + length <= limit without an overflow; Error::invalid otherwise.
[[nodiscard]] constexpr Result<Range> within(u64 offset, u64 length, u64 limit) noexcept {
    if (offset > limit || length > limit - offset)
        return Error::invalid;
    return Range(offset, length);
}

[[nodiscard]] constexpr Result<Range> within(Untrusted<u64> offset, Untrusted<u64> length,
                                             u64 limit) noexcept {
    const Result<u64> first = offset.checked(0, limit);
    if (!first.ok())
        return first.error();
    const Result<u64> count = length.checked(0, limit - *first);
    if (!count.ok())
        return count.error();
    return within(*first, *count, limit);
}

} // namespace stm::runtime
