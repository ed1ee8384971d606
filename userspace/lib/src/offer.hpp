// SPDX-License-Identifier: LGPL-2.1-or-later
// Starts without a system call: see struct stm_start_cell in stm/ioctl.h.
#pragma once

#include "thread_state.hpp"

#include <cstdint>

namespace stm::library {

/** The number of the place that called stm_start; 0: the program wants no prediction. */
std::uint64_t wanted_site(const Registers& registers);

/**
 * Begins a transaction without a system call, if the kernel has offered that. The kernel hears of
 * it by the next one, or by a page fault. `closes`: of the transaction's descriptor, by
 * closes_of(); `site`: the wanted one.
 */
bool start_by_offer(ThreadTransaction& transaction, unsigned closes, std::uint64_t site);

/** After a start by a system call: makes sure that the kernel knows the cell, so that it can offer
 * the next one. That it cannot be is no error. */
void attach_cell(ThreadState& thread, ThreadTransaction* transaction, unsigned closes);

} // namespace stm::library
