// SPDX-License-Identifier: LGPL-2.1-or-later
// What the program wants done for each signal, beside what the library does.
//
// The library's handlers replace all handlers of the program. The kernel gets the program's own
// flags and mask with them. So alternate stack, masks and nesting are what the program asked for.
// Only SA_RESETHAND of the signals in kSignals is imitated. kDoomSignal is added to each mask: it
// waits until the library's handler is ready for it.
#pragma once

#include <csignal>
#include <cstdint>

namespace stm::library {

/** Installs the library's handlers, once for the process. The handlers found there are kept as the
 * program's. */
void install_handlers();

/**
 * sigaction(2) as the program sees it. For the library's signals, once install_handlers() has run,
 * it records and returns the program's wishes, and the library's handler stays.
 *
 * The child of vfork has handlers of its own but shares the memory in which wishes are recorded.
 * For it, this is sigaction(2) itself.
 */
int program_action(int signal, const struct sigaction* action, struct sigaction* old);

/** What the program wants for one of kSignals; for another signal its last handler. For signal
 * handlers. */
struct sigaction wanted_action(int signal);
/** Call this when a handler with SA_RESETHAND is called: the program wants the default from then
 * on. */
void reset_action(int signal, const struct sigaction& called);

bool is_default(const struct sigaction& action);
bool is_ignored(const struct sigaction& action);
/** Whether it is one of kSignals. */
bool is_ours(int signal);

/** sigaction(2) itself, without regard to the program's wishes. */
int system_action(int signal, const struct sigaction* action, struct sigaction* old);

// For exec, which keeps ignored signals. ignore_for_exec() tells the kernel which signals the
// program ignores, and returns them as a mask. handle_again() takes that mask when exec has failed.
std::uint64_t ignore_for_exec();
void handle_again(std::uint64_t signals);

// For fork: no thread may change the table while the process is copied.
void lock_actions();
void unlock_actions();
void unlock_actions_in_child();

} // namespace stm::library
