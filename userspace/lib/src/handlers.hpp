// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether a thread is in a signal handler of the program. A restart would leave it half done, with
// its signal blocked forever, so restarts wait for its end; and a fault in it is its own. But a
// program may leave a handler by longjmp, of which nobody is told: so what is kept is where on the
// stack the outermost one began, and that counts only as long as the stack is still that deep and
// holds there what it held. No transaction begins in a handler, so each start forgets it anyway.
#pragma once

#include <csignal>
#include <ucontext.h>

namespace stm::library {

/** Whether code of the calling thread, whose stack ends at `stack`, belongs to a handler of the
 * program. */
[[nodiscard]] bool is_in_handler(const void* stack);
[[nodiscard]] bool is_in_handler(const ucontext_t& interrupted);
/** The caller is in no handler: whatever was begun has been left. */
void forget_handlers();

/** Calls the handler of `action`, as the kernel would have. */
void call_handler(const struct sigaction& action, int signal, siginfo_t* info,
                  ucontext_t* interrupted);

} // namespace stm::library
