// SPDX-License-Identifier: LGPL-2.1-or-later
// Starts without a system call: see struct stm_start_cell in stm/ioctl.h.
#pragma once

#include "thread_state.hpp"

#include <cstdint>

namespace stm::library {

/** The number of the place that called stm_start; 0: the program wants no prediction. */
std::uint64_t wanted_site(const Registers& registers);

/** The same number, if the program wants prediction: 32 bits of a multiplicative hash, never 0. */
inline std::uint64_t site_of(const Registers& registers) {
    return (registers.rip * 0x9e3779b97f4a7c15 >> 32) | 1;
}

/**
 * Begins a transaction without a system call, if the kernel has offered that. The kernel learns of
 * it at the next system call, or at a page fault. `closes`: closes_of() the transaction's
 * descriptor. `site`: the wanted site.
 */
bool start_by_offer(ThreadTransaction& transaction, unsigned closes, std::uint64_t site);

/** Ends a transaction that began so, if it has only loaded pages that were in a warm mapping, and
 * the kernel has not learned of it. It is committed then. */
bool end_by_offer(const ThreadTransaction& transaction);

/** After a start by a system call: makes sure that the kernel knows the cell, so that it can offer
 * the next start. It is no error if this fails. */
void attach_cell(ThreadState& thread, ThreadTransaction* transaction, unsigned closes);

} // namespace stm::library
