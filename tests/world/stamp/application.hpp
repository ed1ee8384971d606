// SPDX-License-Identifier: GPL-2.0
// How an application runs: it is written once, and compiled for each way of access.
//
// An application has a name, sizes, input that all workers know, and a structure Shared, which lies
// in the shared memory and begins with the heaps. It does
//   fill(way, shared)                      once, before the workers begin
//   work(way, shared, worker, workers)     in each worker
//   result(way, shared)                    at the end: a number that is the same for every order of
//                                          the transactions, and 0 if something is wrong
// A way has
//   atomically(body), read_only(body)      body(tx), as a whole or not at all; what it returns
//   barrier()                              for all workers
//   copy(vars, count, to)                  many committed values, which may be of different moments
// and tx[var], tx[ptr], as in <stm/stm.hpp>.
#pragma once

#include "structures.hpp"

#include <chrono>
#include <string>

namespace stm::stamp {

inline constexpr unsigned kMaxWorkers = 8;

struct Outcome {
    double seconds = 0;
    u64 result = 0;
};

/** How its workers share memory. */
enum class Workers { threads, processes };

struct WayInfo {
    const char* name;
    const char* what;
    Workers workers;
    Outcome (*run)(const std::string& application, unsigned size, unsigned workers);
};

WayInfo sequential_way();
WayInfo mutex_way();
WayInfo libitm_way();
WayInfo typed_way();
WayInfo mapped_way();
WayInfo calls_way();

/** Bytes for each heap; nothing is touched that is not used. */
inline constexpr u64 kHeapBytes = u64{2} << 20;

constexpr u64 whole_pages(u64 bytes) {
    return (bytes + 4095) / 4096 * 4096;
}
template <typename Application>
inline constexpr u64 memory_bytes = whole_pages(sizeof(typename Application::Shared)) +
                                    (kMaxWorkers + 1) * kHeapBytes;

/** Gives each heap its share of the memory. */
template <typename Application, typename Way>
void share_out(Way& way, typename Application::Shared& shared) {
    u64 next = whole_pages(sizeof shared);
    for (Heap& heap : shared.heaps) {
        way.atomically([&](auto& tx) {
            tx[heap.next] = next;
            tx[heap.end] = next + kHeapBytes;
        });
        next += kHeapBytes;
    }
}

inline double seconds_since(std::chrono::steady_clock::time_point began) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

} // namespace stm::stamp
