// SPDX-License-Identifier: LGPL-2.1-or-later
// Why an operation of a transaction did not do what was asked. The module reports these numbers, so
// they never change; new ones are appended.
#pragma once

#include "runtime/support/error.hpp"
#include "runtime/support/types.hpp"

namespace stm::protocol {

enum class [[nodiscard]] AbortReason : runtime::u8{
    none = 0,              // it succeeded
    read_locked = 1,       // a stripe to read stayed locked by a committer
    read_validation = 2,   // a stripe is newer than the snapshot, which cannot be extended
    commit_locked = 3,     // a stripe to write stayed locked by another committer
    commit_validation = 4, // something read changed before the commit
    too_big = 5,           // more stripes than the limits allow
    no_memory = 6,         // an allocation failed
    explicit_cancel = 7,   // the program cancelled
    explicit_retry = 8,    // the program asked to wait for a change
    signal = 9,            // a signal interrupted a wait
    killed = 10,           // its thread ended or called exec, or it was over already
    serial_wait = 11,      // its own thread has the serial token, by another transaction
    out_of_range = 12,     // outside of the region
    fault = 13,            // the caller's own memory could not be read or written
    closed = 14,           // its thread has no descriptor of the open file any more
    snapshot_too_old = 15, // its snapshot was fixed, and what it needs of it is not kept any more
};
inline constexpr runtime::u32 kAbortReasons = 16;

// True if another attempt of the same transaction may well succeed, because others have moved on.
// Only these count for back-off and for the serial path.
[[nodiscard]] constexpr bool is_conflict(AbortReason reason) noexcept {
    return reason == AbortReason::read_locked || reason == AbortReason::read_validation ||
           reason == AbortReason::commit_locked || reason == AbortReason::commit_validation ||
           reason == AbortReason::snapshot_too_old;
}

// The reason for the error of a failed hook of Memory.
[[nodiscard]] constexpr AbortReason reason_of(runtime::Error error) noexcept {
    switch (error) {
    case runtime::Error::interrupted:
    case runtime::Error::restart:
        return AbortReason::signal;
    case runtime::Error::canceled:
        return AbortReason::killed;
    case runtime::Error::no_memory:
    case runtime::Error::no_space:
    case runtime::Error::over_quota:
        return AbortReason::no_memory;
    default:
        return AbortReason::serial_wait;
    }
}

// The enumerator's name, a constant text for logs and tools.
[[nodiscard]] constexpr const char* to_string(AbortReason reason) noexcept {
    switch (reason) {
    case AbortReason::none:
        return "none";
    case AbortReason::read_locked:
        return "read_locked";
    case AbortReason::read_validation:
        return "read_validation";
    case AbortReason::commit_locked:
        return "commit_locked";
    case AbortReason::commit_validation:
        return "commit_validation";
    case AbortReason::too_big:
        return "too_big";
    case AbortReason::no_memory:
        return "no_memory";
    case AbortReason::explicit_cancel:
        return "explicit_cancel";
    case AbortReason::explicit_retry:
        return "explicit_retry";
    case AbortReason::signal:
        return "signal";
    case AbortReason::killed:
        return "killed";
    case AbortReason::serial_wait:
        return "serial_wait";
    case AbortReason::out_of_range:
        return "out_of_range";
    case AbortReason::fault:
        return "fault";
    case AbortReason::closed:
        return "closed";
    case AbortReason::snapshot_too_old:
        return "snapshot_too_old";
    }
    return "unknown";
}

} // namespace stm::protocol
