// SPDX-License-Identifier: GPL-2.0
// A page fault that gets a page which is the same for every process.
#pragma once

#include "kernel/core/page_store.hpp"
#include "kernel/interface/fault.h"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Serves the fault from a store that has room for `pages` pages, and allocates the page if there is
// none. Linux knows the store's pages as those of the identity from `first` on. The pages around it
// that are there already come along: each saves a fault of its own.
[[nodiscard]] stm_fault_result serve_from(PageStore& store, runtime::u64 pages,
                                          stm_identity* identity, runtime::u64 first,
                                          stm_fault& fault) noexcept;

} // namespace stm::kernel
