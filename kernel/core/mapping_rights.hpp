// SPDX-License-Identifier: GPL-2.0
// What may be mapped, and what a mapping may become.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/interface/fault.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Checks a mapping of the region, whose size is settled. Returns STM_MAP_*, what the mapping may
// become. Error::invalid: not all of it lies in the region. Error::access: PROT_EXEC where it is
// not allowed.
[[nodiscard]] runtime::Result<runtime::u32> check_mapping(const Region& region, runtime::u64 first,
                                                          runtime::u64 pages,
                                                          runtime::u32 wanted) noexcept;

} // namespace stm::kernel
