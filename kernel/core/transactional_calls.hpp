// SPDX-License-Identifier: GPL-2.0
// read and write calls on a transactional region. They are part of the calling thread's
// transaction; if it has none, they are transactions of their own.
#pragma once

#include "kernel/core/handle.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Bytes that went through. The region's size is settled. Errors: <stm/ioctl.h>.
[[nodiscard]] runtime::Result<runtime::u64> read_transactional(Handle& handle, stm_user_buffer* to,
                                                               runtime::u64 position) noexcept;
[[nodiscard]] runtime::Result<runtime::u64>
write_transactional(Handle& handle, stm_user_buffer* from, runtime::u64 position) noexcept;

} // namespace stm::kernel
