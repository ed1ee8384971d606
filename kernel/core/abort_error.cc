// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/abort_error.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::Error;

Error error_of(AbortReason reason) noexcept {
    switch (reason) {
    case AbortReason::too_big:
        return Error::too_big;
    case AbortReason::no_memory:
        return Error::no_memory;
    case AbortReason::signal:
    case AbortReason::killed:
        return Error::interrupted;
    case AbortReason::serial_wait:
        return Error::deadlock;
    case AbortReason::out_of_range:
        return Error::no_space;
    case AbortReason::fault:
        return Error::fault;
    case AbortReason::closed:
    case AbortReason::explicit_retry:
        return Error::canceled;
    default:
        return Error::again;
    }
}

} // namespace stm::kernel
