// SPDX-License-Identifier: LGPL-2.1-or-later
// Which descriptors' mappings are to stay warm: see stm_set_warm() in <stm/transaction.h>. For each
// of them the process has the region's clock in its memory, so a start can see by itself that
// nothing was committed since.
//
// There is no lock. A place for a clock, once it is there, can be loaded from forever: what is
// mapped there changes in one step.
#pragma once

#include <atomic>
#include <cstdint>

namespace stm::library {

using Clock = std::atomic<std::uint64_t>;

/** The clock of the descriptor's region, or null: its mappings need not stay warm. */
const Clock* warm_clock(int fd);
/** Where the table has it; null for a descriptor that is not in the table. */
const std::atomic<const Clock*>* warm_clock_place(int fd);
/** The same, of the file that has the number now: another file's is forgotten. Keeps errno. */
const Clock* warm_clock_of_file(int fd);
/** 0, or -1 with errno. */
int keep_warm(int fd);
/** They need not stay warm any more: these numbers are about to be closed. The place of a clock has
 * zeros then. A child of vfork forgets nothing, because the memory is its parent's. Keeps errno. */
void forget_warm(unsigned first, unsigned last);
/** In the child of a fork, whose memory is its own. */
void adopt_warm();

} // namespace stm::library
