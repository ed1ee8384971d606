// SPDX-License-Identifier: GPL-2.0
// The calling process and the calling thread.
#pragma once

#include "tests/unit/kernel/simulated/thread.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

struct stm_process {
    std::atomic<long> references{1}; // the process itself
    std::atomic<bool> gone{false};
    int pid = 0;
    char command[16] = {};
    stm_memory* memory = nullptr;
};

struct stm_thread {
    std::atomic<long> references{1}; // the thread itself
    std::atomic<bool> ended{false};
    std::atomic<std::uint64_t> exec_id{1};
    std::atomic<const stm_memory*> memory{nullptr}; // which it had when it last asked for it
    int id = 0;
    std::mutex lock;
    std::vector<int> signals;
};

namespace stm::simulated {

// For the services, which are no members of a class.
struct Caller {
    static Process& process() { return thread.caller ? *thread.caller : init_process(); }
    static stm_process* reference() { return process().process_; }
    static const Credential& credential() { return process().credential; }
};

// Which the calling thread is for the core.
stm_thread* current_thread();

} // namespace stm::simulated
