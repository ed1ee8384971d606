// SPDX-License-Identifier: GPL-2.0
// read and write calls on a plain region, with the results of a file of fixed size: 0 at its end, a
// short count before it, Error::no_space for a write that begins there.
//
// Each call is atomic against the others, in pieces of kAtomicBytes: many readers or one writer.
// Bytes go through a buffer of the kernel's own, so no lock is held while user memory is touched,
// which may be a mapping of this very region.
#pragma once

#include "kernel/core/region.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

inline constexpr runtime::usize kAtomicBytes = 256 * 1024;

// How much of a call at this position fits into the region; 0 behind its end.
[[nodiscard]] runtime::u64 fitting(const Region& region, stm_user_buffer* buffer,
                                   runtime::u64 position) noexcept;

// Bytes that went through. The region's size is settled. A call that fails after its first piece
// reports the bytes before. Error::fault, Error::no_memory, Error::interrupted.
[[nodiscard]] runtime::Result<runtime::u64> read_contents(Region& region, stm_user_buffer* to,
                                                          runtime::u64 position) noexcept;
[[nodiscard]] runtime::Result<runtime::u64> write_contents(Region& region, stm_user_buffer* from,
                                                           runtime::u64 position) noexcept;

} // namespace stm::kernel
