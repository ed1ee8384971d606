// SPDX-License-Identifier: LGPL-2.1-or-later
// A cache that processes share: "cache NUMBER…" tells how many primes are below each number, which
// it counts only if no process has done so lately. There is room for 64 answers. What makes room is
// the clock algorithm: a hand goes round, and takes the first place that nobody has looked at since
// it came by before. "cache --check" tells whether what the cache knows about itself is true.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <stm/stm.hpp>

constexpr std::uint32_t kPlaces = 64;

// A stripe for each: programs that find different answers do not meet.
struct alignas(64) place {
    stm::var<long> number;
    stm::var<long> primes;
    stm::var<bool> occupied;
    stm::var<bool> used; // since the hand came by
};

struct cache {
    stm::unordered_map<long, std::uint32_t> where;
    place places[kPlaces];
    stm::var<std::uint32_t> hand;
};

static std::optional<long> find(const stm::region& region, cache& c, long number) {
    return stm::atomically(region, [&](stm::transaction& tx) -> std::optional<long> {
        const auto index = c.where.find(tx, number);
        if (!index)
            return std::nullopt;
        place& found = c.places[*index];
        if (!tx[found.used]) // only the first one after the hand stores
            tx[found.used] = true;
        return tx[found.primes];
    });
}

static void keep(const stm::region& region, cache& c, long number, long primes) {
    stm::atomically(region, [&](stm::transaction& tx) {
        if (c.where.contains(tx, number))
            return; // another process was faster
        std::uint32_t hand = tx[c.hand];
        while (tx[c.places[hand].used]) {
            tx[c.places[hand].used] = false;
            hand = (hand + 1) % kPlaces;
        }
        place& taken = c.places[hand];
        if (tx[taken.occupied])
            c.where.erase(tx, tx[taken.number]);
        tx[taken.number] = number;
        tx[taken.primes] = primes;
        tx[taken.occupied] = true;
        c.where.insert(tx, number, hand);
        tx[c.hand] = (hand + 1) % kPlaces;
    });
}

static long count_primes(long below) {
    long primes = 0;
    for (long number = 2; number < below; ++number) {
        long divisor = 2;
        while (divisor * divisor <= number && number % divisor != 0)
            ++divisor;
        primes += divisor * divisor > number;
    }
    return primes;
}

static int check(const stm::region& region, cache& c) {
    unsigned occupied = 0;
    const bool right = stm::read_only(region, [&](stm::read_transaction& tx) {
        occupied = 0;
        bool all = true;
        for (std::uint32_t index = 0; index < kPlaces; ++index) {
            if (!tx[c.places[index].occupied])
                continue;
            ++occupied;
            all = all && c.where.find(tx, tx[c.places[index].number]) == index;
        }
        return all && c.where.size(tx) == occupied;
    });
    std::printf("%u of %u places are occupied%s\n", occupied, kPlaces, right ? "" : ": WRONG");
    return right ? 0 : 1;
}

int main(int argc, char** argv) try {
    auto region = stm::region::create("cache", 1 << 20);
    auto& c = region.root<cache>();
    if (argc == 2 && std::strcmp(argv[1], "--check") == 0)
        return check(region, c);
    for (int word = 1; word < argc; ++word) {
        const long number = std::atol(argv[word]);
        const auto known = find(region, c, number);
        const long primes = known ? *known : count_primes(number);
        if (!known)
            keep(region, c, number, primes);
        std::printf("%ld primes are below %ld (%s)\n", primes, number, known ? "known" : "counted");
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "cache: %s\n", error.what());
    return 1;
}
