// SPDX-License-Identifier: GPL-2.0
// Reports broken rules, and counts what is alive.
#pragma once

#include "tests/unit/kernel/simulated_linux.hpp"

#include <atomic>
#include <string>

namespace stm::simulated {

constexpr auto kRelaxed = std::memory_order_relaxed;

[[noreturn]] void abort_with(const std::string& what);
// To the violation handler, which may return.
void violated(const std::string& what);
void expect(bool condition, const char* what);

// Takes a reference away; `if_none` is reported if there was none.
template <typename Counted>
bool was_last(Counted* object, const char* if_none) {
    const long before = object->references.fetch_sub(1);
    expect(before > 0, if_none);
    return before == 1;
}

struct Counters {
    std::atomic<long> allocations{0};
    std::atomic<long> pages{0};
    std::atomic<long> identities{0};
    std::atomic<long> views{0};
    std::atomic<long> process_references{0};
    std::atomic<long> thread_references{0};
    std::atomic<long> memory_references{0};
    std::atomic<long> pins{0};
    std::atomic<long> files{0};
    std::atomic<long> descriptors{0};
    std::atomic<long> locks{0};
};
extern Counters counters;

} // namespace stm::simulated
