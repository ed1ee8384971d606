// SPDX-License-Identifier: LGPL-2.1-or-later
// The signals that transactions need, and the program's own handling of them beside that.
#pragma once

#include <csignal>

namespace stm::library {

/** What the kernel sends to a thread whose transaction can not commit. See stm/transaction.h for
 * why this one. */
inline constexpr int kDoomSignal = SIGURG;

/**
 * Installs the handlers, once for the process, and unblocks kDoomSignal in the calling thread. What
 * was installed before is kept as the program's.
 */
void prepare_signals();

/**
 * What sigaction(2) is for the program: for the library's signals, once prepare_signals() has run,
 * the program's wishes are recorded and returned, and the library's handler stays.
 */
int program_action(int signal, const struct sigaction* action, struct sigaction* old);

// For fork: no thread may be changing the table while the process is copied.
void lock_actions();
void unlock_actions();

} // namespace stm::library
