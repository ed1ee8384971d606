// SPDX-License-Identifier: LGPL-2.1-or-later
// A vector in a region.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <stm/detail/range.hpp>
#include <stm/transaction.hpp>
#include <stm/var.hpp>

namespace stm {

/**
 * Values in a row. It lies in a region; zero bytes are an empty one. Every function takes the
 * transaction. A function that makes it longer may throw std::bad_alloc. An element that is not
 * there throws std::out_of_range.
 *
 * Its size is one variable. So transactions that make it longer conflict with all others that use
 * it.
 */
template <shareable T>
class vector {
public:
    using value_type = T;
    using size_type = std::uint64_t;

    vector() = default;

    [[nodiscard]] size_type size(const read_transaction& tx) const { return tx[size_]; }
    [[nodiscard]] bool empty(const read_transaction& tx) const { return size(tx) == 0; }
    [[nodiscard]] size_type capacity(const read_transaction& tx) const { return tx[capacity_]; }

    /** The element's variable: tx[v.at(tx, 3)] += 1. */
    [[nodiscard]] var<T>& at(const read_transaction& tx, size_type index) {
        require(tx, index);
        return place(tx, index);
    }
    [[nodiscard]] const var<T>& at(const read_transaction& tx, size_type index) const {
        require(tx, index);
        return place(tx, index);
    }
    [[nodiscard]] T get(const read_transaction& tx, size_type index) const {
        return tx[at(tx, index)];
    }
    void set(const transaction& tx, size_type index, const T& value) { tx[at(tx, index)] = value; }
    [[nodiscard]] T front(const read_transaction& tx) const { return get(tx, 0); }
    [[nodiscard]] T back(const read_transaction& tx) const { return get(tx, size(tx) - 1); }

    void push_back(const transaction& tx, const T& value) {
        const size_type size = tx[size_];
        make_room(tx, size + 1);
        tx[place(tx, size)] = value;
        tx[size_] = size + 1;
    }
    void pop_back(const transaction& tx) {
        const size_type size = tx[size_];
        require(tx, size - 1);
        tx[size_] = size - 1;
    }
    /** Before the element of that index, or at the end. */
    void insert(const transaction& tx, size_type index, const T& value) {
        const size_type size = tx[size_];
        if (index > size)
            throw std::out_of_range("stm::vector");
        make_room(tx, size + 1);
        for (size_type i = size; i > index; --i)
            tx[place(tx, i)] = tx[place(tx, i - 1)];
        tx[place(tx, index)] = value;
        tx[size_] = size + 1;
    }
    void erase(const transaction& tx, size_type index) {
        require(tx, index);
        const size_type size = tx[size_];
        for (size_type i = index; i + 1 < size; ++i)
            tx[place(tx, i)] = tx[place(tx, i + 1)];
        tx[size_] = size - 1;
    }
    void resize(const transaction& tx, size_type size, const T& value = T()) {
        make_room(tx, size);
        for (size_type i = tx[size_]; i < size; ++i)
            tx[place(tx, i)] = value;
        tx[size_] = size;
    }
    void reserve(const transaction& tx, size_type capacity) {
        if (capacity > tx[capacity_])
            move_to(tx, capacity);
    }
    /** Frees its elements, too. */
    void clear(const transaction& tx) {
        tx.in(*this).destroy(tx[data_].get());
        tx[data_] = nullptr;
        tx[size_] = 0;
        tx[capacity_] = 0;
    }

    /** for (T x : v.in(tx)): its elements, as far as they are there when their turn comes. */
    [[nodiscard]] auto in(const read_transaction& tx) const {
        return detail::range<cursor, T>(cursor{tx, this});
    }

private:
    struct cursor {
        bool advance(T& entry) {
            if (next >= all->size(tx))
                return false;
            entry = tx[all->place(tx, next++)];
            return true;
        }
        read_transaction tx;
        const vector* all;
        size_type next = 0;
    };

    void require(const read_transaction& tx, size_type index) const {
        if (index >= tx[size_])
            throw std::out_of_range("stm::vector");
    }
    [[nodiscard]] var<T>& place(const read_transaction& tx, size_type index) const {
        return tx.in(*this)[tx.load(data_) + index];
    }
    void make_room(const transaction& tx, size_type size) {
        if (const size_type capacity = tx[capacity_]; size > capacity)
            move_to(tx, std::max({size, 2 * capacity, size_type{4}}));
    }
    void move_to(const transaction& tx, size_type capacity) {
        const transaction at = tx.in(*this);
        const ptr<var<T>> from = tx[data_];
        const ptr<var<T>> to(at.allocate(capacity * sizeof(T), alignof(T)));
        constexpr size_type bytes = 1024;
        std::array<std::byte, bytes> some;
        const size_type all = tx[size_] * sizeof(T);
        for (size_type done = 0; done < all; done += bytes) {
            const std::span part(some.data(), std::min(bytes, all - done));
            at.load(from.offset() + done, part);
            at.store(to.offset() + done, part);
        }
        at.destroy(from);
        tx[data_] = to;
        tx[capacity_] = capacity;
    }

    var<ptr<var<T>>> data_;
    var<size_type> size_;
    var<size_type> capacity_;
};

} // namespace stm
