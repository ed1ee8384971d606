// SPDX-License-Identifier: LGPL-2.1-or-later
// The one path that each file has, whatever name a caller uses.
#pragma once

#include <climits>

namespace stm::library {

/**
 * Writes the absolute path of `filename` without symbolic links, "." and ".." to `result`. The file
 * itself need not exist, but its folder must. Returns 0, or -1 with errno: EINVAL if `filename` is
 * null; ENOENT if it is empty, if it ends in a slash and is no folder, or if its folder is missing;
 * ENOTDIR, ELOOP, EACCES, ENAMETOOLONG as realpath.
 */
[[nodiscard]] int canonical_path(const char* filename, char (&result)[PATH_MAX]);

} // namespace stm::library
