// SPDX-License-Identifier: GPL-2.0
// <stm/tx.h> without a module: regions of this process, for any number of threads. It can make any
// of its calls fail, or find a conflict.
#pragma once

namespace stm::fake {

/** The call of this number from now on, of this thread, finds a conflict; 0: none does. Loads,
 * stores and commits count. */
void conflict_at(unsigned call);
/** It fails with this error. */
void fail_at(unsigned call, int error);
/** Whether that has happened. */
bool has_happened();

/** Calls of all threads that slept, and commits. */
unsigned long sleeps();
unsigned long commits();

/** Forgets all regions; none is attached any more. */
void forget_all();

} // namespace stm::fake
