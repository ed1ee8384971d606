// SPDX-License-Identifier: LGPL-2.1-or-later
// A string in a region.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <stm/transaction.hpp>
#include <stm/var.hpp>
#include <string>
#include <string_view>

namespace stm {

/**
 * Characters. It lies in a region; zero bytes are an empty one. Every function takes the
 * transaction. A function that makes it longer may throw std::bad_alloc.
 */
class string {
public:
    using size_type = std::uint64_t;

    string() = default;

    [[nodiscard]] size_type size(const read_transaction& tx) const { return tx[size_]; }
    [[nodiscard]] bool empty(const read_transaction& tx) const { return size(tx) == 0; }
    /** What it is, as a string of this process. */
    [[nodiscard]] std::string str(const read_transaction& tx) const {
        std::string copy(size(tx), '\0');
        if (!copy.empty())
            tx.in(*this).load(tx.load(data_).offset(), std::span(copy));
        return copy;
    }
    [[nodiscard]] char at(const read_transaction& tx, size_type index) const {
        if (index >= size(tx))
            throw std::out_of_range("stm::string");
        return tx.in(*this).load<char>(tx.load(data_).offset() + index);
    }
    [[nodiscard]] int compare(const read_transaction& tx, std::string_view text) const {
        return str(tx).compare(text);
    }
    [[nodiscard]] bool equals(const read_transaction& tx, std::string_view text) const {
        return size(tx) == text.size() && str(tx) == text;
    }

    void assign(const transaction& tx, std::string_view text) {
        tx[size_] = 0;
        append(tx, text);
    }
    void append(const transaction& tx, std::string_view text) {
        const size_type size = tx[size_];
        const size_type longer = size + text.size();
        if (longer > tx[capacity_])
            move_to(tx, std::max<size_type>({longer, 2 * tx[capacity_], 16}));
        if (!text.empty())
            tx.in(*this).store(tx[data_].get().offset() + size, std::span(text));
        tx[size_] = longer;
    }
    void push_back(const transaction& tx, char c) { append(tx, std::string_view(&c, 1)); }
    /** Frees its memory, too. */
    void clear(const transaction& tx) {
        tx.in(*this).destroy(tx[data_].get());
        tx[data_] = nullptr;
        tx[size_] = 0;
        tx[capacity_] = 0;
    }

private:
    void move_to(const transaction& tx, size_type capacity) {
        const transaction at = tx.in(*this);
        const std::string all = str(tx);
        const ptr<var<char>> to(at.allocate(capacity, 1));
        at.store(to.offset(), std::span(all));
        at.destroy(tx[data_].get());
        tx[data_] = to;
        tx[capacity_] = capacity;
    }

    var<ptr<var<char>>> data_;
    var<size_type> size_;
    var<size_type> capacity_;
};

} // namespace stm
