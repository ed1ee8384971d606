// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/nodes.hpp"
#include "tests/storm/structures.hpp"

#include <array>

namespace stm::storm {

namespace {

using nodes::key_of;
using nodes::next_of; // the left child
using nodes::right_of;

/** Where the number of the node with this key is kept, or would be. */
std::uint64_t find(Access& access, std::uint64_t key) {
    std::uint64_t link = nodes::kFirst;
    for (std::uint64_t steps = 0; steps <= Tree::kNodes; ++steps) {
        const std::uint64_t node = access.load(link);
        if (node == 0)
            return link;
        const std::uint64_t here = access.load(key_of(node));
        if (here == key)
            return link;
        link = key < here ? next_of(node) : right_of(node);
    }
    access.fail("the tree has no end");
    return link;
}

void take_out(Access& access, std::uint64_t link, std::uint64_t node) {
    const std::uint64_t left = access.load(next_of(node));
    const std::uint64_t right = access.load(right_of(node));
    if (left == 0 || right == 0) {
        access.store(link, left == 0 ? right : left);
        nodes::give_back(access, node);
        return;
    }
    // The next larger key takes its place.
    std::uint64_t least_link = right_of(node);
    std::uint64_t least = right;
    for (std::uint64_t steps = 0; steps <= Tree::kNodes; ++steps) {
        const std::uint64_t smaller = access.load(next_of(least));
        if (smaller == 0)
            break;
        least_link = next_of(least);
        least = smaller;
    }
    access.store(key_of(node), access.load(key_of(least)));
    access.store(least_link, access.load(right_of(least)));
    nodes::give_back(access, least);
}

} // namespace

void Tree::make(Access& access) const {
    access.atomically([&] { nodes::make(access, kNodes); });
}

void Tree::change(Access& access, Random& random, bool broken) const {
    const std::uint64_t key = 1 + random.below(nodes::kMostKeys);
    const bool add = random.one_in(2);
    std::uint64_t by = 0;
    access.atomically([&] {
        by = 0;
        const std::uint64_t link = find(access, key);
        const std::uint64_t node = access.load(link);
        if (add && node == 0) {
            const std::uint64_t added = nodes::take(access, key);
            if (added == 0)
                return;
            access.store(link, added);
            by = 1;
        } else if (!add && node != 0) {
            take_out(access, link, node);
            by = ~std::uint64_t{0};
        }
        if (!broken)
            nodes::count(access, by, key);
    });
    if (broken)
        access.atomically([&] { nodes::count(access, by, key); });
}

void Tree::audit(Access& access) const {
    thread_local std::array<std::uint64_t, kNodes + 2> path;
    access.atomically([&] {
        std::size_t depth = 0;
        std::uint64_t used = 0;
        std::uint64_t sum = 0;
        std::uint64_t last = 0;
        std::uint64_t node = access.load(nodes::kFirst);
        while (node != 0 || depth != 0) {
            while (node != 0 && depth < path.size()) {
                path[depth++] = node;
                node = access.load(next_of(node));
            }
            if (depth == path.size() || used > kNodes) {
                access.fail("the tree has no end");
                return;
            }
            node = path[--depth];
            const std::uint64_t key = access.load(key_of(node));
            if (key <= last)
                access.fail("the tree is not sorted", key, last);
            last = key;
            sum += key;
            ++used;
            node = access.load(right_of(node));
        }
        nodes::audit(access, kNodes, used, sum);
    });
}

} // namespace stm::storm
