// SPDX-License-Identifier: LGPL-2.1-or-later
// The end of a program that cannot go on, and the words for it.
#pragma once

namespace stm::library {

/** Prints a line on standard error. For signal handlers too. */
[[gnu::cold, gnu::format(printf, 1, 2)]] void say(const char* format, ...);
/** The same, and calls abort(). */
[[noreturn, gnu::cold, gnu::format(printf, 1, 2)]] void give_up(const char* format, ...);

/** Why a transaction could not be started, for an errno value. */
const char* why_not(int error);
/** Why one was not committed, and will not be when it is tried again. */
const char* why_never(int error);
/** Why one could not go on that had begun. */
const char* why_over(int error);

} // namespace stm::library
