// SPDX-License-Identifier: GPL-2.0
// The requests of threads that commit to a direct region by themselves.
#pragma once

#include "kernel/core/request.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// STM_IOC_JOURNAL
[[nodiscard]] runtime::Result<runtime::i32> claim_journal(const Request& request,
                                                          stm_claim_journal& argument) noexcept;
// STM_IOC_SETTLE: the argument is a stripe's number.
[[nodiscard]] runtime::Result<runtime::i32> settle_stripe(const Request& request) noexcept;
// STM_IOC_WAKE: the argument is a mask of keys.
[[nodiscard]] runtime::Result<runtime::i32> wake_waiting(const Request& request) noexcept;

} // namespace stm::kernel
