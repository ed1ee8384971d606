// SPDX-License-Identifier: LGPL-2.1-or-later
// A restart leaves functions before their end, as longjmp does. The compilers' sanitizers know
// longjmp, but have to be told of restarts. The address sanitizer must learn that the frames are
// gone. The thread sanitizer counts calls, and must learn how deep they are. Without the sanitizers
// all of this does nothing.
#pragma once

#include <cstdint>

namespace stm::library {

struct ThreadTransaction;

/** Tells that the calling thread's stack from `low` to `high` has been given up. */
void tell_of_left_frames(std::uintptr_t low, std::uintptr_t high);

} // namespace stm::library

extern "C" {
/** 1: the thread sanitizer is in the process. For transaction_start.S. */
extern const int stm_library_has_tsan;
/** The transaction on @fd that the calling thread has just begun, with memory for a jmp_buf in
 * `way_back`. Null: it is a nested part, or there is no memory. Called in transaction_start.S. */
stm::library::ThreadTransaction* stm_library_just_begun(int fd);
}
