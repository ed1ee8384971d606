// SPDX-License-Identifier: GPL-2.0
// The header and the nodes that the list and the tree have in common. A node is a number from 1; 0
// is none. Node n is at 64 * n, the header at 0. All of it is called inside of a transaction.
#pragma once

#include "tests/storm/access.hpp"

namespace stm::storm::nodes {

inline constexpr std::uint64_t kFirst = 0; // of the list, or root of the tree
inline constexpr std::uint64_t kFree = 8;
inline constexpr std::uint64_t kCount = 16;
inline constexpr std::uint64_t kSum = 24;
inline constexpr std::uint64_t kMostKeys = 200;

inline std::uint64_t key_of(std::uint64_t node) {
    return 64 * node;
}
/** The list's next, the tree's left child, and the next of the free ones. */
inline std::uint64_t next_of(std::uint64_t node) {
    return 64 * node + 8;
}
inline std::uint64_t right_of(std::uint64_t node) {
    return 64 * node + 16;
}

inline void make(Access& access, std::uint64_t nodes) {
    access.store(kFirst, 0);
    access.store(kFree, 1);
    access.store(kCount, 0);
    access.store(kSum, 0);
    for (std::uint64_t node = 1; node <= nodes; ++node)
        access.store(next_of(node), node < nodes ? node + 1 : 0);
}

/** A free node with this key and no children; 0: none is left. */
inline std::uint64_t take(Access& access, std::uint64_t key) {
    const std::uint64_t node = access.load(kFree);
    if (node == 0)
        return 0;
    access.store(kFree, access.load(next_of(node)));
    access.store(key_of(node), key);
    access.store(next_of(node), 0);
    access.store(right_of(node), 0);
    return node;
}

inline void give_back(Access& access, std::uint64_t node) {
    access.store(next_of(node), access.load(kFree));
    access.store(kFree, node);
}

inline void count(Access& access, std::uint64_t by, std::uint64_t key) {
    access.store(kCount, access.load(kCount) + by);
    access.store(kSum, access.load(kSum) + by * key);
}

/** The nodes in use, their keys' sum, and the free ones must be what the header says. */
inline void audit(Access& access, std::uint64_t nodes, std::uint64_t used, std::uint64_t sum) {
    const std::uint64_t count = access.load(kCount);
    if (used != count)
        access.fail("not as many nodes as counted", used, count);
    if (sum != access.load(kSum))
        access.fail("the sum of the keys is wrong", sum, access.load(kSum));
    std::uint64_t free = 0;
    for (std::uint64_t node = access.load(kFree); node != 0 && free <= nodes;
         node = access.load(next_of(node)))
        ++free;
    if (free + used != nodes)
        access.fail("nodes are lost or in two places", free + used, nodes);
}

} // namespace stm::storm::nodes
