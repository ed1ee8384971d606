// SPDX-License-Identifier: LGPL-2.1-or-later
// What can lie in a region: variables of transactions, and pointers between them.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional> // IWYU pragma: keep, for reference_wrapper
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace stm {

namespace detail {

// Types that are, or hold, an address of this process. A structure with a pointer as a member
// cannot be told from others: it compiles, and means nothing in another process.
template <typename T>
inline constexpr bool holds_address = std::is_pointer_v<T> || std::is_member_pointer_v<T> ||
                                      std::is_null_pointer_v<T> || std::is_reference_v<T>;
template <typename T>
inline constexpr bool holds_address<const T> = holds_address<T>;
template <typename T, std::size_t N>
inline constexpr bool holds_address<T[N]> = holds_address<T>;
template <typename T, std::size_t N>
inline constexpr bool holds_address<std::array<T, N>> = holds_address<T>;
template <typename T>
inline constexpr bool holds_address<std::optional<T>> = holds_address<T>;
template <typename T, std::size_t N>
inline constexpr bool holds_address<std::span<T, N>> = true;
template <typename C, typename Traits>
inline constexpr bool holds_address<std::basic_string_view<C, Traits>> = true;
template <typename T>
inline constexpr bool holds_address<std::reference_wrapper<T>> = true;

} // namespace detail

/** A type whose bytes are all of it, in whichever process: what a var holds. */
template <typename T>
concept shareable = std::is_trivially_copyable_v<T> && std::is_object_v<T> &&
    std::is_same_v<T, std::remove_cv_t<T>> && !detail::holds_address<T>;

/**
 * A variable in a region
 *
 * It is as large as a T, and is used by way of a transaction: tx[x], tx[x] = value, tx[x] += 1.
 * What the program sees of a region is mapped for reading only, so nothing else can change it.
 *
 * A var in private memory is only good for being copied into a region, by transaction::make().
 */
template <typename T>
class var {
    static_assert(!detail::holds_address<T>,
                  "stm::var: an address means nothing in another process; use stm::ptr");
    static_assert(!std::is_array_v<T>, "stm::var: use an array of var, or a var of std::array");
    static_assert(
        std::is_trivially_copyable_v<T>,
        "stm::var: the type must be trivially copyable: no destructor, no copy constructor");
    static_assert(std::is_same_v<T, std::remove_cv_t<T>>,
                  "stm::var: the type is const or volatile");

public:
    using value_type = T;

    constexpr var() noexcept requires std::is_default_constructible_v<T> : value_{} {}
    template <typename U = T>
    requires(!std::is_same_v<std::remove_cvref_t<U>, var> &&
             std::is_convertible_v<U, T>) constexpr var(U&& first)
        : value_(static_cast<T>(std::forward<U>(first))) {}
    var(const var&) = delete;
    var& operator=(const var&) = delete;

    /** The committed value, outside of transactions: no part of any, and perhaps torn if T has more
     * than eight bytes. */
    [[nodiscard]] T unsafe_load() const noexcept {
        T value = value_;
        if constexpr (sizeof(T) == 1 || sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8)
            if (alignof(T) == sizeof(T))
                __atomic_load(&value_, &value, __ATOMIC_ACQUIRE);
        return value;
    }

private:
    T value_;
};

/**
 * A pointer that lies in a region, and points into it
 *
 * It is an offset, so every process may map the region elsewhere. tx[p] is the object that it
 * points to; the null pointer is zero bytes. Which region it points into is for the program to
 * know: that of the transaction, or what transaction::in() tells.
 */
template <typename T>
class ptr {
public:
    using element_type = T;

    constexpr ptr() noexcept = default;
    constexpr ptr(std::nullptr_t) noexcept {}
    constexpr explicit ptr(std::uint64_t offset) noexcept : offset_(offset) {}
    template <typename U>
    requires(std::is_same_v<const U, T>) constexpr ptr(ptr<U> other) noexcept
        : offset_(other.offset()) {}

    [[nodiscard]] constexpr std::uint64_t offset() const noexcept { return offset_; }
    constexpr explicit operator bool() const noexcept { return offset_ != 0; }
    friend constexpr bool operator==(const ptr&, const ptr&) noexcept = default;
    friend constexpr auto operator<=>(const ptr&, const ptr&) noexcept = default;

    /** Elements of an array. */
    friend constexpr ptr operator+(ptr p, std::uint64_t n) noexcept {
        return ptr(p.offset_ + n * sizeof(T));
    }

private:
    std::uint64_t offset_ = 0;
};

} // namespace stm
