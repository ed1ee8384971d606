// SPDX-License-Identifier: LGPL-2.1-or-later
// The calling thread's typed transaction: the engine, and what the kernel has of it.
#pragma once

#include "region.hpp"

#include <cstdint>
#include <stm/ioctl.h>

/*
 * One for each thread that ever began one, until the thread ends.
 *
 * Invariants: `region` and `part` are those of the last access, and belong together. `regions[i]`
 * is the object by which the i-th part was joined, a writable one if the part has been written to.
 * `known` are the regions of this transaction's attempts so far, each once. While `is_serial` the
 * thread has a transaction by STM_START_SERIAL on the handle of each of `known`.
 */
struct stm_tx {
    static constexpr std::uint32_t kMost = stm::library::typed::Engine::kMaxParts;

    alignas(64) stm::library::typed::Engine engine;
    stm_region* region = nullptr;
    stm::library::typed::Engine::Part* part = nullptr;
    int error = 0; // what has failed: the transaction cannot commit
    int flags = 0; // STM_TX_*
    bool is_serial = false;
    bool wants_tokens = false; // the next attempt is serial
    bool has_read_only_handle = false;
    std::uint32_t known_count = 0;
    stm::runtime::u64 random = 1;
    stm_region* first = nullptr; // named at the begin
    stm_region* regions[kMost] = {};
    stm_region* known[kMost] = {};
};
