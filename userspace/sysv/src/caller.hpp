// SPDX-License-Identifier: LGPL-2.1-or-later
// The rights of the calling process to a segment, for what the module tells anybody and System V
// does not. What protects contents and metadata is asked in the module.
#pragma once

#include <stm/ioctl.h>

namespace stm::sysv {

enum class Privilege : unsigned { ipc_lock = 14, ipc_owner = 15, sys_admin = 21 };

/** Whether the calling thread has the capability in effect. */
[[nodiscard]] bool has(Privilege privilege);

/** The owner or the creator of the segment. */
[[nodiscard]] bool is_owner(const struct stm_info& segment);

/**
 * Whether the caller has the rights that the permission bits of `flags` ask for. As shmget() does,
 * it takes a bit at any of its three places.
 */
[[nodiscard]] bool is_permitted(const struct stm_info& segment, unsigned flags);

} // namespace stm::sysv
