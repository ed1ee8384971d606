// SPDX-License-Identifier: GPL-2.0
// Threads sleep here until a condition holds.
#pragma once

#include "kernel/interface/services.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

inline constexpr runtime::u64 kForever = ~runtime::u64{0};

class WaitQueue : runtime::NonCopyable {
public:
    WaitQueue() noexcept { stm_linux_wait_queue_init(&queue_); }

    // Sleeps until ready() is true, which must not sleep; asked first and after each wake().
    // Error::timed_out, Error::interrupted.
    template <typename Ready>
    [[nodiscard]] runtime::Status wait(Ready ready, runtime::u64 timeout_ns,
                                       stm_wait_kind kind) noexcept {
        const auto ask = [](void* context) -> int {
            return (*static_cast<Ready*>(context))() ? 1 : 0;
        };
        return runtime::status_from_errno(stm_linux_wait(&queue_, ask, &ready, timeout_ns, kind));
    }
    void wake() noexcept { stm_linux_wake(&queue_); }
    [[nodiscard]] stm_wait_queue* get() noexcept { return &queue_; }

private:
    stm_wait_queue queue_;
};

} // namespace stm::kernel
