// SPDX-License-Identifier: GPL-2.0
// How long a request may still wait.
#pragma once

#include "kernel/core/uapi.hpp"
#include "kernel/core/wait_queue.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

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

// Whether a wake-up comes with each change of what somebody waits for.
enum class Wakes { always, mostly };

// Calls wait(nanoseconds), which asks its condition first, until that holds or the time is over. If
// wake-ups come only mostly, the condition is asked ten times in a second.
template <typename Wait>
[[nodiscard]] runtime::Status wait_and_look(Wakes wakes, runtime::u64 timeout_ns,
                                            Wait wait) noexcept {
    constexpr runtime::u64 kLookNs = 100'000'000;
    if (wakes == Wakes::always)
        return wait(timeout_ns);
    const runtime::u64 begin = stm_linux_monotonic_ns();
    for (;;) {
        const runtime::u64 gone = stm_linux_monotonic_ns() - begin;
        const runtime::u64 left = timeout_ns == kForever ? kForever
                                  : timeout_ns > gone    ? timeout_ns - gone
                                                         : 0;
        const runtime::Status waited = wait(runtime::min(left, kLookNs));
        if (waited.ok() || waited.error() != runtime::Error::timed_out || left <= kLookNs)
            return waited;
    }
}

} // namespace stm::kernel
