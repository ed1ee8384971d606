// SPDX-License-Identifier: LGPL-2.1-or-later
// One of several processes leads: "election [LEASE]" stands for election, with a lease of so many
// milliseconds (1000). The others sleep until the leader resigns (SIGTERM) or its lease ends
// because it was killed or hangs. "election --show" tells how things are.
//
// A leader that was only stopped comes back and believes it still leads. It can do no harm: each
// piece of its work is one transaction with the question whether this is still its term.
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stm/stm.hpp>
#include <unistd.h>

using clock_type = std::chrono::steady_clock; // the same for all processes of the machine
using std::chrono::milliseconds;

struct office {
    stm::var<pid_t> leader; // 0: nobody
    stm::var<long> term;
    stm::var<std::int64_t> until; // when the lease ends, by that clock
    stm::var<long> work;          // that leaders have done
    stm::var<long> foreign;       // of it, pieces that were done in the term of another: none
};

static volatile std::sig_atomic_t resigning = 0;

static std::int64_t count_of(clock_type::time_point time) {
    return time.time_since_epoch().count();
}

// Sleeps until it is elected; its term.
static long stand(const stm::region& region, office& o, milliseconds lease) {
    for (;;) {
        try {
            return stm::atomically(region, [&](stm::transaction& tx) {
                const auto now = clock_type::now();
                const std::int64_t until = tx[o.until];
                if (tx[o.leader] != 0 && count_of(now) < until)
                    tx.retry_until(clock_type::time_point(clock_type::duration(until)));
                tx[o.leader] = getpid();
                tx[o.until] = count_of(now + lease);
                return ++tx[o.term];
            });
        } catch (const stm::timed_out&) {
            // The lease was not renewed.
        }
    }
}

// One piece of work, which renews the lease; false if another leads meanwhile.
static bool work(const stm::region& region, office& o, long term, milliseconds lease) {
    return stm::atomically(region, [&](stm::transaction& tx) {
        if (tx[o.term] != term)
            return false;
        tx[o.until] = count_of(clock_type::now() + lease);
        ++tx[o.work];
        if (tx[o.leader] != getpid())
            ++tx[o.foreign];
        return true;
    });
}

static void resign(const stm::region& region, office& o, long term) {
    stm::atomically(region, [&](stm::transaction& tx) {
        if (tx[o.term] == term)
            tx[o.leader] = 0; // wakes the others
    });
}

static int show(const stm::region& region, office& o) {
    return stm::read_only(region, [&](stm::read_transaction& tx) {
        std::printf("leader %d, term %ld, work %ld, foreign %ld\n", tx[o.leader], tx[o.term],
                    tx[o.work], tx[o.foreign]);
        return tx[o.foreign] == 0 ? 0 : 1;
    });
}

int main(int argc, char** argv) try {
    auto region = stm::region::create("election", 65536);
    auto& o = region.root<office>();
    if (argc == 2 && std::strcmp(argv[1], "--show") == 0)
        return show(region, o);
    const milliseconds lease(argc > 1 ? std::atol(argv[1]) : 1000);
    while (resigning == 0) {
        const long term = stand(region, o, lease);
        // Only a leader has something to give back.
        std::signal(SIGTERM, [](int) { resigning = 1; });
        std::printf("%d leads, term %ld\n", getpid(), term);
        std::fflush(stdout);
        while (resigning == 0 && work(region, o, term, lease))
            usleep(static_cast<useconds_t>(1000 * lease.count() / 4));
        std::signal(SIGTERM, SIG_DFL);
        if (resigning != 0)
            resign(region, o, term);
        std::printf("%d leads no more\n", getpid());
        std::fflush(stdout);
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "election: %s\n", error.what());
    return 1;
}
