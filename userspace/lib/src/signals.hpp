// SPDX-License-Identifier: LGPL-2.1-or-later
// The library's signal handlers.
#pragma once

#include <csignal>

namespace stm::library {

/** For kSignals. */
void on_signal(int signal, siginfo_t* info, void* context);
/** For all other signals that the program handles: calls the program's handler; a restart waits for
 * it. */
void on_other_signal(int signal, siginfo_t* info, void* context);

} // namespace stm::library
