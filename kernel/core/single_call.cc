// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/single_call.hpp"

#include "kernel/core/abort_error.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::Error;
using Guard = Context::Guard;

Error fail_by_call(Context& context, AbortReason reason) noexcept {
    const Guard held(context.lock());
    if (protocol::is_conflict(reason)) {
        context.tell_doomed();
        return error_of(reason);
    }
    context.fail(reason);
    return error_of(context.failure()); // that of the first one that failed
}

AbortReason begin_single_call(Context& context) noexcept {
    Context::Plan plan;
    {
        const Guard held(context.lock());
        plan = context.plan_call();
        if (!plan.waits()) [[likely]]
            return context.begin_call(plan);
    }
    const AbortReason waited = context.await_start(plan);
    if (waited != AbortReason::none)
        return waited;
    const Guard held(context.lock());
    return context.begin_call(plan);
}

} // namespace stm::kernel
