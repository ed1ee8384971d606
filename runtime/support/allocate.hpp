// SPDX-License-Identifier: LGPL-2.1-or-later
// Allocation that can fail and says so. There is no operator new in the module: a plain
// new-expression does not link.
//
// What must hold: the caller may sleep. A constructor cannot fail; what can fail during the
// creation of an object is done before it, in a factory that returns a Result.
#pragma once

#include "runtime/support/checked.hpp"
#include "runtime/support/host.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

// What stm_allocate promises. Types that need more are refused when they are compiled.
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

// Count objects as T() makes them, and zeros in all bytes that it does not set; Error::overflow if
// their size does not fit into usize, Error::no_memory if there is no memory. No objects at all are
// an array that owns nothing.
template <trivially_destructible T>
requires constructible_from<T>
[[nodiscard]] Result<UniqueArray<T>> make_array(usize count) noexcept {
    static_assert(alignof(T) <= kAllocationAlignment, "stm_allocate does not align that much");
    const Result<usize> bytes = checked_mul(count, sizeof(T));
    if (!bytes.ok())
        return bytes.error();
    if (count == 0)
        return UniqueArray<T>();
    void* memory = stm_allocate(*bytes);
    if (memory == nullptr)
        return Error::no_memory;
    __builtin_memset(memory, 0, *bytes);
    T* objects = static_cast<T*>(memory);
    if constexpr (!__is_trivially_constructible(T)) {
        for (usize index = 0; index < count; ++index)
            runtime::construct_at<T>(objects + index);
    }
    return UniqueArray<T>::adopt(objects, count);
}

} // namespace stm::runtime
