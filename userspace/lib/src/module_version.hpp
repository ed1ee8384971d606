// SPDX-License-Identifier: LGPL-2.1-or-later
// What a module of an older version of the interface cannot do. The library does without it.
#pragma once

namespace stm::library {

/** Whether a start may name its site: not if a module that knew none was met. */
bool module_knows_sites();

/** After EINVAL of a start on @fd that named its site: whether the module knows no sites. From then
 * on module_knows_sites() says so. Leaves errno alone. */
bool module_is_before_sites(int fd);

/** The minor version of the interface that the module of the handle speaks, if that is older than
 * the library's; else -1. Leaves errno alone. */
int older_minor(int fd);

} // namespace stm::library
