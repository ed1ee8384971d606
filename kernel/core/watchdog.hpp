// SPDX-License-Identifier: GPL-2.0
// When somebody looks after the transactions of a handle whose threads do not come here: those that
// loop on data that have changed, and those that have ended. Who looks is handed in.
#pragma once

#include "kernel/core/settings.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

// Any thread, and with any lock held.
class Watchdog : runtime::NonCopyable {
    using Order = runtime::Order;

public:
    // `look` is called in a thread of Linux's own, and does not wait for what a process does with
    // its memory: it looks after others as well. `wait` is called in another one, and may.
    Watchdog(const stm_settings& settings, void (*look)(void* context), void (*wait)(void* context),
             void* context) noexcept
        : settings_(settings) {
        stm_linux_timer_init(&timer_, look, context);
        stm_linux_timer_init(&waiter_, wait, context);
    }
    // On return the watchdog does not look any more, and is not looking. Call it before anything
    // that it looks at is freed, when no transaction and no offer is left: who waits for an orphan
    // would find that one has begun, and have it look again.
    void stop() noexcept {
        stm_linux_timer_stop(&timer_); // first: who looks may have somebody wait
        stm_linux_timer_stop(&waiter_);
    }

    // Looks once, some time from now. The first thing that the one who looks does is to say
    // begin_round(): so what begins to need it from then on asks again.
    void watch() noexcept {
        const runtime::u32 milliseconds = current(settings_.watchdog_ms);
        if (milliseconds != 0 && !watching_.load(Order::relaxed) &&
            !watching_.exchange(true, Order::acq_rel))
            stm_linux_timer_arm(&timer_, milliseconds);
    }
    void begin_round() noexcept { watching_.store(false, Order::seq_cst); }
    // Looks at once, if no look is due already, also when the administrator wants no watchdog.
    void look_soon() noexcept { stm_linux_timer_arm(&timer_, 1); }
    // By the one who looks: has another one wait in his place.
    void wait_soon() noexcept { stm_linux_timer_arm(&waiter_, 1); }

private:
    const stm_settings& settings_;
    runtime::Atomic<bool> watching_{false};
    stm_timer timer_;
    stm_timer waiter_;
};

} // namespace stm::kernel
