// SPDX-License-Identifier: LGPL-2.1-or-later
// What a loop over a container goes through.
#pragma once

#include <cstddef>
#include <iterator>
#include <utility>

namespace stm::detail {

/**
 * A range of a cursor, which has
 *	bool advance(entry&)	the next entry, or false: there is none
 *
 * A cursor knows a place by what lies there, never by an address. So the loop's body may change the
 * container as it likes.
 */
template <typename Cursor, typename Entry>
class range {
public:
    class iterator {
    public:
        using value_type = Entry;
        using difference_type = std::ptrdiff_t;
        using iterator_category = std::input_iterator_tag;
        using reference = const Entry&;
        using pointer = const Entry*;

        explicit iterator(Cursor cursor) : cursor_(std::move(cursor)) { ++*this; }
        const Entry& operator*() const { return entry_; }
        const Entry* operator->() const { return &entry_; }
        iterator& operator++() {
            there_ = cursor_.advance(entry_);
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& at, std::default_sentinel_t) { return !at.there_; }

    private:
        Cursor cursor_;
        Entry entry_{};
        bool there_ = false;
    };

    explicit range(Cursor cursor) : cursor_(std::move(cursor)) {}
    [[nodiscard]] iterator begin() const { return iterator(cursor_); }
    [[nodiscard]] std::default_sentinel_t end() const { return {}; }

private:
    Cursor cursor_;
};

/** A key and its value, as a loop over a map gets them. */
template <typename Key, typename T>
struct entry {
    Key key{};
    T value{};
};

} // namespace stm::detail
