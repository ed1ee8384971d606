// SPDX-License-Identifier: LGPL-2.1-or-later
// The same stock, ported: no lock, and whoever is killed leaves nothing half done.
#include <stm/stm.hpp>

struct stock {
    stm::var<long> apples, pears;
};

static void exchange(const stm::region& region, stock& s, long count) {
    stm::atomically(region, [&](stm::transaction& tx) {
        tx[s.apples] -= count;
        tx[s.pears] += count;
    });
}

int main() {
    auto region = stm::region::create("stock", 65536);
    auto& s = region.root<stock>();
    exchange(region, s, 3);
    return stm::read_only(
        region, [&](stm::read_transaction& tx) { return tx[s.apples] + tx[s.pears] == 0 ? 0 : 1; });
}
