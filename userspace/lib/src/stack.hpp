// SPDX-License-Identifier: LGPL-2.1-or-later
// Whether a function has returned, as far as stack pointers tell.
#pragma once

#include <cstdint>

namespace stm::library {

/** A stretch of memory in which stacks grow downwards. */
struct Stack {
    std::uintptr_t low;
    std::uintptr_t high; // both 0: unknown

    /** Of the calling thread; what its coroutines and signal handlers use besides is no part of it.
     * May allocate memory: not for signal handlers. */
    static Stack of_thread();

    /**
     * Whether the frame in which the stack pointer was `then` is gone, now that it is `now`. Both
     * are values that a function of the program had between calls. True only if it is certain: not
     * if one of the two belongs to another stack. For signal handlers too.
     */
    [[nodiscard]] bool has_left(std::uintptr_t then, std::uintptr_t now) const;
};

} // namespace stm::library
