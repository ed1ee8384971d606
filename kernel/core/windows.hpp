// SPDX-License-Identifier: GPL-2.0
// The windows of a transactional region: what a program maps to read by itself, beside the region's
// bytes. They show the committed bytes, the ownership records and the clock, the same to every
// process. They allow a store in a direct region alone, to a thread that has a journal.
#pragma once

#include "kernel/core/handle.hpp"
#include "kernel/interface/fault.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Whether page `index` of a handle's file belongs to a window.
[[nodiscard]] constexpr bool is_in_window(runtime::u64 index) noexcept {
    return index >= STM_OFFSET_COMMITTED / kPageBytes;
}

// Checks a mapping of the handle that begins in a window, of a region whose size is settled.
// Returns what it may become, STM_MAP_*. Error::invalid: not all of it lies in that window, or the
// region is plain. Error::access: it asks for more than loads, and more than the handle and the
// region allow.
[[nodiscard]] runtime::Result<runtime::u32> check_window(const Handle& handle, runtime::u64 first,
                                                         runtime::u64 pages,
                                                         runtime::u32 wanted) noexcept;

// A fault for a load.
[[nodiscard]] stm_fault_result serve_window_fault(Region& region, stm_fault& fault) noexcept;
// Whether the calling thread may store in the window of a direct region. STM_FAULT_AGAIN: it goes
// on at fault.resume instead.
[[nodiscard]] stm_fault_result check_window_store(const Handle& handle, stm_fault& fault) noexcept;
// The same for a page that is mapped for loads. STM_FAULT_AGAIN: not any more.
[[nodiscard]] stm_fault_result make_window_writable(Handle& handle, stm_fault& fault) noexcept;

} // namespace stm::kernel
