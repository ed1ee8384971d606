// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/versions.hpp"

#include "kernel/core/context.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::kSuccess;
using runtime::Order;
using runtime::Status;
using runtime::u64;

namespace {

// How often who waits looks after the holder.
constexpr u64 kLookNs = 50'000'000;

using Guard = runtime::LockGuard<Mutex>;

} // namespace

Status SerialToken::wait_for_turn(bool (*ready)(protocol::SerialGate&) noexcept, stm_wait_kind kind,
                                  u64 lease_ns) noexcept {
    for (;;) {
        if (held_by_caller())
            return Error::deadlock;
        const Status waited = queue_.wait([&] { return ready(gate_); }, kLookNs, kind);
        if (waited.ok() || waited.error() != Error::timed_out)
            return waited;
        take_away(lease_ns);
    }
}

Status SerialToken::enter(stm_wait_kind kind, u64 lease_ns) noexcept {
    if (gate_.try_enter()) [[likely]]
        return kSuccess;
    return wait_for_turn([](protocol::SerialGate& gate) noexcept { return gate.try_enter(); }, kind,
                         lease_ns);
}

void SerialToken::leave() noexcept {
    if (gate_.leave() == protocol::SerialGate::Wake::closer)
        queue_.wake();
}

Status SerialToken::acquire(const Context& context, stm_thread* thread, stm_wait_kind kind,
                            u64 lease_ns) noexcept {
    for (;;) {
        Status waited = wait_for_turn(
            [](protocol::SerialGate& gate) noexcept { return gate.try_close(); }, kind, lease_ns);
        if (!waited.ok())
            return waited;
        {
            const Guard held(lock_);
            holder_.store(&context, Order::release);
            thread_ = thread;
            exec_id_ = stm_linux_exec_id();
            since_ns_ = stm_linux_monotonic_ns();
        }
        // Those inside are commits, which end by themselves; also for a thread that is being killed
        // the wait is short. One that runs late may have lost the token meanwhile.
        waited =
            queue_.wait([&] { return holder_.load(Order::acquire) != &context || gate_.drained(); },
                        kForever, STM_WAIT_KILLABLE);
        if (!waited.ok()) {
            release(context);
            return waited;
        }
        const Guard held(lock_);
        if (holder_.load(Order::relaxed) == &context) {
            since_ns_ = stm_linux_monotonic_ns();
            return kSuccess;
        }
    }
}

void SerialToken::release(const Context& context) noexcept {
    {
        const Guard held(lock_);
        if (holder_.load(Order::relaxed) != &context)
            return; // it was taken away
        holder_.store(nullptr, Order::release);
        thread_ = nullptr;
        gate_.open();
    }
    queue_.wake();
}

bool SerialToken::held_by_caller() noexcept {
    const Guard held(lock_);
    return holder_.load(Order::relaxed) != nullptr && stm_linux_thread_is_current(thread_) != 0;
}

void SerialToken::take_away(u64 lease_ns) noexcept {
    {
        const Guard held(lock_);
        if (holder_.load(Order::relaxed) == nullptr)
            return;
        const bool expired =
            lease_ns != kForever && stm_linux_monotonic_ns() - since_ns_ > lease_ns;
        if (stm_linux_thread_runs(thread_, exec_id_) != 0 && !expired)
            return;
        holder_.store(nullptr, Order::release);
        thread_ = nullptr;
        gate_.open();
    }
    queue_.wake();
}

} // namespace stm::kernel
