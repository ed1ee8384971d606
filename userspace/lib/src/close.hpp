// SPDX-License-Identifier: LGPL-2.1-or-later
// How often a descriptor's number was given back. The kernel takes back what it has offered for a
// handle when a descriptor of it is closed; but then the number is free already, and another thread
// may have got it for another handle. So close and its relatives are replaced by functions of this
// library that count before they do it.
#pragma once

namespace stm::library {

/** Another count than before: since then the number may have become another file's. */
unsigned closes_of(int fd);
/** Whether the program's calls of close come here. If not, closes_of() knows nothing. */
bool closes_are_counted();

} // namespace stm::library
