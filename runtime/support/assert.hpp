// SPDX-License-Identifier: LGPL-2.1-or-later
// Checks of invariants, without a macro. They are always compiled in: each is one comparison and a
// jump that is predicted well. A check that costs more belongs in a test.
//
// Invariant: only a defect of ours can make a check fail. What user space or a full machine can
// cause is an Error in a Result, never a failed check.
#pragma once

#include "runtime/support/host.h"

namespace stm::runtime {

// Reports the message through stm_panic and stops, even where stm_panic returns by mistake. Always
// inline: if the compiler finds that an out-of-line function does not return, its callers end in a
// call, and objtool reports that they fall through. It understands a trap instruction.
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
