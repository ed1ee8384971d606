// SPDX-License-Identifier: GPL-2.0
// Threads sleep here until a condition holds.
#pragma once

#include "kernel/interface/services.h"
#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

inline constexpr runtime::u64 kForever = ~runtime::u64{0};

class WaitQueue : runtime::NonCopyable {
public:
    WaitQueue() noexcept { stm_linux_wait_queue_init(&queue_); }

    // Sleeps until ready() is true, which must not sleep; asked first and after each wake() with
    // one of the keys. Error::timed_out, Error::interrupted.
    template <typename Ready>
    [[nodiscard]] runtime::Status wait(Ready ready, runtime::u64 timeout_ns, stm_wait_kind kind,
                                       runtime::u64 keys = kAllKeys) noexcept {
        const stm_bed bed = this->bed(keys);
        return wait_on(runtime::Span<const stm_bed>(&bed, 1), ready, STM_ASKS_SLEEPER, timeout_ns,
                       kind);
    }
    // The same on several queues at once, at most STM_MOST_BEDS. With STM_ASKS_WAKER any thread may
    // call ready().
    template <typename Ready>
    [[nodiscard]] static runtime::Status wait_on(runtime::Span<const stm_bed> beds, Ready& ready,
                                                 stm_wait_asks asks, runtime::u64 timeout_ns,
                                                 stm_wait_kind kind) noexcept {
        const auto ask = [](void* context) -> int {
            return (*static_cast<Ready*>(context))() ? 1 : 0;
        };
        return runtime::status_from_errno(stm_linux_wait(
            beds.data(), static_cast<unsigned>(beds.size()), ask, &ready, asks, timeout_ns, kind));
    }
    [[nodiscard]] stm_bed bed(runtime::u64 keys) noexcept { return {&queue_, keys}; }
    void wake(runtime::u64 keys = kAllKeys) noexcept { stm_linux_wake(&queue_, keys); }

    static constexpr runtime::u64 kAllKeys = ~runtime::u64{0};

private:
    stm_wait_queue queue_;
};

// Programs wait here by poll.
class PollQueue : runtime::NonCopyable {
public:
    PollQueue() noexcept { stm_linux_wait_queue_init(&queue_); }

    // Whether there was somebody to wake.
    [[nodiscard]] bool wake() noexcept { return stm_linux_wake_pollers(&queue_) != 0; }
    [[nodiscard]] stm_wait_queue* get() noexcept { return &queue_; }

private:
    stm_wait_queue queue_;
};

} // namespace stm::kernel
