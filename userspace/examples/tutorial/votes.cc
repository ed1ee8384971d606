// SPDX-License-Identifier: LGPL-2.1-or-later
// An election by show of hands: "votes NAME" votes, "votes" counts, "votes --wait N" sleeps until
// there are N votes.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stm/stm.hpp>
#include <string>

struct ballot {
    stm::map<std::array<char, 16>, long> votes; // by names
    stm::var<long> total;
};

int main(int argc, char** argv) try {
    auto region = stm::region::create("votes", 65536); // or the one that is there
    auto& b = region.root<ballot>();                   // made by the first one who asks for it
    const std::string word = argc > 1 ? argv[1] : "";
    if (argc == 3 && word == "--wait") {
        stm::read_only(region, [&](stm::read_transaction& tx) {
            if (tx[b.total] < std::atol(argv[2]))
                tx.retry(); // sleeps until something changes that was read
        });
    } else if (argc == 2) {
        std::array<char, 16> name{};
        word.copy(name.data(), name.size() - 1);
        stm::atomically(region, [&](stm::transaction& tx) {
            b.votes.insert_or_assign(tx, name, b.votes.find(tx, name).value_or(0) + 1);
            ++tx[b.total]; // both happen, or neither does
        });
        return 0;
    }
    // One state, however many vote meanwhile.
    const std::string result = stm::read_only(region, [&](stm::read_transaction& tx) {
        std::string lines;
        for (auto [name, count] : b.votes.in(tx))
            lines += name.data() + (": " + std::to_string(count)) + "\n";
        return lines + "all: " + std::to_string(tx[b.total]) + "\n";
    });
    std::printf("%s", result.c_str());
} catch (const std::exception& error) {
    std::fprintf(stderr, "votes: %s\n", error.what());
    return 1;
}
