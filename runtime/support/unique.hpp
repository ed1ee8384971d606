// SPDX-License-Identifier: LGPL-2.1-or-later
// The only owner of an object or an array made by make() or make_array() of allocate.hpp.
//
// Invariants: the object came from stm_allocate, and is destroyed as exactly the type as which it
// was made (there is no conversion to a base).
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/host.h"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

// Destroys an object that make() made, and frees its memory. Does nothing with null.
template <typename T>
void destroy(T* object) noexcept {
    if (object == nullptr)
        return;
    object->~T();
    stm_free(object);
}

template <typename T>
class [[nodiscard]] Unique : NonCopyable {
public:
    // Owns nothing.
    constexpr Unique() noexcept = default;
    // Takes over an object that release() gave away.
    static Unique adopt(T* object) noexcept { return Unique(object); }

    Unique(Unique&& other) noexcept : object_(other.release()) {}
    Unique& operator=(Unique&& other) noexcept {
        if (this != &other)
            runtime::destroy(runtime::exchange(object_, other.release()));
        return *this;
    }
    ~Unique() { runtime::destroy(object_); }

    [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }
    [[nodiscard]] T* get() const noexcept { return object_; }
    [[nodiscard]] T& operator*() const noexcept { return *operator->(); }
    [[nodiscard]] T* operator->() const noexcept {
        expects(object_ != nullptr, "Unique: access through null");
        return object_;
    }

    // Gives the object away: the caller owns it now.
    [[nodiscard]] T* release() noexcept { return runtime::exchange(object_, nullptr); }
    void reset() noexcept { runtime::destroy(release()); }

private:
    explicit Unique(T* object) noexcept : object_(object) {}

    T* object_ = nullptr;
};

// The only owner of count objects in a row, which are freed without a destructor.
template <trivially_destructible T>
class [[nodiscard]] UniqueArray : NonCopyable {
public:
    // Owns nothing.
    constexpr UniqueArray() noexcept = default;
    // Takes over memory of stm_allocate in which count objects live.
    static UniqueArray adopt(T* objects, usize count) noexcept {
        return UniqueArray(Span<T>(objects, count));
    }

    UniqueArray(UniqueArray&& other) noexcept : span_(runtime::exchange(other.span_, Span<T>())) {}
    UniqueArray& operator=(UniqueArray&& other) noexcept {
        if (this != &other) {
            stm_free(span_.data());
            span_ = runtime::exchange(other.span_, Span<T>());
        }
        return *this;
    }
    ~UniqueArray() {
        if (span_.data() != nullptr)
            stm_free(span_.data());
    }

    // Frees nothing.
    void swap(UniqueArray& other) noexcept { runtime::swap(span_, other.span_); }

    [[nodiscard]] Span<T> span() const noexcept { return span_; }
    [[nodiscard]] T* data() const noexcept { return span_.data(); }
    [[nodiscard]] usize size() const noexcept { return span_.size(); }
    [[nodiscard]] bool empty() const noexcept { return span_.empty(); }
    [[nodiscard]] T& operator[](usize index) const noexcept { return span_[index]; }
    [[nodiscard]] T* begin() const noexcept { return span_.begin(); }
    [[nodiscard]] T* end() const noexcept { return span_.end(); }

private:
    explicit UniqueArray(Span<T> span) noexcept : span_(span) {}

    Span<T> span_;
};

} // namespace stm::runtime
