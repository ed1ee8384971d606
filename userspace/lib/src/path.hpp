// SPDX-License-Identifier: LGPL-2.1-or-later
// The one path that a file has, whatever a caller calls it.
#pragma once

#include <climits>

namespace stm::library {

/**
 * Writes the absolute path of `filename` without symbolic links, "." and ".." to `result`. The file
 * itself need not exist, its folder must. Returns 0, or -1 with errno: EINVAL when `filename` is
 * null, ENOENT when it is empty, ends in a slash without being a folder, or the folder is missing;
 * ENOTDIR, ELOOP, EACCES, ENAMETOOLONG as realpath.
 */
[[nodiscard]] int canonical_path(const char* filename, char (&result)[PATH_MAX]);

} // namespace stm::library
