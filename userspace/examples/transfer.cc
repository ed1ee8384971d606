// SPDX-License-Identifier: LGPL-2.1-or-later
// Money between accounts: "transfer FROM TO AMOUNT". However many of these programs run at once,
// and whichever of them is killed: the sum of all accounts is zero.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <stm/stm.hpp>

struct bank {
    stm::var<long> accounts[100]; // zero in a new region
};

int main(int argc, char** argv) try {
    auto region = stm::region::create("money", 65536);
    auto& accounts = region.root<bank>().accounts;
    if (argc == 4)
        stm::atomically(region, [&](stm::transaction& tx) {
            auto& from = accounts[std::strtoul(argv[1], nullptr, 10) % 100];
            auto& to = accounts[std::strtoul(argv[2], nullptr, 10) % 100];
            tx[from] -= std::atol(argv[3]);
            tx[to] += std::atol(argv[3]);
            if (tx[from] < -1000)
                throw std::runtime_error("nobody gets more than 1000"); // nothing has happened
        });
    const long sum = stm::read_only(region, [&](stm::read_transaction& tx) {
        long all = 0;
        for (auto& account : accounts)
            all += tx[account];
        return all;
    });
    std::printf("sum: %ld\n", sum);
} catch (const std::exception& error) {
    std::fprintf(stderr, "transfer: %s\n", error.what());
    return 1;
}
