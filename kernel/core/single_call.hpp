// SPDX-License-Identifier: GPL-2.0
// Reads and writes by system calls: what their failure means for the thread's transaction, and the
// transaction of a call that is one of its own.
#pragma once

#include "kernel/core/context.hpp"
#include "kernel/core/transactions.hpp"
#include "kernel/interface/services.h"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/support/error.hpp"

namespace stm::kernel {

// The transaction of the calling thread has failed and is over, whatever the program does with the
// call's result: it may have meant to do all of the call, or nothing.
[[nodiscard]] runtime::Error fail_by_call(Context& context, protocol::AbortReason reason) noexcept;

// Begins the transaction of a single call. It may wait before.
[[nodiscard]] protocol::AbortReason begin_single_call(Context& context) noexcept;

// Does move() as a transaction of its own, again after each conflict. move() returns `none` to have
// it committed, and holds no lock when it returns. The result is no conflict.
template <typename Move>
[[nodiscard]] protocol::AbortReason run_single_call(Context& context, Move move) noexcept {
    for (;;) {
        protocol::AbortReason ended = begin_single_call(context);
        if (ended != protocol::AbortReason::none)
            return ended;
        ended = move();
        if (ended == protocol::AbortReason::none) {
            ended = commit_outermost(context);
        } else {
            const Context::Guard held(context.lock());
            context.cancel(ended);
        }
        if (!protocol::is_conflict(ended))
            return ended;
        if (stm_linux_dying() != 0)
            return protocol::AbortReason::killed;
    }
}

} // namespace stm::kernel
