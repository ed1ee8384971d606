// SPDX-License-Identifier: GPL-2.0
// Page faults in mappings of a transactional region. What each stage of a context means for them is
// the table in view_stage.hpp.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/core/view.hpp"
#include "kernel/interface/fault.h"

namespace stm::kernel {

// The results of stm_core_transactional_fault() and stm_core_make_writable(). No lock of the core
// is held, but the lock of the mapping is.
[[nodiscard]] stm_fault_result serve_transactional_fault(Region& region, View& view,
                                                         stm_fault& fault) noexcept;
[[nodiscard]] stm_fault_result make_writable(View& view, stm_fault& fault, stm_page* page) noexcept;

} // namespace stm::kernel
