// SPDX-License-Identifier: GPL-2.0
// What the tracepoints tell, gathered where somebody watches: `if (stm_linux_traced() != 0)` comes
// before each of these. Nothing here changes what happens.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/core/region_stripes.hpp"
#include "kernel/interface/trace.h"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

[[nodiscard]] inline stm_trace_region traced(const Region& region) noexcept {
    return {region.id(), region.name().c_str()};
}

// Who is in the way at the stripe, as far as its record tells now.
template <typename Stripes>
[[nodiscard]] stm_trace_conflict traced_conflict(Stripes& stripes, runtime::u64 stripe) noexcept {
    stm_trace_conflict conflict{-1, 0, 0};
    if (stripe >= stripes.size() / protocol::kStripeBytes)
        return conflict;
    conflict.offset = static_cast<__s64>(stripe * protocol::kStripeBytes);
    const runtime::Atomic<runtime::u64>* const record = stripes.orec(stripe);
    const protocol::Orec now{record == nullptr ? 0 : record->load(runtime::Order::relaxed)};
    if (now.is_locked())
        conflict.locked_by = now.owner();
    else
        conflict.version = now.version();
    return conflict;
}

// A wait for what `wait` returns a Status of.
template <typename Wait>
[[nodiscard]] runtime::Status traced_wait(const Region& region, stm_trace_wait what,
                                          Wait wait) noexcept {
    if (stm_linux_traced() == 0) [[likely]]
        return wait();
    const runtime::u64 begin = stm_linux_monotonic_ns();
    const runtime::Status waited = wait();
    stm_linux_trace_wait(traced(region), what, stm_linux_monotonic_ns() - begin,
                         runtime::to_errno(waited));
    return waited;
}

} // namespace stm::kernel
