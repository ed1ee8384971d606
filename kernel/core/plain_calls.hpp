// SPDX-License-Identifier: GPL-2.0
// Plain regions: read and write calls, with the results of a file of fixed size (0 at its end, a
// short count before it, Error::no_space for a write that begins there), and page faults.
//
// Each call is atomic against the others, in pieces of kAtomicBytes: many readers or one writer.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/interface/fault.h"
#include "kernel/interface/services.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

inline constexpr runtime::usize kAtomicBytes = 256 * 1024;

// Bytes that went through. The region's size is settled. A call that fails after its first piece
// reports the bytes before. Error::fault, Error::no_memory, Error::interrupted.
[[nodiscard]] runtime::Result<runtime::u64> read_plain(Region& region, stm_user_buffer* to,
                                                       runtime::u64 position) noexcept;
[[nodiscard]] runtime::Result<runtime::u64> write_plain(Region& region, stm_user_buffer* from,
                                                        runtime::u64 position) noexcept;

// The result of stm_core_fault(). Takes no lock: any number of threads may fault at once.
[[nodiscard]] stm_fault_result serve_plain_fault(Region& region, stm_fault& fault) noexcept;

} // namespace stm::kernel
