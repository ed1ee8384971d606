// SPDX-License-Identifier: LGPL-2.1-or-later
// A work queue: "jobs add TEXT…" adds jobs, "jobs work" does them one after the other, and sleeps
// while there are none. A worker that is killed in its work loses no job: taking one and noting its
// result are one transaction.
#include <cstdio>
#include <exception>
#include <stm/stm.hpp>
#include <string>
#include <unistd.h>

struct work {
    stm::queue<stm::ptr<stm::string>> waiting;
    stm::map<long, stm::ptr<stm::string>> results; // by their numbers
    stm::var<long> done;
};

static void add(const stm::region& region, work& w, const char* text) {
    stm::atomically(region, [&](stm::transaction& tx) {
        auto job = tx.make<stm::string>();
        tx[job].assign(tx, text);
        w.waiting.push(tx, job);
    });
}

static void do_one(const stm::region& region, work& w) {
    const std::string said = stm::atomically(region, [&](stm::transaction& tx) {
        auto job = w.waiting.pop(tx); // sleeps here
        tx[job].append(tx, " was done by " + std::to_string(getpid()));
        w.results.insert(tx, tx[w.done]++, job);
        return tx[job].str(tx);
    });
    std::printf("%s\n", said.c_str());
    std::fflush(stdout);
}

int main(int argc, char** argv) try {
    auto region = stm::region::create("jobs", 1 << 20);
    work& w = region.root<work>();
    const std::string what = argc > 1 ? argv[1] : "";
    for (int word = 2; what == "add" && word < argc; ++word)
        add(region, w, argv[word]);
    while (what == "work")
        do_one(region, w);
    stm::read_only(region, [&](stm::read_transaction& tx) {
        std::printf("%llu waiting, %ld done\n", static_cast<unsigned long long>(w.waiting.size(tx)),
                    tx[w.done]);
    });
} catch (const std::exception& error) {
    std::fprintf(stderr, "jobs: %s\n", error.what());
    return 1;
}
