// SPDX-License-Identifier: LGPL-2.1-or-later
// The calling thread's typed transaction: the engine, and what the kernel has of it.
#pragma once

#include "direct.hpp"
#include "region.hpp"

#include <cstdint>
#include <stm/ioctl.h>

/*
 * One for each thread that ever began one, until the thread ends.
 *
 * Invariants: `region` and `part` are those of the last access, and belong together. `known` are
 * the regions of this transaction's attempts so far, each once: known[0] was named at the begin,
 * and each part of the engine is among them. A region that was written to is known by an object
 * that may. While `is_serial` the thread has a transaction by STM_START_SERIAL on the handle of
 * each of them. While `is_fixed` it has one by STM_START_FIXED on that of known[0], which is the
 * only one, and the engine has its snapshot.
 */
struct stm_tx {
    static constexpr std::uint32_t kMost = stm::library::typed::Engine::kMaxParts;

    /* Programs know these two: see struct stm_tx_line. */
    stm_region* known[kMost] = {};
    alignas(64) stm::library::typed::Engine engine;

    stm_region* region = nullptr;
    stm::library::typed::Engine::Part* part = &engine.part(0); // this one, too, if none runs
    int flags = 0;                                             // STM_TX_*
    int error = 0; // what has failed: the transaction cannot commit
    bool is_serial = false;
    bool is_fixed = false;
    bool wants_tokens = false;     // the next attempt is serial
    bool reads_for_long = false;   // the last one that was fixed did
    std::int64_t fixed_since = 0;  // CLOCK_MONOTONIC, nanoseconds
    std::uint32_t known_count = 1; // 1, too, if none runs
    stm::runtime::u64 random = 1;
    stm::library::typed::OwnJournals journals;
};

static_assert(offsetof(stm_tx, known) == offsetof(struct stm_tx_line, region));
static_assert(offsetof(stm_tx, engine) == offsetof(struct stm_tx_line, records));
static_assert(stm::library::typed::Engine::is_line_of_programs(
    offsetof(struct stm_tx_line, filter) - offsetof(struct stm_tx_line, records)));
static_assert(stm::protocol::WriteSet::kFewWrites == STM_TX_FEW_WRITES);
static_assert(sizeof(stm::library::typed::View) ==
              offsetof(struct stm_tx_line, bound) - offsetof(struct stm_tx_line, records));

namespace stm::library::typed {

/* What stm_tx_load() leaves to others: any load, and one of a word. */
int load_slowly(stm_tx& tx, stm_region& region, u64 offset, void* to, u64 bytes);
int load_word_slowly(stm_tx& tx, stm_region& region, u64 offset, void* to);

/* What a direct commit leaves to others: any commit, and what follows one that did not happen. */
int commit_by_request(stm_tx& tx);
int after_failed_commit(stm_tx& tx, protocol::AbortReason reason);

} // namespace stm::library::typed
