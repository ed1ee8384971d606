// SPDX-License-Identifier: LGPL-2.1-or-later
// A queue in a region, whose readers can wait.
#pragma once

#include <cstdint>
#include <optional>
#include <stm/transaction.hpp>
#include <stm/var.hpp>

namespace stm {

/**
 * First in, first out. It lies in a region; zero bytes are an empty one. Every function takes the
 * transaction. While it is not empty, those who push do not conflict with those who pop, because
 * either end has a stripe of its own.
 */
template <shareable T>
class queue {
public:
    using value_type = T;
    using size_type = std::uint64_t;

    queue() = default;

    void push(const transaction& tx, const T& value) {
        const transaction at = tx.in(*this);
        const ptr<node> added = at.template make<node>(nullptr, value);
        const ptr<node> last = tx[back_.node];
        if (last == nullptr) {
            // The node before the first one: it has no value, and is there from now on.
            const ptr<node> before = at.template make<node>(added, value);
            tx[front_.node] = before;
        } else {
            tx[at[last].next] = added;
        }
        tx[back_.node] = added;
        ++tx[back_.count];
    }

    /** Waits until there is something. */
    [[nodiscard]] T pop(const transaction& tx) {
        if (const std::optional<T> first = try_pop(tx))
            return *first;
        tx.retry();
    }
    [[nodiscard]] std::optional<T> try_pop(const transaction& tx) {
        const ptr<node> first = first_of(tx);
        if (first == nullptr)
            return std::nullopt;
        const transaction at = tx.in(*this);
        const T value = tx[at[first].value];
        // It is the node before the first one from now on.
        at.destroy(tx[front_.node].get());
        tx[front_.node] = first;
        ++tx[front_.count];
        return value;
    }
    [[nodiscard]] std::optional<T> front(const read_transaction& tx) const {
        const ptr<node> first = first_of(tx);
        return first == nullptr ? std::nullopt
                                : std::optional<T>(tx.load(tx.in(*this)[first].value));
    }

    [[nodiscard]] bool empty(const read_transaction& tx) const { return first_of(tx) == nullptr; }
    /** Conflicts with those who push and with those who pop. */
    [[nodiscard]] size_type size(const read_transaction& tx) const {
        return tx[back_.count] - tx[front_.count];
    }
    void clear(const transaction& tx) {
        const transaction at = tx.in(*this);
        ptr<node> next = tx[front_.node];
        while (next != nullptr) {
            const ptr<node> gone = next;
            next = tx[at[gone].next];
            at.destroy(gone);
        }
        tx[front_.node] = nullptr;
        tx[back_.node] = nullptr;
        tx[front_.count] = tx[back_.count];
    }

private:
    struct node {
        var<ptr<node>> next;
        var<T> value;
    };
    // Invariants: both are null, or there is a way from the front's node to the back's.
    struct alignas(64) end {
        var<ptr<queue::node>> node;
        var<size_type> count; // values that have passed
    };

    [[nodiscard]] ptr<node> first_of(const read_transaction& tx) const {
        const ptr<node> before = tx.load(front_.node);
        return before == nullptr ? before : tx.load(tx.in(*this)[before].next);
    }

    end front_;
    end back_;
};

} // namespace stm
