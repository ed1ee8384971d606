// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/serial_token.hpp"

#include "kernel/core/trace.hpp"
#include "runtime/support/lock_guard.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::kSuccess;
using runtime::Order;
using runtime::Status;
using runtime::u32;
using runtime::u64;

namespace {

// How often a waiting thread checks the holder.
constexpr u64 kLookNs = 50'000'000;
// After a shorter time in user space there is no rest: each commit that waits gets in between two
// holders anyway.
constexpr u64 kShortHoldNs = 10'000'000;
// What a stop waits for commits: see spin_limit() of the region's memory.
constexpr u32 kStopSpins = 2000;
// More make no lease longer.
constexpr u32 kMostLosses = 32;

using Guard = runtime::LockGuard<Mutex>;

} // namespace

// Sleeps until ready() is true, and looks after the holder meanwhile.
template <typename Ready>
Status SerialToken::wait_for_turn(Ready ready, const Terms& terms, u32 losses) noexcept {
    while (!held_by_caller()) {
        const u64 rest = rest_ns(losses);
        const Status waited =
            queue_.wait(ready, rest == 0 ? kLookNs : runtime::min(rest, kLookNs), terms.kind);
        if (waited.ok() || waited.error() != Error::timed_out)
            return waited;
        take_away(terms);
    }
    return Error::deadlock;
}

Status SerialToken::enter(const Terms& terms) noexcept {
    if (gate_.try_enter()) [[likely]]
        return kSuccess;
    waiting_commits_.fetch_add(1, Order::acq_rel);
    const Status waited = wait_for_turn([this]() noexcept { return gate_.try_enter(); }, terms, 0);
    if (waiting_commits_.fetch_sub(1, Order::acq_rel) == 1)
        queue_.wake();
    return waited;
}

void SerialToken::leave() noexcept {
    if (gate_.leave() == protocol::SerialGate::Wake::closer)
        queue_.wake();
}

bool SerialToken::try_close() noexcept {
    if (!gate_.try_close())
        return false;
    if (shared_closed_ != nullptr) {
        shared_closed_->store(1, Order::relaxed);
        // "The gate" in runtime/protocol/journal.hpp.
        runtime::fence(Order::seq_cst);
    }
    return true;
}

Status SerialToken::acquire(const Context& context, stm_thread* thread, const Terms& terms,
                            u32 losses) noexcept {
    // Since when only commits that waited before are in the way. They are let in first, but one
    // that gets no processor for so long has to wait again.
    u64 polite_since_ns = 0;
    const auto close = [&]() noexcept {
        if (rest_ns(losses) != 0)
            return false;
        // Whoever opens it wakes us. A closed gate is not tried: it could be opened before that,
        // and the commits that wait were not looked at.
        if (gate_.is_closed()) {
            polite_since_ns = 0;
            return false;
        }
        if (waiting_commits_.load(Order::acquire) != 0) {
            const u64 now = stm_linux_monotonic_ns();
            if (polite_since_ns == 0)
                polite_since_ns = now;
            if (now - polite_since_ns < kLookNs)
                return false;
        }
        polite_since_ns = 0;
        return try_close();
    };
    for (;;) {
        Status waited = wait_for_turn(close, terms, losses);
        if (!waited.ok())
            return waited;
        {
            const Guard held(lock_);
            holder_.store(&context, Order::release);
            thread_ = thread;
            exec_id_ = stm_linux_exec_id();
            losses_ = losses;
            since_ns_ = stm_linux_monotonic_ns();
        }
        // Those inside are commits, which end by themselves; also for a thread that is being killed
        // the wait is short. One that runs late may have lost the token meanwhile.
        waited =
            queue_.wait([&] { return holder_.load(Order::acquire) != &context || gate_.drained(); },
                        kForever, STM_WAIT_KILLABLE);
        if (!waited.ok()) {
            (void)release(context, terms.lease, losses);
            return waited;
        }
        const Guard held(lock_);
        if (holder_.load(Order::relaxed) == &context) {
            since_ns_ = stm_linux_monotonic_ns();
            return kSuccess;
        }
    }
}

bool SerialToken::try_stop() noexcept {
    // A commit that had to wait is let in first, so that it waits for one stop at most.
    if (gate_.is_closed() || waiting_commits_.load(Order::acquire) != 0 || !gate_.try_close())
        return false;
    for (u32 spins = kStopSpins; !gate_.drained(); --spins) {
        if (spins == 0) {
            resume();
            return false;
        }
        stm_linux_pause();
    }
    return true;
}

void SerialToken::resume() noexcept {
    gate_.open();
}

bool SerialToken::keep(const Context& context) noexcept {
    const Guard held(lock_);
    if (!is_held_by(context))
        return false;
    kept_ns_ = stm_linux_monotonic_ns();
    return true;
}

u32 SerialToken::release(const Context& context, const Lease& lease, u32 losses) noexcept {
    {
        const Guard held(lock_);
        if (!is_held_by(context))
            return runtime::min(losses + 1, kMostLosses); // it was taken away
        // What needed much less than it might have taken needs no such lease next time.
        if (losses != 0 && stm_linux_monotonic_ns() - since_ns_ < lease.after(losses - 1) / 2)
            --losses;
        open_locked(lease);
    }
    queue_.wake();
    return losses;
}

// How much longer the token rests for one that has lost it so often; 0: it does not.
u64 SerialToken::rest_ns(u32 losses) const noexcept {
    const u64 end = (losses == 0 ? rest_end_ns_ : long_rest_end_ns_).load(Order::acquire);
    if (end == 0)
        return 0;
    const u64 now = stm_linux_monotonic_ns();
    return now < end ? end - now : 0;
}

bool SerialToken::held_by_caller() noexcept {
    const Guard held(lock_);
    return holder_.load(Order::relaxed) != nullptr && stm_linux_thread_is_current(thread_) != 0;
}

void SerialToken::take_away(const Terms& terms) noexcept {
    {
        const Guard held(lock_);
        if (holder_.load(Order::relaxed) == nullptr || kept_ns_ != 0)
            return;
        const u64 limit = terms.lease.after(losses_);
        const bool expired = limit != kForever && stm_linux_monotonic_ns() - since_ns_ > limit;
        const bool runs = stm_linux_thread_runs(thread_, exec_id_) != 0;
        if (runs && !expired)
            return;
        if (stm_linux_traced() != 0 && terms.region != nullptr)
            stm_linux_trace_repair(traced(*terms.region),
                                   runs ? STM_TRACE_REPAIR_LEASE : STM_TRACE_REPAIR_TOKEN, thread_);
        open_locked(terms.lease);
    }
    queue_.wake();
}

// There is a holder.
void SerialToken::open_locked(const Lease& lease) noexcept {
    // A commit is as long as it has to be, for everybody.
    const u64 now = stm_linux_monotonic_ns();
    const u64 held = (kept_ns_ != 0 ? kept_ns_ : now) - since_ns_;
    if (lease.first_ns != kForever && held >= kShortHoldNs) {
        rest_end_ns_.store(now + runtime::min(held, lease.first_ns), Order::release);
        long_rest_end_ns_.store(now + held, Order::release);
    }
    holder_.store(nullptr, Order::release);
    thread_ = nullptr;
    kept_ns_ = 0;
    if (shared_closed_ != nullptr)
        shared_closed_->store(0, Order::release);
    gate_.open();
}

} // namespace stm::kernel
