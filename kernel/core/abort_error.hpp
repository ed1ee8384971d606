// SPDX-License-Identifier: GPL-2.0
// The errors of calls whose transaction ended, or cannot go on, for a reason of the engine.
#pragma once

#include "kernel/core/uapi.hpp"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// The numbers of the UAPI are the engine's.
static_assert(STM_REASON_FAULT == static_cast<runtime::u32>(protocol::AbortReason::fault));
static_assert(STM_REASON_RETRY == static_cast<runtime::u32>(protocol::AbortReason::explicit_retry));
static_assert(protocol::kAbortReasons <= STM_REASONS);

[[nodiscard]] runtime::Error error_of(protocol::AbortReason reason) noexcept;

[[nodiscard]] inline runtime::Status status_of(protocol::AbortReason reason) noexcept {
    return reason == protocol::AbortReason::none ? runtime::Status(runtime::kSuccess)
                                                 : runtime::Status(error_of(reason));
}

} // namespace stm::kernel
