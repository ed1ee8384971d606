// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether a function has returned, as far as stack pointers tell.
#pragma once

#include <cstdint>

namespace stm::library {

/** The memory of a stack, which grows downwards. */
struct Stack {
    std::uintptr_t low;
    std::uintptr_t high; // both 0: unknown

    /** The calling thread's stack. Other stacks that its coroutines and signal handlers use do not
     * belong to it. May allocate memory, so signal handlers must not call it. */
    static Stack of_thread();

    /**
     * Whether the frame in which the stack pointer was `then` is gone, now that it is `now`. Both
     * are values that a function of the program had between calls. The result is true only if this
     * is certain; it is false if one of the two belongs to another stack. Signal handlers may call
     * it.
     */
    [[nodiscard]] bool has_left(std::uintptr_t then, std::uintptr_t now) const;
};

} // namespace stm::library
