// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/nodes.hpp"
#include "tests/storm/structures.hpp"

namespace stm::storm {

namespace {

using nodes::key_of;
using nodes::next_of;

/** Where the number of the first node with at least this key is kept. */
std::uint64_t find(Access& access, std::uint64_t key) {
    std::uint64_t link = nodes::kFirst;
    for (std::uint64_t steps = 0; steps <= List::kNodes; ++steps) {
        const std::uint64_t node = access.load(link);
        if (node == 0 || access.load(key_of(node)) >= key)
            return link;
        link = next_of(node);
    }
    access.fail("the list has no end");
    return link;
}

} // namespace

void List::make(Access& access) const {
    access.atomically([&] { nodes::make(access, kNodes); });
}

void List::change(Access& access, Random& random, bool broken) const {
    const std::uint64_t key = 1 + random.below(nodes::kMostKeys);
    const bool add = random.one_in(2);
    std::uint64_t by = 0;
    access.atomically([&] {
        by = 0;
        const std::uint64_t link = find(access, key);
        const std::uint64_t next = access.load(link);
        const bool found = next != 0 && access.load(key_of(next)) == key;
        if (add && !found) {
            const std::uint64_t node = nodes::take(access, key);
            if (node == 0)
                return;
            access.store(next_of(node), next);
            access.store(link, node);
            by = 1;
        } else if (!add && found) {
            access.store(link, access.load(next_of(next)));
            nodes::give_back(access, next);
            by = ~std::uint64_t{0};
        }
        if (!broken)
            nodes::count(access, by, key);
    });
    if (broken)
        access.atomically([&] { nodes::count(access, by, key); });
}

void List::audit(Access& access) const {
    access.atomically([&] {
        std::uint64_t used = 0;
        std::uint64_t sum = 0;
        std::uint64_t last = 0;
        for (std::uint64_t node = access.load(nodes::kFirst); node != 0 && used <= kNodes;
             node = access.load(next_of(node))) {
            const std::uint64_t key = access.load(key_of(node));
            if (key <= last)
                access.fail("the list is not sorted", key, last);
            last = key;
            sum += key;
            ++used;
        }
        nodes::audit(access, kNodes, used, sum);
    });
}

} // namespace stm::storm
