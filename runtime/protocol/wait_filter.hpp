// SPDX-License-Identifier: LGPL-2.1-or-later
// Tells a committer whether a thread sleeps until one of the stripes that it has just written
// changes. If none sleeps this costs one load. This is the data structure only: the caller sleeps
// and wakes.
//
// Stripes are hashed to 64 bits. A waiter announces the bits of its read set. A committer wakes
// with the bits of its write set, and need not wake a waiter that has none of these bits (as with
// FUTEX_WAIT_BITSET, and with wake-up keys in the kernel). A hit may be false: a waiter that is
// woken validates, and sleeps again if nothing that it read has changed.
//
// No wake-up is lost. The waiter does this: announce, clock_meet(), validate, sleep. The committer
// does this: lock, clock_advance(), apply, release, look here, wake. Both operations on the clock
// are acquire-release read-modify-writes of one variable, so one comes first. If the waiter's comes
// first, the committer sees the announcement and wakes. If the committer's comes first, the
// waiter's validation sees the lock or the new version, and does not sleep. The gap between
// "validate" and "sleep" remains: the caller's sleep must not miss a wake-up that comes in between
// (prepare_to_wait before the validation, or a lock held over both).
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

using WaitMask = u64;

[[nodiscard]] constexpr WaitMask wait_bit(u64 stripe) noexcept {
    return WaitMask{1} << (stripe * 0x9e3779b97f4a7c15ull >> 58);
}

class WaitFilter : runtime::NonCopyable {
public:
    // Any thread may call these in any context, but not in a signal handler that may have
    // interrupted the same pair. Every announce is followed by one withdraw with the same mask. A
    // mask must not be 0: a waiter that has read nothing would wait forever.
    void announce(WaitMask mask) noexcept {
        each_bit(mask, [](runtime::Atomic<u32>& waiters) {
            waiters.fetch_add(1, runtime::Order::relaxed);
        });
        waiting_.fetch_add(1, runtime::Order::release);
        if (shared_ != nullptr)
            shared_->fetch_add(1, runtime::Order::release);
    }

    void withdraw(WaitMask mask) noexcept {
        if (shared_ != nullptr)
            shared_->fetch_sub(1, runtime::Order::release);
        waiting_.fetch_sub(1, runtime::Order::release);
        each_bit(mask, [](runtime::Atomic<u32>& waiters) {
            waiters.fetch_sub(1, runtime::Order::relaxed);
        });
    }

    // From now on the number of waiting threads also stands there, for committers that do not see
    // this object. Before any thread waits.
    void share(runtime::Atomic<u32>& count) noexcept { shared_ = &count; }

    // True if no thread waits. Call it after the clock was advanced (see above).
    [[nodiscard]] bool idle() const noexcept { return waiting_.load(runtime::Order::acquire) == 0; }

    // The bits of the mask for which a thread waits; 0: none need be woken.
    [[nodiscard]] WaitMask awaited(WaitMask mask) const noexcept {
        WaitMask hit = 0;
        for (WaitMask rest = mask; rest != 0; rest &= rest - 1) {
            const u32 bit = static_cast<u32>(__builtin_ctzll(rest));
            if (waiters_[bit].load(runtime::Order::relaxed) != 0)
                hit |= WaitMask{1} << bit;
        }
        return hit;
    }

    // The number of waiting threads now, for statistics.
    [[nodiscard]] u32 waiting() const noexcept { return waiting_.load(runtime::Order::relaxed); }

private:
    template <typename Function>
    void each_bit(WaitMask mask, Function function) noexcept {
        for (; mask != 0; mask &= mask - 1)
            function(waiters_[__builtin_ctzll(mask)]);
    }

    runtime::Atomic<u32>* shared_ = nullptr;
    runtime::Atomic<u32> waiting_{0};
    runtime::Atomic<u32> waiters_[64];
};

} // namespace stm::protocol
