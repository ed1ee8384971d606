// SPDX-License-Identifier: LGPL-2.1-or-later
// What the program wants to be done for each signal, beside what the library does.
//
// The library's own handlers are in the place of all of the program's. The kernel is given the
// program's own flags and mask with them, so alternate stack, masks and nesting are what the
// program asked for without further ado; only SA_RESETHAND of the signals in kSignals is imitated.
// kDoomSignal is added to each mask: it waits until the library's handler is ready for it.
#pragma once

#include <csignal>
#include <cstdint>

namespace stm::library {

/** Puts the library's handlers in place, once for the process. What was there before is kept as the
 * program's. */
void install_handlers();

/**
 * What sigaction(2) is for the program: for the library's signals, once install_handlers() has run,
 * the program's wishes are recorded and returned, and the library's handler stays.
 *
 * The child of vfork has its own handlers but shares the memory in which wishes are recorded: for
 * it, it is sigaction(2) itself.
 */
int program_action(int signal, const struct sigaction* action, struct sigaction* old);

/** What the program wants, for signal handlers: for one of kSignals that, for another one the last
 * handler. */
struct sigaction wanted_action(int signal);
/** A handler of SA_RESETHAND is being called: the default is what the program wants next. */
void reset_action(int signal, const struct sigaction& called);

bool is_default(const struct sigaction& action);
bool is_ignored(const struct sigaction& action);
/** One of kSignals. */
bool is_ours(int signal);

/** sigaction(2) past the program's wishes. */
int system_action(int signal, const struct sigaction* action, struct sigaction* old);

// For exec, which keeps what is ignored: gives the signals that the program ignores to the kernel
// as such. Returns them, as a mask, for handle_again() when exec has failed.
std::uint64_t ignore_for_exec();
void handle_again(std::uint64_t signals);

// For fork: no thread may be changing the table while the process is copied.
void lock_actions();
void unlock_actions();
void unlock_actions_in_child();

} // namespace stm::library
