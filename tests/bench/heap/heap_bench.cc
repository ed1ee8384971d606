// SPDX-License-Identifier: GPL-2.0
// The allocator of <stm/heap.h>: how much memory it holds for what is allocated, under a random
// load whose sizes change, and how much more two processes allocate than one.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <random>
#include <stm/stm.hpp>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::size_t kRegion = std::size_t{64} << 20;
constexpr std::size_t kLive = kRegion * 6 / 10; // bytes that the load keeps allocated
constexpr int kEach = 16;                       // operations of a transaction

// Sizes as programs have them: most are small, a few large. Every phase prefers other ones.
class Sizes {
public:
    explicit Sizes(std::mt19937_64& random) : random_(random) {}
    void next_phase() { favourite_ = 16 + random_() % 500; }
    std::size_t one() {
        const auto kind = random_() % 100;
        if (kind < 40)
            return 1 + random_() % favourite_;
        if (kind < 90)
            return between(4, 9);
        return kind < 99 ? between(9, 13) : between(13, 17);
    }

private:
    // Each doubling is as likely as each other one.
    std::size_t between(unsigned first, unsigned last) {
        const std::size_t least = std::size_t{1} << (first + random_() % (last - first));
        return least + random_() % least;
    }
    std::mt19937_64& random_;
    std::size_t favourite_ = 64;
};

struct Block {
    std::uint64_t offset;
    std::size_t bytes;
};

class Load {
public:
    explicit Load(const stm::region& region) : region_(region) {}

    void run(unsigned long operations) {
        std::printf("operations   allocated MiB   in blocks   in pages   pages/allocated   full\n");
        const unsigned long phase = std::max(operations / 10, 1UL);
        for (unsigned long done = 0; done < operations; done += kEach) {
            if (done % phase < kEach)
                sizes_.next_phase();
            step();
            if ((done + kEach) % phase < kEach)
                report(done + kEach);
        }
    }

private:
    // The same in every attempt: what is to be done is chosen before the transaction.
    void step() {
        std::size_t wanted[kEach];
        std::size_t fate[kEach];
        for (int i = 0; i < kEach; ++i) {
            wanted[i] = sizes_.one();
            fate[i] = random_();
        }
        std::vector<Block> blocks = std::move(blocks_);
        std::size_t live = live_;
        stm::atomically(region_, [&](stm::transaction& tx) {
            // There is one process and one thread, so there is one attempt.
            for (int i = 0; i < kEach; ++i) {
                const bool frees =
                    live + wanted[i] > kLive || (!blocks.empty() && fate[i] % 3 == 0);
                if (frees) {
                    std::swap(blocks[fate[i] / 3 % blocks.size()], blocks.back());
                    tx.deallocate(blocks.back().offset);
                    live -= blocks.back().bytes;
                    blocks.pop_back();
                    continue;
                }
                try {
                    blocks.push_back({tx.allocate(wanted[i]), wanted[i]});
                    live += wanted[i];
                } catch (const std::bad_alloc&) {
                    ++full_;
                }
            }
        });
        blocks_ = std::move(blocks);
        live_ = live;
    }

    void report(unsigned long done) {
        const auto all = stm::read_only(region_, [&](stm::read_transaction& tx) {
            stm_heap_report it{};
            tx.expect(stm_heap_check(tx.handle(), region_.handle(), &it));
            return it;
        });
        const double mib = 1 << 20;
        const double held = static_cast<double>(all.bytes - all.free_bytes);
        const double live = static_cast<double>(live_);
        std::printf("%10lu   %13.2f   %9.2f   %8.2f   %15.3f   %4lu\n", done, live / mib,
                    static_cast<double>(all.block_bytes) / mib, held / mib, held / live, full_);
        std::fflush(stdout);
    }

    const stm::region& region_;
    std::mt19937_64 random_{20};
    Sizes sizes_{random_};
    std::vector<Block> blocks_;
    std::size_t live_ = 0;
    unsigned long full_ = 0;
};

/** Transactions in a second that allocate or free a block of 64 bytes, of so many processes. */
double rate(const stm::region& region, int processes, double seconds, unsigned long& conflicts) {
    struct Shared {
        std::atomic<unsigned long> done;
        std::atomic<unsigned long> conflicts;
        std::atomic<bool> stop;
    };
    void* memory =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    auto* shared = ::new (memory) Shared{};
    for (int process = 0; process < processes; ++process) {
        if (::fork() != 0)
            continue;
        unsigned long done = 0;
        unsigned long met = 0;
        std::vector<std::uint64_t> blocks;
        while (!shared->stop) {
            for (int i = 0; i < 64; ++i, ++done)
                blocks.push_back(stm::atomically(region, [&](stm::transaction& tx) {
                    met += tx.conflicts() > 0 ? 1 : 0;
                    return tx.allocate(64);
                }));
            for (; !blocks.empty(); blocks.pop_back(), ++done)
                stm::atomically(region,
                                [&](stm::transaction& tx) { tx.deallocate(blocks.back()); });
        }
        shared->done += done;
        shared->conflicts += met;
        std::_Exit(0);
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    shared->stop = true;
    while (::wait(nullptr) > 0) {
    }
    conflicts = shared->conflicts;
    const double result = static_cast<double>(shared->done) / seconds;
    ::munmap(memory, sizeof(Shared));
    return result;
}

} // namespace

int main(int argc, char** argv) {
    const unsigned long operations = argc > 1 ? std::strtoul(argv[1], nullptr, 0) : 10'000'000;
    const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
    const std::string name = "heap_bench:" + std::to_string(::getpid());
    const auto region = stm::region::create(name, kRegion, STM_EPHEMERAL);
    if (operations > 0)
        Load(region).run(operations);
    std::vector<double> ratios;
    for (int round = 0; round < rounds; ++round) {
        unsigned long conflicts = 0;
        const double one = rate(region, 1, 1, conflicts);
        const double two = rate(region, 2, 1, conflicts);
        ratios.push_back(two / one);
        std::printf("one process: %.0f/s   two: %.0f/s with %lu conflicts   ratio: %.2f\n", one,
                    two, conflicts, two / one);
    }
    if (!ratios.empty()) {
        std::sort(ratios.begin(), ratios.end());
        std::printf("median ratio: %.2f\n", ratios[ratios.size() / 2]);
    }
}
