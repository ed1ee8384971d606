// SPDX-License-Identifier: LGPL-2.1-or-later
// The commit to a direct region, by the thread itself.
#pragma once

#include "region.hpp"
#include "runtime/protocol/journal.hpp"

namespace stm::library::typed {

// A thread's journal in a direct region.
struct OwnJournal {
    u64 place = 0; // of the region (Engine::Place); 0: it has none
    protocol::Journal* journal = nullptr;
    u64 owner = 0;
};

// Those of the direct regions that a thread has committed to last.
struct OwnJournals {
    static constexpr u32 kOthers = 15;

    // Of the commit that runs, or that a signal handler has left by a jump. Once the journal has
    // told of it, what became of the journal became of that commit.
    enum class Progress : u8 { none, begun, described };

    OwnJournal last;
    OwnJournal others[kOthers];
    u32 oldest = 0; // of the others
    volatile Progress progress = Progress::none;

    /** They belong to another thread: the parent's. */
    void forget() {
        last = {};
        for (OwnJournal& other : others)
            other = {};
        progress = Progress::none;
    }
};

/** Sees to a stripe that was locked for long: its owner may be gone. errno is left alone. */
void settle(const stm_region& region, u64 stripe);

/**
 * Ends a commit of the attempt that a signal handler has left by a jump. Until then others wait for
 * its locks, or other threads of the process with their stores. errno is left alone.
 */
void end_left_commit(stm_tx& tx);

} // namespace stm::library::typed

extern "C" {
/**
 * Commits the thread's transaction, whose first region is direct, as stm_tx_commit() does: calls
 * the next one so that the thread can be sent back to the begin of the call (direct_enter.S).
 */
[[gnu::visibility("hidden")]] int stm_library_direct_enter(stm_tx& tx);
[[gnu::visibility("hidden")]] int stm_library_direct_commit(stm_tx& tx);
/** Where the thread goes on if it was sent back. Returns what the first one was to return. */
[[gnu::visibility("hidden")]] int stm_library_direct_taken(stm_tx& tx);
}
