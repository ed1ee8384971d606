// SPDX-License-Identifier: LGPL-2.1-or-later
// What tx[x] is: a variable and the transaction that uses it.
#pragma once

#include <stm/transaction.hpp>
#include <stm/var.hpp>

namespace stm {

/**
 * It stands for the value: it converts to a T, and can be assigned to. `auto v = tx[x]` makes
 * another reference; `T v = tx[x]` or tx[x].get() is the value. Each use is a load or a store. A
 * function that returns a reference to atomically() returns the value.
 */
template <typename T>
class reference {
public:
    [[nodiscard]] T get() const { return tx_.load(x_); }
    operator T() const { return get(); }

    const reference& operator=(const T& value) const {
        tx_.store(x_, value);
        return *this;
    }
    const reference& operator=(const reference& other) const { return *this = other.get(); }
    reference(const reference&) = default;

    template <typename U>
    const reference& operator+=(const U& by) const {
        return change([&](T& value) { value += by; });
    }
    template <typename U>
    const reference& operator-=(const U& by) const {
        return change([&](T& value) { value -= by; });
    }
    template <typename U>
    const reference& operator*=(const U& by) const {
        return change([&](T& value) { value *= by; });
    }
    template <typename U>
    const reference& operator/=(const U& by) const {
        return change([&](T& value) { value /= by; });
    }
    template <typename U>
    const reference& operator%=(const U& by) const {
        return change([&](T& value) { value %= by; });
    }
    template <typename U>
    const reference& operator&=(const U& by) const {
        return change([&](T& value) { value &= by; });
    }
    template <typename U>
    const reference& operator|=(const U& by) const {
        return change([&](T& value) { value |= by; });
    }
    template <typename U>
    const reference& operator^=(const U& by) const {
        return change([&](T& value) { value ^= by; });
    }
    template <typename U>
    const reference& operator<<=(const U& by) const {
        return change([&](T& value) { value <<= by; });
    }
    template <typename U>
    const reference& operator>>=(const U& by) const {
        return change([&](T& value) { value >>= by; });
    }
    const reference& operator++() const {
        return change([](T& value) { ++value; });
    }
    const reference& operator--() const {
        return change([](T& value) { --value; });
    }
    T operator++(int) const {
        T before = get();
        ++*this;
        return before;
    }
    T operator--(int) const {
        T before = get();
        --*this;
        return before;
    }

    friend void swap(const reference& a, const reference& b) {
        T value = a.get();
        a = b.get();
        b = value;
    }

private:
    friend class transaction;
    reference(const transaction& tx, var<T>& x) : tx_(tx), x_(x) {}

    template <typename F>
    const reference& change(F f) const {
        T value = get();
        f(value);
        return *this = value;
    }

    transaction tx_;
    var<T>& x_;
};

} // namespace stm
