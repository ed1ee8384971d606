// SPDX-License-Identifier: LGPL-2.1-or-later
// How a program that cannot go on ends, and the words for it.
#pragma once

namespace stm::library {

/** Prints a line on standard error. Signal handlers may call it. */
[[gnu::cold, gnu::format(printf, 1, 2)]] void say(const char* format, ...);
/** The same, and calls abort(). */
[[noreturn, gnu::cold, gnu::format(printf, 1, 2)]] void give_up(const char* format, ...);

/** Why a transaction could not start, for an errno value. */
const char* why_not(int error);
/** Why a transaction was not committed, and will not be at another attempt. */
const char* why_never(int error);
/** Why a transaction that had begun could not go on. */
const char* why_over(int error);

} // namespace stm::library
