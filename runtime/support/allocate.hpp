// SPDX-License-Identifier: LGPL-2.1-or-later
// Allocation that can fail and says so. There is no operator new in the module: a plain
// new-expression does not link.
//
// Invariants: the caller may sleep. A constructor cannot fail: a factory that returns a Result does
// what can fail before it calls the constructor.
#pragma once

#include "runtime/support/checked.hpp"
#include "runtime/support/host.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

// The alignment that stm_allocate promises. A type that needs more does not compile.
inline constexpr usize kAllocationAlignment = 8;

// A new T from the arguments, or Error::no_memory.
template <typename T, typename... Arguments>
requires constructible_from<T, Arguments...>
[[nodiscard]] Result<Unique<T>> make(Arguments&&... arguments) noexcept {
    static_assert(alignof(T) <= kAllocationAlignment, "stm_allocate does not align that much");
    void* memory = stm_allocate(sizeof(T));
    if (memory == nullptr)
        return Error::no_memory;
    return Unique<T>::adopt(
        runtime::construct_at<T>(memory, runtime::forward<Arguments>(arguments)...));
}

// An array of `count` objects without any values: the caller sets what it looks at.
// Error::overflow: their size does not fit into usize. Error::no_memory: there is no memory. An
// array of no objects owns nothing.
template <trivially_destructible T>
[[nodiscard]] Result<UniqueArray<T>> make_array_to_fill(usize count) noexcept {
    static_assert(alignof(T) <= kAllocationAlignment, "stm_allocate does not align that much");
    const Result<usize> bytes = checked_mul(count, sizeof(T));
    if (!bytes.ok())
        return bytes.error();
    if (count == 0)
        return UniqueArray<T>();
    void* const memory = stm_allocate(*bytes);
    if (memory == nullptr)
        return Error::no_memory;
    return UniqueArray<T>::adopt(static_cast<T*>(memory), count);
}

// The same by T(), with zeros in all bytes that it does not set.
template <trivially_destructible T>
requires constructible_from<T>
[[nodiscard]] Result<UniqueArray<T>> make_array(usize count) noexcept {
    Result<UniqueArray<T>> made = make_array_to_fill<T>(count);
    if (!made.ok() || count == 0)
        return made;
    T* const objects = made->data();
    __builtin_memset(static_cast<void*>(objects), 0, count * sizeof(T));
    if constexpr (!__is_trivially_constructible(T)) {
        for (usize index = 0; index < count; ++index)
            runtime::construct_at<T>(objects + index);
    }
    return made;
}

} // namespace stm::runtime
