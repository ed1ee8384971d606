// SPDX-License-Identifier: GPL-2.0
// How long a serial transaction of a region may keep others waiting, as the module's parameters
// say.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/core/serial_token.hpp"
#include "kernel/core/settings.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

[[nodiscard]] inline Lease lease_in(const Region& region) noexcept {
    constexpr runtime::u64 kNsPerMs = 1'000'000;
    const stm_settings& settings = region.settings();
    const runtime::u64 first_ms = current(settings.serial_lease_ms);
    if ((region.flags() & STM_REGION_MUTEX) != 0 || first_ms == 0)
        return {};
    const runtime::u64 most_ms =
        runtime::max(first_ms, runtime::u64{current(settings.serial_lease_max_ms)});
    return {.first_ns = first_ms * kNsPerMs, .most_ns = most_ms * kNsPerMs};
}

} // namespace stm::kernel
