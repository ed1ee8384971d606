// SPDX-License-Identifier: GPL-2.0
// The windows of a transactional region: what a program maps to read by itself, beside the region's
// bytes. They show the committed bytes, the ownership records and the clock, the same to every
// process, and never allow a store.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/interface/fault.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Whether page `index` of a handle's file belongs to a window.
[[nodiscard]] constexpr bool is_in_window(runtime::u64 index) noexcept {
    return index >= STM_OFFSET_COMMITTED / kPageBytes;
}

// Checks a mapping that begins in a window, of a region whose size is settled. Error::invalid: not
// all of it lies in that window, or the region is plain. Error::access: it asks for more than
// loads.
[[nodiscard]] runtime::Status check_window(const Region& region, runtime::u64 first,
                                           runtime::u64 pages, runtime::u32 wanted) noexcept;

[[nodiscard]] stm_fault_result serve_window_fault(Region& region, stm_fault& fault) noexcept;

} // namespace stm::kernel
