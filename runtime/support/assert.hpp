// SPDX-License-Identifier: LGPL-2.1-or-later
// Checks of what must hold, without a macro. They are compiled in always: each is one comparison
// and a jump that is predicted well. What is too dear for that belongs into a test.
//
// What must hold: only a defect of ours can make a check fail. What user space or a full machine
// can cause is an Error in a Result, never a failed check.
#pragma once

#include "runtime/support/host.h"

namespace stm::runtime {

// Reports the message through stm_panic and stops, even where stm_panic returns by mistake.
// Always inline: an out-of-line function that the compiler finds to be noreturn makes its callers
// end in a call, which objtool takes for falling through. A trap instruction it understands.
[[gnu::always_inline]] inline void panic(const char* message) noexcept {
    stm_panic(message);
    __builtin_trap();
}

// Stops with the message unless the condition holds.
[[gnu::always_inline]] constexpr void expects(bool condition, const char* message) noexcept {
    if (!condition) [[unlikely]]
        panic(message);
}

} // namespace stm::runtime
