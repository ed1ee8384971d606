// SPDX-License-Identifier: GPL-2.0
// What a page fault in a mapping is answered with, and what may be mapped at all.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/interface/entry.h"
#include "runtime/support/result.hpp"

namespace stm::kernel {

// Checks a mapping of the region, whose size is settled; STM_MAP_* of what it may become.
// Error::invalid: not all of it lies in the region. Error::access: PROT_EXEC where it is not
// allowed.
[[nodiscard]] runtime::Result<runtime::u32> check_mapping(const Region& region, runtime::u64 first,
                                                          runtime::u64 pages,
                                                          runtime::u32 wanted) noexcept;

// Takes no lock: any number of threads may fault at once.
[[nodiscard]] stm_fault_result serve_fault(Region& region, stm_fault& fault) noexcept;

} // namespace stm::kernel
