// SPDX-License-Identifier: LGPL-2.1-or-later
// The list of segments in the format of /proc/sysvipc/shm.
#pragma once

#include <cstdio>

namespace stm::sysv {

/** The path that ipcs and others read. */
inline constexpr char kListingPath[] = "/proc/sysvipc/shm";

/** A stream to read the list from, as it is now; null with errno. */
[[nodiscard]] std::FILE* open_listing();

} // namespace stm::sysv
