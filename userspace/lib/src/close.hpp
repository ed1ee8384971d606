// SPDX-License-Identifier: LGPL-2.1-or-later
// How often each descriptor's number was closed. When a descriptor of a handle is closed the kernel
// takes back what it has offered for the handle. But then the number is free already, and another
// thread may have got it for another handle. So the library replaces close and its relatives by
// functions that count before they close.
#pragma once

#include <atomic>

namespace stm::library {

/** A count of closes. If it has changed, the number may have become another file's in between. */
unsigned closes_of(int fd);
/** Where that count is. */
const std::atomic<unsigned>* closes_place_of(int fd);
/** Whether the program's calls of close are counted. If not, closes_of() knows nothing. */
bool closes_are_counted();

} // namespace stm::library
