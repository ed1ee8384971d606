// SPDX-License-Identifier: GPL-2.0
// What the calling thread is about to do, what it holds, and what the test has planned for it.
#pragma once

#include "tests/unit/kernel/simulated_linux.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <vector>

namespace stm::simulated {

inline constexpr int kMmapLockRank = -1;

struct Held {
    const void* lock;
    int rank;
};

struct Thread {
    Process* caller = nullptr;
    std::vector<Held> held;
    int undisturbed = 0;
    int atomic_context = 0;

    std::size_t points = 0;
    std::size_t failing_point = 0; // 0: none, they are counted from 1
    Failure failed = Failure::none;

    std::size_t steps = 0;
    std::size_t interleaved_step = 0;
    std::function<void()> action;
    bool interleaved = false;
    std::size_t engine_steps = 0; // to the action, 0: there is none
    std::function<void()> engine_action;

    int dying = 0;
    int mappings_moved = 0;
    stm_view* closed = nullptr; // holds its mmap_lock for writing
    bool may_enter = false;     // ... and the locks of its mappings

    stm_thread* acts_as = nullptr;
    bool sleepless = false;
    int naps = 0;            // of the Sleepless that lives
    std::uint64_t slept = 0; // nanoseconds, by all of them

    std::uint64_t read_only_from = 0;
    std::uint64_t read_only_bytes = 0;
    int unpinnable = 0;

    bool holds_lock_but(std::initializer_list<int> allowed) const {
        return std::any_of(held.begin(), held.end(), [&](const Held& one) {
            return one.rank != kMmapLockRank &&
                   std::find(allowed.begin(), allowed.end(), one.rank) == allowed.end();
        });
    }
    bool holds_core_lock() const {
        return std::any_of(held.begin(), held.end(),
                           [](const Held& one) { return one.rank != kMmapLockRank; });
    }
};

extern thread_local Thread thread;

} // namespace stm::simulated
