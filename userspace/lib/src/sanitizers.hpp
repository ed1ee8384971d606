// SPDX-License-Identifier: LGPL-2.1-or-later
// A restart leaves functions without their end, as longjmp does. The sanitizers of the compilers
// know longjmp, and have to be told of restarts: the address sanitizer, that nothing of the frames
// is there any more; the thread sanitizer, how deep the calls are, which it counts. Without them
// all of this does nothing.
#pragma once

#include <cstdint>

namespace stm::library {

struct ThreadTransaction;

/** The stack from `low` to `high`, of the calling thread, has been given up. */
void tell_of_left_frames(std::uintptr_t low, std::uintptr_t high);

} // namespace stm::library

extern "C" {
/** 1: the thread sanitizer is in the process. For transaction_start.S. */
extern const int stm_library_has_tsan;
/** The transaction on @fd that the calling thread has just begun, with memory for a jmp_buf in
 * `way_back`; null: it is a part of one, or there is no memory. Called in transaction_start.S. */
stm::library::ThreadTransaction* stm_library_just_begun(int fd);
}
