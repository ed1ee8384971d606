// SPDX-License-Identifier: GPL-2.0
// The numbers by which Linux knows the pages of a region: as pages of its identity, and as pages of
// the file that a program maps.
#pragma once

#include "kernel/core/page_store.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Of the identity: data pages from 0 on, then the pages of ownership records, then the clock's,
// then those of journals.
inline constexpr runtime::u64 kOrecIndex = runtime::u64{1} << 40;
inline constexpr runtime::u64 kClockIndex = runtime::u64{1} << 41;
inline constexpr runtime::u64 kJournalIndex = runtime::u64{1} << 42;

inline constexpr runtime::u64 kOrecsPerPage = kPageBytes / sizeof(runtime::u64);

} // namespace stm::kernel
