// SPDX-License-Identifier: LGPL-2.1-or-later
// A bank: "transfer FROM TO AMOUNT" moves money, "transfer" tells how much there is of it. However
// many of these programs run at once, and whichever of them is killed, no money is lost or made.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <stm/stm.hpp>

struct bank {
    stm::var<bool> is_open;
    stm::var<long> accounts[100];
};

int main(int argc, char** argv) try {
    auto region = stm::region::create("money", 65536);
    bank& b = region.root<bank>();
    stm::atomically(region, [&](stm::transaction& tx) {
        for (auto& account : b.accounts)
            if (!tx[b.is_open])
                tx[account] = 1000;
        tx[b.is_open] = true;
    });
    if (argc == 4)
        stm::atomically(region, [&](stm::transaction& tx) {
            const long amount = std::atol(argv[3]);
            auto from = tx[b.accounts[std::atol(argv[1]) % 100]];
            if (from < amount)
                throw std::runtime_error("there is not so much money"); // nothing has happened
            from -= amount;
            tx[b.accounts[std::atol(argv[2]) % 100]] += amount;
        });
    std::printf("all money: %ld\n", stm::read_only(region, [&](stm::read_transaction& tx) {
                    long sum = 0;
                    for (auto& account : b.accounts)
                        sum += tx[account];
                    return sum;
                }));
} catch (const std::exception& error) {
    std::fprintf(stderr, "transfer: %s\n", error.what());
    return 1;
}
