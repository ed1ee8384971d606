// SPDX-License-Identifier: LGPL-2.1-or-later
// What a function returns that can fail: a value or an Error.
//
//     Result<Range> range = within(offset, length, limit);
//     if (!range.ok())
//         return range.error();
//     use(range->offset());
//
// Invariants: a Result is looked at (it is [[nodiscard]]), and ok() is asked before value() or
// error(). Success is explicit: a Result has no default, and only kSuccess makes a Status a
// success. Access to a value or an error that is not there panics.
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/error.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

struct Success {};
inline constexpr Success kSuccess{};

namespace detail {

constexpr i32 checked_error_number(Error error) noexcept {
    expects(static_cast<i32>(error) > 0, "Result: an error must have a positive number");
    return static_cast<i32>(error);
}

// error_ is 0 if and only if value_ is alive. This storage is for trivially copyable values, and
// trivially copyable itself, so a small Result is returned in registers.
template <typename T, bool kTrivial = trivially_copyable<T>>
class ResultStorage {
protected:
    constexpr explicit ResultStorage(Error error) noexcept
        : none_(), error_(checked_error_number(error)) {}
    template <typename U>
    constexpr ResultStorage(Success, U&& value) noexcept
        : value_(runtime::forward<U>(value)), error_(0) {}

    union {
        char none_;
        T value_;
    };
    i32 error_;
};

template <typename T>
class ResultStorage<T, false> {
public:
    ResultStorage(ResultStorage&& other) noexcept : none_(), error_(other.error_) {
        if (error_ == 0)
            runtime::construct_at<T>(runtime::addressof(value_), runtime::move(other.value_));
    }
    ResultStorage& operator=(ResultStorage&&) = delete;
    ~ResultStorage() {
        if (error_ == 0)
            value_.~T();
    }

protected:
    explicit ResultStorage(Error error) noexcept : none_(), error_(checked_error_number(error)) {}
    template <typename U>
    ResultStorage(Success, U&& value) noexcept : value_(runtime::forward<U>(value)), error_(0) {}

    union {
        char none_;
        T value_;
    };
    i32 error_;
};

} // namespace detail

// After a move a Result still holds a (moved-from) value or the error.
template <typename T>
class [[nodiscard]] Result : private detail::ResultStorage<T> {
    using Storage = detail::ResultStorage<T>;
    static_assert(!reference<T>, "return a pointer or a Ref instead of a reference");
    static_assert(!same_as<T, Error>, "a value that is an Error could not be told from a failure");

public:
    using Value = T;

    // Implicit, so a function can return either a value or an Error.
    constexpr Result(Error error) noexcept : Storage(error) {}
    template <typename U = T>
    requires convertible_to<U, T> &&
        (!one_of<RemoveConstReference<U>, Error, Result, Success>)constexpr Result(
            U&& value) noexcept
        : Storage(kSuccess, runtime::forward<U>(value)) {}

    [[nodiscard]] constexpr bool ok() const noexcept { return this->error_ == 0; }

    [[nodiscard]] constexpr Error error() const noexcept {
        expects(!ok(), "Result: error() of a success");
        return static_cast<Error>(this->error_);
    }

    [[nodiscard]] constexpr T& value() & noexcept {
        expects(ok(), "Result: value() of a failure");
        return this->value_;
    }
    [[nodiscard]] constexpr const T& value() const& noexcept {
        expects(ok(), "Result: value() of a failure");
        return this->value_;
    }
    // By value, so no reference into a dying Result remains.
    [[nodiscard]] constexpr T value() && noexcept {
        expects(ok(), "Result: value() of a failure");
        return runtime::move(this->value_);
    }

    [[nodiscard]] constexpr T& operator*() & noexcept { return value(); }
    [[nodiscard]] constexpr const T& operator*() const& noexcept { return value(); }
    [[nodiscard]] constexpr T operator*() && noexcept { return runtime::move(*this).value(); }
    [[nodiscard]] constexpr T* operator->() noexcept { return runtime::addressof(value()); }
    [[nodiscard]] constexpr const T* operator->() const noexcept {
        return runtime::addressof(value());
    }
};

template <>
class [[nodiscard]] Result<void> {
public:
    using Value = void;

    constexpr Result(Error error) noexcept : error_(detail::checked_error_number(error)) {}
    constexpr Result(Success) noexcept : error_(0) {}

    [[nodiscard]] constexpr bool ok() const noexcept { return error_ == 0; }

    [[nodiscard]] constexpr Error error() const noexcept {
        expects(!ok(), "Status: error() of a success");
        return static_cast<Error>(error_);
    }

private:
    i32 error_;
};

using Status = Result<void>;

// From a C function's result, which is 0 or a negative errno value. Any other number panics.
[[nodiscard]] constexpr Status status_from_errno(i64 result) noexcept {
    if (result == 0)
        return kSuccess;
    return from_errno(result);
}

// The reverse: 0 or a negative errno value.
[[nodiscard]] constexpr i32 to_errno(Status status) noexcept {
    return status.ok() ? 0 : to_errno(status.error());
}

} // namespace stm::runtime
