// SPDX-License-Identifier: GPL-2.0
// The request STM_IOC_VECTOR: several reads and writes in one call. Documented in <stm/ioctl.h>.
#pragma once

#include "kernel/core/request.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

[[nodiscard]] runtime::Result<runtime::i32> access_vector(const Request& request,
                                                          stm_vector& argument) noexcept;

} // namespace stm::kernel
