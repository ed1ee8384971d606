// SPDX-License-Identifier: GPL-2.0
// How long a request may still wait.
#pragma once

#include "kernel/core/uapi.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// The `timeout_ns` of a request in nanoseconds from now; with STM_WAIT_UNTIL among the flags it is
// a time.
[[nodiscard]] inline runtime::u64 remaining_ns(runtime::u64 timeout_ns,
                                               runtime::u32 flags) noexcept {
    if ((flags & STM_WAIT_UNTIL) == 0 || timeout_ns == STM_WAIT_FOREVER)
        return timeout_ns;
    const runtime::u64 now = stm_linux_monotonic_ns();
    return timeout_ns > now ? timeout_ns - now : 0;
}

} // namespace stm::kernel
