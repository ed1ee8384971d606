// SPDX-License-Identifier: GPL-2.0
// The requests that only report. <stm/ioctl.h> documents what each reports.
#pragma once

#include "kernel/core/request.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

[[nodiscard]] runtime::Result<runtime::i32> tell_version(const Request& request,
                                                         stm_version& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> tell_info(const Request& request,
                                                      stm_info& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> tell_attachments(const Request& request,
                                                             stm_attachments& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> tell_places(const Request& request,
                                                        stm_places& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> tell_transaction(const Request& request,
                                                             stm_transaction& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> tell_statistics(const Request& request,
                                                            stm_statistics& argument) noexcept;

} // namespace stm::kernel
