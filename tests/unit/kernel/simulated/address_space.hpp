// SPDX-License-Identifier: GPL-2.0
// The address space of a process.
#pragma once

#include "tests/unit/kernel/simulated_linux.hpp" // IWYU pragma: export

#include <atomic>
#include <shared_mutex>

struct stm_memory {
    std::atomic<long> references{1}; // the process
    std::atomic<bool> ended{false};  // the process has
    std::shared_mutex mmap_lock;
};

namespace stm::simulated {

// Gives a reference back.
void put(stm_memory* memory);
// A new one, where the last one was that nobody refers to.
stm_memory* new_memory_in_an_ended_ones_place();

} // namespace stm::simulated
