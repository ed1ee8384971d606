// SPDX-License-Identifier: LGPL-2.1-or-later
// Regions in core files, for who asks by the environment.
#pragma once

namespace stm::library {

/**
 * With STM_DUMP=1 in the environment: core files have the mappings of this handle. Without it, or
 * with a module that cannot do that, nothing happens. Keeps errno.
 */
void dump_if_wanted(int fd);

} // namespace stm::library
