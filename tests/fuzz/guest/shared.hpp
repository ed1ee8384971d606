// SPDX-License-Identifier: GPL-2.0
// What all processes of the fuzzer share.
#pragma once

#include <atomic>
#include <cstdint>

namespace stm::fuzz {

struct Shared {
    std::atomic<std::uint64_t> calls;
    std::atomic<std::uint64_t> succeeded;
    std::atomic<std::uint64_t> kinds[32]; // calls that succeeded
    std::atomic<std::uint64_t> signals;
};
extern Shared* shared;

// Makes that memory, for this process and those that come of it. False: errno says why.
bool make_shared();
// Maps it again after exec.
bool map_shared();

} // namespace stm::fuzz
