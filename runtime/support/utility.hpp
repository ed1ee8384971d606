// SPDX-License-Identifier: LGPL-2.1-or-later
// The few general helpers and type traits that the rest needs, in place of <utility>, <algorithm>
// and <type_traits>.
//
// Invariant: generic code calls them with their namespace (runtime::move). An unqualified call
// would also find functions of that name beside the argument's type, such as those of std.
#pragma once

#include "runtime/support/types.hpp"

namespace stm::runtime {

namespace detail {

template <typename T>
struct RemoveReference {
    using Type = T;
};
template <typename T>
struct RemoveReference<T&> {
    using Type = T;
};
template <typename T>
struct RemoveReference<T&&> {
    using Type = T;
};

template <typename T>
struct RemoveConst {
    using Type = T;
};
template <typename T>
struct RemoveConst<const T> {
    using Type = T;
};

template <typename A, typename B>
inline constexpr bool kSame = false;
template <typename T>
inline constexpr bool kSame<T, T> = true;

template <typename T>
inline constexpr bool kPointer = false;
template <typename T>
inline constexpr bool kPointer<T*> = true;

template <typename T>
inline constexpr bool kLvalueReference = false;
template <typename T>
inline constexpr bool kLvalueReference<T&> = true;

template <typename From, typename To>
inline constexpr bool kConvertible = requires(void (&take)(To), From&& from) {
    take(static_cast<From&&>(from));
};

} // namespace detail

template <typename T>
using RemoveReference = typename detail::RemoveReference<T>::Type;
template <typename T>
using RemoveConst = typename detail::RemoveConst<T>::Type;
template <typename T>
using RemoveConstReference = RemoveConst<RemoveReference<T>>;

template <typename A, typename B>
concept same_as = detail::kSame<A, B>;

template <typename T, typename... Candidates>
concept one_of = (same_as<T, Candidates> || ...);

// The integers for arithmetic: neither bool nor a character type.
template <typename T>
concept unsigned_integer =
    one_of<T, unsigned char, unsigned short, unsigned int, unsigned long, unsigned long long>;
template <typename T>
concept signed_integer = one_of<T, signed char, short, int, long, long long>;
template <typename T>
concept integer = unsigned_integer<T> || signed_integer<T>;

template <typename T>
concept enumeration = __is_enum(T);
template <typename T>
concept pointer = detail::kPointer<T>;
template <typename T>
concept trivially_copyable = __is_trivially_copyable(T);
// g++ 12 knows only the second of these, and clang warns of it.
#if __has_builtin(__is_trivially_destructible)
template <typename T>
concept trivially_destructible = __is_trivially_destructible(T);
#else
template <typename T>
concept trivially_destructible = __has_trivial_destructor(T);
#endif
template <typename T>
concept reference = !same_as<T, RemoveReference<T>>;
template <typename From, typename To>
concept convertible_to = detail::kConvertible<From, To>;
template <typename T, typename... Arguments>
concept constructible_from = __is_constructible(T, Arguments...);
template <typename T, typename Base>
concept derived_from = __is_base_of(Base, T);

template <typename T>
[[nodiscard]] constexpr RemoveReference<T>&& move(T&& value) noexcept {
    return static_cast<RemoveReference<T>&&>(value);
}

template <typename T>
[[nodiscard]] constexpr T&& forward(RemoveReference<T>& value) noexcept {
    return static_cast<T&&>(value);
}
template <typename T>
[[nodiscard]] constexpr T&& forward(RemoveReference<T>&& value) noexcept {
    static_assert(!detail::kLvalueReference<T>, "an rvalue cannot be forwarded as an lvalue");
    return static_cast<T&&>(value);
}

template <typename T>
constexpr void swap(T& left, T& right) noexcept {
    T saved = runtime::move(left);
    left = runtime::move(right);
    right = runtime::move(saved);
}

// Stores the new value and returns the old one.
template <typename T, typename U = T>
[[nodiscard]] constexpr T exchange(T& target, U&& value) noexcept {
    T old = runtime::move(target);
    target = runtime::forward<U>(value);
    return old;
}

// By value, so no reference to a temporary escapes. Both arguments have one type, so no comparison
// mixes signs.
template <typename T>
requires integer<T> || enumeration<T>
[[nodiscard]] constexpr T min(T left, T right) noexcept {
    return right < left ? right : left;
}

template <typename T>
requires integer<T> || enumeration<T>
[[nodiscard]] constexpr T max(T left, T right) noexcept {
    return left < right ? right : left;
}

// The value, or the bound that it is beyond. low must not be above high.
template <typename T>
requires integer<T> || enumeration<T>
[[nodiscard]] constexpr T clamp(T value, T low, T high) noexcept {
    return runtime::min(runtime::max(value, low), high);
}

template <typename T>
[[nodiscard]] constexpr T* addressof(T& object) noexcept {
    return __builtin_addressof(object);
}
template <typename T>
const T* addressof(const T&&) = delete;

// The pointer, which is not null. Where null is an address like any other, as in the kernel, the
// compiler does not know that by itself, and looks again and again.
template <typename T>
[[nodiscard, gnu::always_inline]] constexpr T* not_null(T* pointer) noexcept {
    if (pointer == nullptr)
        __builtin_unreachable();
    return pointer;
}

// The place where operator new below puts an object. It is a type of our own, because <new> does
// not exist in the kernel, and on the host the usual placement new must not be declared twice.
struct Placement {
    void* address;
};

} // namespace stm::runtime

[[nodiscard, gnu::always_inline, gnu::returns_nonnull]] inline void*
operator new(stm::runtime::usize, stm::runtime::Placement place) noexcept {
    return stm::runtime::not_null(place.address);
}

namespace stm::runtime {

// Begins the life of a T in memory that is large enough and aligned for it.
template <typename T, typename... Arguments>
requires constructible_from<T, Arguments...> T* construct_at(void* memory,
                                                             Arguments&&... arguments) noexcept {
    return ::new (Placement{memory}) T(runtime::forward<Arguments>(arguments)...);
}

// Base of objects with an identity, which are neither copied nor moved.
class NonCopyable {
public:
    NonCopyable(const NonCopyable&) = delete;
    NonCopyable& operator=(const NonCopyable&) = delete;

protected:
    constexpr NonCopyable() = default;
    ~NonCopyable() = default;
};

} // namespace stm::runtime
