// SPDX-License-Identifier: LGPL-2.1-or-later
// The commit to a direct region, by the thread itself.
#pragma once

#include "region.hpp"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/journal.hpp"

namespace stm::library::typed {

// A thread's journal in the direct region that it committed to last.
struct OwnJournal {
    u64 place = 0; // of the region (Engine::Place); 0: it has none
    protocol::Journal* journal = nullptr;
    u64 owner = 0;
};

/**
 * Commits the part, the only one of the thread's transaction, whose sets are sorted. none; a
 * conflict; or serial_wait: the kernel has to do it.
 */
[[nodiscard]] protocol::AbortReason commit_directly(OwnJournal& own, stm_region& region,
                                                    const Engine::Part& part);

/** Sees to a stripe that was locked for long: its owner may be gone. errno is left alone. */
void settle(const stm_region& region, u64 stripe);

} // namespace stm::library::typed
