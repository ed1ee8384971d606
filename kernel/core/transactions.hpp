// SPDX-License-Identifier: GPL-2.0
// Transactions by system call: the requests STM_IOC_START to STM_IOC_TRANSACTION, and read and
// write calls on a transactional region. What each does is documented in <stm/ioctl.h>. The
// region's size is settled.
#pragma once

#include "kernel/core/handle.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

constexpr runtime::u64 kMaxSignal = 64;

// The nesting depth.
[[nodiscard]] runtime::Result<runtime::i32> start(Handle& handle, runtime::u64 argument) noexcept;
[[nodiscard]] runtime::Status commit(Handle& handle) noexcept;
[[nodiscard]] runtime::Status cancel(Handle& handle, runtime::u64 flags) noexcept;
[[nodiscard]] runtime::Status validate(Handle& handle, runtime::u64 flags) noexcept;
[[nodiscard]] runtime::Status wait(Handle& handle, runtime::u64 timeout_ns,
                                   runtime::u32 flags) noexcept;
void describe_transaction(Handle& handle, stm_transaction& transaction) noexcept;

// Bytes that went through.
[[nodiscard]] runtime::Result<runtime::u64> read_transactional(Handle& handle, stm_user_buffer* to,
                                                               runtime::u64 position) noexcept;
[[nodiscard]] runtime::Result<runtime::u64>
write_transactional(Handle& handle, stm_user_buffer* from, runtime::u64 position) noexcept;

} // namespace stm::kernel
