// SPDX-License-Identifier: GPL-2.0
// A program with one of everything in a region. It then calls stop_here(), for a debugger; with an
// argument it aborts there.
#include <cstdlib>
#include <stm/stm.hpp>
#include <string>

namespace {

struct item {
    stm::var<long> price;
    stm::var<stm::ptr<item>> next;
};

struct shop {
    stm::var<int> doors;
    stm::var<double> rent;
    stm::var<stm::ptr<item>> items;
    stm::var<stm::ptr<item>> none;
    stm::string name;
    stm::string empty;
    stm::vector<int> hours;
    stm::map<int, long> prices;
    stm::unordered_map<long, int> stock;
    stm::queue<int> waiting;
};

} // namespace

static void stop_here([[maybe_unused]] const stm::region& region,
                      [[maybe_unused]] const shop& everything, bool dies) {
    if (dies)
        std::abort();
}

int main(int argc, char**) {
    const auto region = stm::region::create("the shop", 1 << 20);
    auto& all = region.root<shop>();
    stm::atomically(region, [&](stm::transaction& tx) {
        tx[all.doors] = 2;
        tx[all.rent] = 1200.5;
        tx[all.items] = nullptr;
        for (const long price : {30, 20, 10}) {
            const stm::ptr<item> one = tx.make<item>();
            tx[tx[one].price] = price;
            tx[tx[one].next] = tx[all.items].get();
            tx[all.items] = one;
        }
        all.name.assign(tx, "Books & more");
        all.hours.clear(tx);
        for (const int hour : {9, 12, 18})
            all.hours.push_back(tx, hour);
        for (int i = 0; i < 5; ++i)
            all.prices.insert_or_assign(tx, (i * 7) % 5, 100L * i);
        for (int i = 0; i < 3; ++i)
            all.stock.insert_or_assign(tx, 1000 + i, i);
        all.waiting.clear(tx);
        for (int i = 1; i <= 4; ++i)
            all.waiting.push(tx, i);
    });
    stop_here(region, all, argc > 1);
    return 0;
}
