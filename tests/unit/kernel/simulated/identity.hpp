// SPDX-License-Identifier: GPL-2.0
// A region's owner, group and mode, and how many pages and views have it as their identity.
#pragma once

#include "tests/unit/kernel/simulated_linux.hpp"

#include <atomic>
#include <cstdint>

struct stm_identity {
    std::atomic<long> references{1};
    std::atomic<std::uint32_t> uid{0};
    std::atomic<std::uint32_t> gid{0};
    std::atomic<std::uint32_t> mode{0};
    std::atomic<std::uint64_t> size{0};
    std::atomic<long> pages{0};
    std::atomic<long> views{0};
};

namespace stm::simulated {

// A reference more, a reference less.
void get(stm_identity* identity);
void put(stm_identity* identity);

} // namespace stm::simulated
