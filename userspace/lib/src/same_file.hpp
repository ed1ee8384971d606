// SPDX-License-Identifier: LGPL-2.1-or-later
// Transactions belong to open files; programs use numbers.
#pragma once

namespace stm::library {

/** Whether two descriptors stand for one open file of the calling thread's transaction. False if
 * one is not open. Signal handlers may call it. Keeps errno. */
bool is_same_file(int left, int right);

} // namespace stm::library
