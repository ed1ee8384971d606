// SPDX-License-Identifier: GPL-2.0
// The requests STM_IOC_COMMIT_SETS and STM_IOC_WAIT_SETS: for transactions that programs run by
// themselves, with what they have mapped (windows.hpp). What each does is documented in
// <stm/ioctl.h>.
#pragma once

#include "kernel/core/request.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// What a caller says of its commit; what is behind that is an answer alone.
inline constexpr runtime::u32 kCommitSetsRead = __builtin_offsetof(stm_commit_sets, version);

// STM_IOC_COMMIT_SETS as a whole, from the address of its structure.
[[nodiscard]] runtime::Result<runtime::i32> commit_given_sets_at(Registry& registry, Handle& handle,
                                                                 runtime::u64 address) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> commit_given_sets(const Request& request,
                                                              stm_commit_sets& argument) noexcept;
[[nodiscard]] runtime::Result<runtime::i32> wait_for_given_sets(const Request& request,
                                                                stm_wait_sets& argument) noexcept;

} // namespace stm::kernel
