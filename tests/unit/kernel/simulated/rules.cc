// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/rules.hpp"

#include "tests/unit/kernel/simulated/thread.hpp"

#include <cstdio>
#include <cstdlib>

namespace stm::simulated {

namespace {

std::atomic<ViolationHandler> violation_handler{abort_with};

} // namespace

Counters counters;

void abort_with(const std::string& what) {
    std::fprintf(stderr, "simulated Linux: %s\n", what.c_str());
    std::abort();
}

void violated(const std::string& what) {
    violation_handler.load()(what);
}

void expect(bool condition, const char* what) {
    if (!condition) [[unlikely]]
        violated(what);
}

void set_violation_handler(ViolationHandler handler) {
    violation_handler = handler;
}

Live live() {
    Live now;
    now.allocations = counters.allocations.load(kRelaxed);
    now.pages = counters.pages.load(kRelaxed);
    now.identities = counters.identities.load(kRelaxed);
    now.views = counters.views.load(kRelaxed);
    now.process_references = counters.process_references.load(kRelaxed);
    now.memory_references = counters.memory_references.load(kRelaxed);
    now.thread_references = counters.thread_references.load(kRelaxed);
    now.pins = counters.pins.load(kRelaxed);
    now.files = counters.files.load(kRelaxed);
    now.descriptors = counters.descriptors.load(kRelaxed);
    now.locks = counters.locks.load(kRelaxed);
    now.held_locks = static_cast<long>(thread.held.size());
    return now;
}

std::string describe(const Live& live) {
    return "allocations " + std::to_string(live.allocations) + ", pages " +
           std::to_string(live.pages) + ", identities " + std::to_string(live.identities) +
           ", views " + std::to_string(live.views) + ", process references " +
           std::to_string(live.process_references) + ", thread references " +
           std::to_string(live.thread_references) + ", pins " + std::to_string(live.pins) +
           ", files " + std::to_string(live.files) + ", descriptors " +
           std::to_string(live.descriptors) + ", locks " + std::to_string(live.locks) + ", held " +
           std::to_string(live.held_locks);
}

} // namespace stm::simulated
