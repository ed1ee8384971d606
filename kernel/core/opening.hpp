// SPDX-License-Identifier: GPL-2.0
// The requests that make, open, size and destroy regions. What each does is documented in
// <stm/ioctl.h>.
#pragma once

#include "kernel/core/request.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// The new descriptor.
[[nodiscard]] runtime::Result<runtime::i32> open_region(const Request& request,
                                                        stm_open& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> name_place(const Request& request,
                                                       stm_place& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> set_size(const Request& request,
                                                     stm_set_size& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> destroy_region(const Request& request,
                                                           stm_destroy& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> change_segment(const Request& request,
                                                           stm_change_segment& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> detach_segment(const Request& request,
                                                           stm_detach_segment& argument) noexcept;

} // namespace stm::kernel
