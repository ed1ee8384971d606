// SPDX-License-Identifier: LGPL-2.1-or-later
// What a module with an older version of the interface cannot do. The library does without it.
#pragma once

namespace stm::library {

/** Whether a start may name its site. False once a module was met that knows no sites. */
bool module_knows_sites();

/** Call this after EINVAL of a start on @fd that named its site. Returns whether the module knows
 * no sites; then module_knows_sites() is false from now on. Keeps errno. */
bool module_is_before_sites(int fd);

/** The minor version of the interface of the handle's module if it is older than the library's;
 * else -1. Keeps errno. */
int older_minor(int fd);

} // namespace stm::library
