// SPDX-License-Identifier: GPL-2.0
// The pages of regions, and those of transactions.
#pragma once

#include "tests/unit/kernel/simulated_linux.hpp"

#include <atomic>
#include <cstdint>

struct stm_page {
    alignas(4096) std::uint8_t bytes[4096] = {};
    std::atomic<long> references{1};
    std::atomic<long> mappings{0}; // among the references
    stm_identity* identity = nullptr;
    std::uint64_t index = 0;
    std::atomic<bool> stored{false}; // Linux's mark of a dirty page
    std::atomic<bool> young{false};  // the processor's mark of an access through a mapping
};
