// SPDX-License-Identifier: LGPL-2.1-or-later
// Why something failed: the errno values of Linux on x86 that this project uses, under names that
// are no macros.
//
// Invariants: there is no enumerator for success; an Error is always an error. A value that came
// from Linux and has no name here is kept as it is.
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/types.hpp"

namespace stm::runtime {

enum class Error : i32 {
    perm = 1,           // EPERM
    not_found = 2,      // ENOENT
    interrupted = 4,    // EINTR
    no_address = 6,     // ENXIO
    too_big = 7,        // E2BIG
    bad_descriptor = 9, // EBADF
    again = 11,         // EAGAIN
    no_memory = 12,     // ENOMEM
    access = 13,        // EACCES
    fault = 14,         // EFAULT
    busy = 16,          // EBUSY
    exists = 17,        // EEXIST
    invalid = 22,       // EINVAL
    no_tty = 25,        // ENOTTY
    file_too_big = 27,  // EFBIG
    no_space = 28,      // ENOSPC
    read_only = 30,     // EROFS
    deadlock = 35,      // EDEADLK
    name_too_long = 36, // ENAMETOOLONG
    overflow = 75,      // EOVERFLOW
    not_supported = 95, // EOPNOTSUPP
    timed_out = 110,    // ETIMEDOUT
    stale = 116,        // ESTALE
    over_quota = 122,   // EDQUOT
    canceled = 125,     // ECANCELED
    restart = 512,      // ERESTARTSYS: between the module and Linux only
};

// The largest errno value that Linux encodes in a negative result.
inline constexpr i32 kMaxErrno = 4095;

// The negative number that a system call or a kernel function returns for the error.
[[nodiscard]] constexpr i32 to_errno(Error error) noexcept {
    return -static_cast<i32>(error);
}

// The error in a negative result of Linux. The result must be in [-kMaxErrno, -1].
[[nodiscard]] constexpr Error from_errno(i64 result) noexcept {
    expects(result < 0 && result >= -kMaxErrno, "from_errno: not a negative errno value");
    return static_cast<Error>(-result);
}

} // namespace stm::runtime
