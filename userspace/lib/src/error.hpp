// SPDX-License-Identifier: LGPL-2.1-or-later
// How a function of the library fails: errno, and with STM_DEBUG=1 one line that says why.
#pragma once

namespace stm::library {

/**
 * Sets errno to `error` and returns -1. With STM_DEBUG set to anything but "" or "0" in the
 * environment, first prints "stm: ", the message made from `format` as by printf, and the error's
 * name on standard error.
 */
[[gnu::format(printf, 2, 3), gnu::cold]] int fail(int error, const char* format, ...);

} // namespace stm::library
