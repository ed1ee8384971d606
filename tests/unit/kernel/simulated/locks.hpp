// SPDX-License-Identifier: GPL-2.0
// The order of locks: which the calling thread holds, and which it may take.
#pragma once

namespace stm::simulated {

// The calling thread is about to wait for it.
void before_acquiring(const void* lock);
void acquired(const void* lock, int rank);
void released(const void* lock);

} // namespace stm::simulated
