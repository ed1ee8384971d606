// SPDX-License-Identifier: GPL-2.0
// The ioctl requests of <stm/ioctl.h>.
#pragma once

#include "kernel/core/handle.hpp"
#include "kernel/core/registry.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// The argument is a user address. The result is the request's own (0, or a new descriptor). Errors:
// <stm/ioctl.h>.
[[nodiscard]] runtime::Result<runtime::i32>
control(Registry& registry, Handle& handle, runtime::u32 request, runtime::u64 argument) noexcept;

// The same for any request, also one that control() knows by itself.
[[nodiscard]] runtime::Result<runtime::i32> control_by_table(Registry& registry, Handle& handle,
                                                             runtime::u32 number,
                                                             runtime::u64 argument) noexcept;

} // namespace stm::kernel
