// SPDX-License-Identifier: GPL-2.0
// The requests STM_IOC_START, STM_IOC_COMMIT, STM_IOC_CANCEL, STM_IOC_VALIDATE and STM_IOC_WAIT, by
// the thread whose transaction it is. What each does is documented in <stm/ioctl.h>. The region's
// size is settled.
#pragma once

#include "kernel/core/handle.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/commit_steps.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

constexpr runtime::u64 kMaxSignal = 64;

// Begins a transaction of the calling thread's context, in which none runs. `signal`: to be sent to
// it when it is doomed; 0: none. `site`: for the prediction; 0: none.
[[nodiscard]] runtime::Status begin_outermost(Handle& handle, Context& context, protocol::Path path,
                                              int signal, runtime::u32 site) noexcept;

// The nesting depth.
[[nodiscard]] runtime::Result<runtime::i32> start(Handle& handle, runtime::u64 argument) noexcept;
[[nodiscard]] runtime::Status commit(Handle& handle, runtime::u64 flags) noexcept;
// The same for the calling thread's context, in which a transaction runs.
[[nodiscard]] runtime::Status commit_innermost(Handle& handle, Context& context) noexcept;
[[nodiscard]] runtime::Status cancel(Handle& handle, runtime::u64 flags) noexcept;
[[nodiscard]] runtime::Status validate(Handle& handle, runtime::u64 flags) noexcept;
[[nodiscard]] runtime::Status wait(Handle& handle, runtime::u64 timeout_ns,
                                   runtime::u32 flags) noexcept;

// Commits the context's transaction, or that of a single call. It waits without the lock.
[[nodiscard]] protocol::AbortReason commit_outermost(Context& context) noexcept;

} // namespace stm::kernel
