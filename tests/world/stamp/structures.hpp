// SPDX-License-Identifier: GPL-2.0
// What the applications are made of: an allocator, a map and a queue. All of it is variables and
// pointers of <stm/var.hpp>, and a transaction Tx through which they are used, whatever it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stm/var.hpp>

namespace stm::stamp {

using u64 = std::uint64_t;

/** Numbers that look random, the same for all. */
class Random {
public:
    explicit Random(u64 seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
    u64 next() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return state_;
    }
    u64 below(u64 limit) { return (next() >> 11) % limit; }

private:
    u64 state_;
};

constexpr u64 mix(u64 number) {
    number = (number ^ (number >> 31)) * 0x7fb5d329728ea185;
    return number ^ (number >> 27);
}

/**
 * Where one worker's blocks come from: a share of the memory that only this worker allocates from.
 * A block may be freed by another one, which keeps it then.
 */
struct alignas(4096) Heap {
    static constexpr std::size_t kUnit = 16;
    static constexpr std::size_t kSizes = 9;

    var<u64> next, end;
    var<ptr<var<u64>>> free[kSizes]; // of so many units; a free block begins with the next one

    template <typename T>
    static constexpr std::size_t units = (sizeof(T) + kUnit - 1) / kUnit;

    /** A block for a T, which holds anything. The memory is large enough: nobody checks. */
    template <typename T, typename Tx>
    ptr<T> allocate(Tx& tx) {
        static_assert(units<T> < kSizes);
        const ptr<var<u64>> first = tx[free[units<T>]];
        if (first) {
            const u64 following = tx[tx[first]];
            tx[free[units<T>]] = ptr<var<u64>>(following);
            return ptr<T>(first.offset());
        }
        const u64 fresh = tx[next];
        tx[next] = fresh + units<T> * kUnit;
        return ptr<T>(fresh);
    }
    template <typename T, typename Tx>
    void release(Tx& tx, ptr<T> block) {
        const ptr<var<u64>> first = tx[free[units<T>]];
        const ptr<var<u64>> mine(block.offset());
        tx[tx[mine]] = first.offset();
        tx[free[units<T>]] = mine;
    }
};

/** From numbers to Ts, which have vars as their members. A hash table with lists. */
template <typename T, std::size_t kBuckets>
struct Map {
    struct Node {
        var<u64> key;
        var<ptr<Node>> next;
        T value;
    };
    var<ptr<Node>> buckets[kBuckets];

    template <typename Tx>
    ptr<Node> find(Tx& tx, u64 key) {
        ptr<Node> node = tx[buckets[mix(key) % kBuckets]];
        while (node) {
            const u64 its_key = tx[tx[node].key];
            if (its_key == key)
                break;
            node = tx[tx[node].next];
        }
        return node;
    }
    /** A new one; its value is the caller's to fill in. There is none of this key. */
    template <typename Tx>
    ptr<Node> add(Tx& tx, Heap& heap, u64 key) {
        const ptr<Node> node = heap.allocate<Node>(tx);
        auto& bucket = buckets[mix(key) % kBuckets];
        const ptr<Node> first = tx[bucket];
        tx[tx[node].key] = key;
        tx[tx[node].next] = first;
        tx[bucket] = node;
        return node;
    }
    template <typename Tx>
    void remove(Tx& tx, Heap& heap, ptr<Node> gone) {
        const u64 key = tx[tx[gone].key];
        const ptr<Node> following = tx[tx[gone].next];
        auto* link = &buckets[mix(key) % kBuckets];
        for (;;) {
            const ptr<Node> node = tx[*link];
            if (node == gone)
                break;
            link = &tx[node].next;
        }
        tx[*link] = following;
        heap.release(tx, gone);
    }
};

/** First in, first out. */
template <typename T>
struct Queue {
    struct Node {
        var<ptr<Node>> next;
        var<T> value;
    };
    var<ptr<Node>> first, last;

    template <typename Tx>
    void push(Tx& tx, Heap& heap, T value) {
        const ptr<Node> node = heap.allocate<Node>(tx);
        tx[tx[node].value] = value;
        tx[tx[node].next] = ptr<Node>();
        const ptr<Node> before = tx[last];
        if (before)
            tx[tx[before].next] = node;
        else
            tx[first] = node;
        tx[last] = node;
    }
    /** Whether there was one. */
    template <typename Tx>
    bool pop(Tx& tx, Heap& heap, T& value) {
        const ptr<Node> node = tx[first];
        if (!node)
            return false;
        const T its_value = tx[tx[node].value];
        value = its_value;
        const ptr<Node> following = tx[tx[node].next];
        tx[first] = following;
        if (!following)
            tx[last] = ptr<Node>();
        heap.release(tx, node);
        return true;
    }
};

} // namespace stm::stamp
