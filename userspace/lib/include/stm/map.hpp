// SPDX-License-Identifier: LGPL-2.1-or-later
// An ordered map in a region.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <stm/detail/counter.hpp>
#include <stm/detail/range.hpp>
#include <stm/transaction.hpp>
#include <stm/var.hpp>

namespace stm {

/**
 * Keys in their order, with values. It lies in a region; zero bytes are an empty one. Every
 * function takes the transaction.
 *
 * It is a treap (Seidel and Aragon 1996): a search tree by the keys, a heap by numbers that look
 * random. A node's number is made of its place, so it need not be stored. An update changes two or
 * three links on average, and nothing on its way there.
 */
template <shareable Key, shareable T, typename Compare = std::less<Key>>
class map {
public:
    using key_type = Key;
    using mapped_type = T;
    using size_type = std::uint64_t;
    using value_type = detail::entry<Key, T>;

    map() = default;

    [[nodiscard]] std::optional<T> find(const read_transaction& tx, const Key& key) const {
        const ptr<node> found = node_of(tx, key);
        return found == nullptr ? std::nullopt
                                : std::optional<T>(tx.load(tx.in(*this)[found].value));
    }
    [[nodiscard]] bool contains(const read_transaction& tx, const Key& key) const {
        return node_of(tx, key) != nullptr;
    }
    /** The variable of a key: tx[m.at(tx, key)] += 1. Throws std::out_of_range if it is missing. */
    [[nodiscard]] var<T>& at(const read_transaction& tx, const Key& key) {
        return tx.in(*this)[existing(tx, key)].value;
    }
    [[nodiscard]] const var<T>& at(const read_transaction& tx, const Key& key) const {
        return tx.in(*this)[existing(tx, key)].value;
    }

    /** Whether it was inserted: not if the key is there already. */
    bool insert(const transaction& tx, const Key& key, const T& value) {
        if (contains(tx, key))
            return false;
        link(tx.in(*this), key, value);
        return true;
    }
    /** Whether it was inserted, and not assigned. */
    bool insert_or_assign(const transaction& tx, const Key& key, const T& value) {
        const transaction at = tx.in(*this);
        const ptr<node> found = node_of(tx, key);
        if (found == nullptr)
            link(at, key, value);
        else
            tx[at[found].value] = value;
        return found == nullptr;
    }
    /** Whether the key was there. */
    bool erase(const transaction& tx, const Key& key) {
        const transaction at = tx.in(*this);
        var<ptr<node>>* place = &root_;
        ptr<node> found = tx[root_];
        while (found != nullptr) {
            const step now = at.template load<step>(found.offset());
            const bool before = Compare()(key, now.key);
            if (!before && !Compare()(now.key, key)) {
                join(at, *place, now.child[0], now.child[1]);
                at.destroy(found);
                count_.add(at, -std::uint64_t{1});
                return true;
            }
            place = &at[found].child[before ? 0 : 1];
            found = now.child[before ? 0 : 1];
        }
        return false;
    }
    void clear(const transaction& tx) {
        const transaction at = tx.in(*this);
        const ptr<node> root = tx[root_];
        tx[root_] = nullptr;
        free_below(at, root);
        count_.clear(at);
    }

    [[nodiscard]] bool empty(const read_transaction& tx) const { return tx[root_] == nullptr; }
    /** Conflicts with all who insert or erase. */
    [[nodiscard]] size_type size(const read_transaction& tx) const {
        return count_.sum(tx.in(*this));
    }

    /** The first entry whose key is not less than this one; or greater than it. */
    [[nodiscard]] std::optional<value_type> lower_bound(const read_transaction& tx,
                                                        const Key& key) const {
        return first_that(tx, [&](const Key& other) { return !Compare()(other, key); });
    }
    [[nodiscard]] std::optional<value_type> upper_bound(const read_transaction& tx,
                                                        const Key& key) const {
        return first_that(tx, [&](const Key& other) { return Compare()(key, other); });
    }
    /** for (auto [key, value] : m.in(tx)): all entries, in order. The body may change the map. */
    [[nodiscard]] auto in(const read_transaction& tx) const {
        return detail::range<cursor, value_type>(cursor{tx, this, std::nullopt});
    }

private:
    struct node {
        node(const Key& k, const T& v) : key(k), value(v) {}
        var<ptr<node>> child[2];
        var<Key> key;
        var<T> value;
    };
    // The beginning of a node: what a search needs of it, in one load.
    struct step {
        ptr<node> child[2];
        Key key;
    };
    struct cursor {
        bool advance(value_type& entry) {
            const auto next = last ? all->upper_bound(tx, *last)
                                   : all->first_that(tx, [](const Key&) { return true; });
            if (next) {
                entry = *next;
                last = next->key;
            }
            return next.has_value();
        }
        read_transaction tx;
        const map* all;
        std::optional<Key> last;
    };

    static std::uint64_t priority(ptr<node> p) { return detail::mix(p.offset()); }

    [[nodiscard]] ptr<node> node_of(const read_transaction& tx, const Key& key) const {
        const read_transaction at = tx.in(*this);
        ptr<node> found = tx.load(root_);
        while (found != nullptr) {
            const step now = at.template load<step>(found.offset());
            if (Compare()(key, now.key))
                found = now.child[0];
            else if (Compare()(now.key, key))
                found = now.child[1];
            else
                break;
        }
        return found;
    }
    [[nodiscard]] ptr<node> existing(const read_transaction& tx, const Key& key) const {
        const ptr<node> found = node_of(tx, key);
        if (found == nullptr)
            throw std::out_of_range("stm::map");
        return found;
    }

    /** The first entry of which this is true; it is true of all behind it. */
    template <typename Predicate>
    [[nodiscard]] std::optional<value_type> first_that(const read_transaction& tx,
                                                       Predicate predicate) const {
        const read_transaction at = tx.in(*this);
        ptr<node> best;
        ptr<node> next = tx.load(root_);
        while (next != nullptr) {
            const step now = at.template load<step>(next.offset());
            const bool holds = predicate(now.key);
            if (holds)
                best = next;
            next = now.child[holds ? 0 : 1];
        }
        if (best == nullptr)
            return std::nullopt;
        const node& found = at[best];
        return value_type{tx.load(found.key), tx.load(found.value)};
    }

    /** The key is not there. */
    void link(const transaction& at, const Key& key, const T& value) {
        const ptr<node> added = at.template make<node>(key, value);
        // Its place is above the first node that has a smaller number.
        var<ptr<node>>* place = &root_;
        ptr<node> below = at[root_];
        while (below != nullptr && priority(below) >= priority(added)) {
            const step now = at.template load<step>(below.offset());
            const int side = Compare()(key, now.key) ? 0 : 1;
            place = &at[below].child[side];
            below = now.child[side];
        }
        at[*place] = added;
        split(at, below, key, at[added]);
        count_.add(at, 1);
    }

    /** What is below goes to the two sides of a new node. */
    void split(const transaction& at, ptr<node> below, const Key& key, node& added) {
        var<ptr<node>>* ends[2] = {&added.child[0], &added.child[1]};
        while (below != nullptr) {
            const step now = at.template load<step>(below.offset());
            const int side = Compare()(now.key, key) ? 0 : 1;
            at[*ends[side]] = below;
            ends[side] = &at[below].child[1 - side];
            below = now.child[1 - side];
        }
        at[*ends[0]] = nullptr;
        at[*ends[1]] = nullptr;
    }

    /** What was below a node on its two sides takes its place. */
    void join(const transaction& at, var<ptr<node>>& place, ptr<node> left, ptr<node> right) {
        var<ptr<node>>* end = &place;
        while (left != nullptr && right != nullptr) {
            const bool left_first = priority(left) > priority(right);
            ptr<node>& upper = left_first ? left : right;
            at[*end] = upper;
            end = &at[upper].child[left_first ? 1 : 0];
            upper = at[*end];
        }
        at[*end] = left != nullptr ? left : right;
    }

    void free_below(const transaction& at, ptr<node> top) {
        if (top == nullptr)
            return;
        const step now = at.template load<step>(top.offset());
        free_below(at, now.child[0]);
        free_below(at, now.child[1]);
        at.destroy(top);
    }

    var<ptr<node>> root_;
    detail::lazy_counter count_;
};

} // namespace stm
