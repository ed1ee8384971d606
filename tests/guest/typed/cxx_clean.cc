// SPDX-License-Identifier: GPL-2.0
// A program of threads that use <stm/stm.hpp>, for the sanitizers. Its twin has a fault of its own.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <stm/stm.hpp>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

struct padded {
    char letter = 'a';
    long number = 0;
};
struct everything {
    stm::var<long> count;
    stm::var<padded> mixed;
    stm::vector<int> row;
    stm::map<int, long> ordered;
    stm::unordered_map<int, long> hashed;
    stm::queue<long> waiting;
    stm::string text;
};

[[maybe_unused]] long unprotected = 0; // for the twin

void use(const stm::region& region, everything& all, int thread, int turns) {
    for (int i = 0; i < turns; ++i) {
        std::string said; // its destructor runs in every attempt
        try {
            stm::atomically(region, [&](stm::transaction& tx) {
                said = "thread " + std::to_string(thread);
                tx[all.count] += 1;
                tx[all.mixed] = padded{'b', i};
                all.row.push_back(tx, i);
                all.ordered.insert_or_assign(tx, i % 50, thread);
                if (!all.hashed.erase(tx, i % 50))
                    all.hashed.insert(tx, i % 50, thread);
                all.waiting.push(tx, i);
                all.text.assign(tx, said);
                if (i % 10 == 9)
                    throw std::runtime_error(said);
                tx.on_commit([&] { said += " has committed"; });
            });
        } catch (const std::runtime_error&) {
        }
        const auto first =
            stm::atomically(region, [&](stm::transaction& tx) { return all.waiting.try_pop(tx); });
        if (first && *first > 1000)
            std::abort();
#ifdef WITH_FAULT
        ++unprotected;
#endif
    }
}

} // namespace

// One argument: how often, a multiple of ten.
int main(int argc, char** argv) {
    const int turns = argc > 1 ? std::atoi(argv[1]) : 200;
    const std::string name = "clean:" + std::to_string(getpid());
    const auto region = stm::region::create(name, 1 << 20, STM_EPHEMERAL);
    auto& all = region.root<everything>();
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 3; ++thread)
        threads.emplace_back([&, thread] { use(region, all, thread, turns); });
    for (std::thread& thread : threads)
        thread.join();
    const long count = stm::read_only(region, [&](stm::read_transaction& tx) {
        long seen = 0;
        for ([[maybe_unused]] const int x : all.row.in(tx))
            ++seen;
        return seen == tx[all.count] ? seen : -1;
    });
    std::printf("%ld\n", count);
#ifdef WITH_FAULT
    const auto* beyond = new char[8];
    const volatile char* read = beyond + 8 + (unprotected == 0 ? 1 : 0);
    static_cast<void>(*read);
#endif
    return count == 3 * turns * 9 / 10 ? 0 : 1;
}
