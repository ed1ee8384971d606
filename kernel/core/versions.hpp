// SPDX-License-Identifier: GPL-2.0
// What a region needs for transactions beside its bytes: the clock, the ownership records, the
// serial token, and those who wait for a change. Every region has one; a plain region uses only the
// count of changes.
#pragma once

#include "kernel/core/lock.hpp"
#include "kernel/core/page_store.hpp"
#include "kernel/core/wait_queue.hpp"
#include "runtime/protocol/serial_gate.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/wait_filter.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class Context;

// The region's serial token. Its holder is a context whose thread may be in user space, stopped or
// dead: so who waits for the token looks after the holder, and takes the token away from a thread
// that has ended, or that has kept others waiting for longer than the lease. A holder that lost it
// may conflict again, like any other transaction; nothing else depends on having it.
class SerialToken : runtime::NonCopyable {
public:
    SerialToken() noexcept : lock_(STM_RANK_TOKEN) {}

    // A commit passes the gate, asleep while it is closed. Error::interrupted; Error::deadlock: the
    // thread itself has closed it, through another handle.
    [[nodiscard]] runtime::Status enter(stm_wait_kind kind, runtime::u64 lease_ns) noexcept;
    void leave() noexcept;

    // Closes the gate and waits until no commit is inside. The thread is the context's own.
    // Error::interrupted.
    [[nodiscard]] runtime::Status acquire(const Context& context, stm_thread* thread,
                                          stm_wait_kind kind, runtime::u64 lease_ns) noexcept;
    // Opens it, if the context still has the token.
    void release(const Context& context) noexcept;

private:
    [[nodiscard]] runtime::Status wait_for_turn(bool (*ready)(protocol::SerialGate&) noexcept,
                                                stm_wait_kind kind, runtime::u64 lease_ns) noexcept;
    [[nodiscard]] bool held_by_caller() noexcept;
    void take_away(runtime::u64 lease_ns) noexcept;

    protocol::SerialGate gate_;
    WaitQueue queue_; // of those who want in, and of the one who waits until all are out
    Mutex lock_;
    // Changed under the lock:
    runtime::Atomic<const Context*> holder_{nullptr};
    // Under the lock:
    stm_thread* thread_ = nullptr; // the holder's; it has a reference as long as it is the holder
    runtime::u64 exec_id_ = 0;     // of the holder's program
    runtime::u64 since_ns_ = 0;    // when the holder got it
};

struct Versions : runtime::NonCopyable {
    // Bytes of ownership records for one byte of the region: 8 for each stripe of 64.
    static constexpr runtime::u64 kPagesPerOrecPage = 8;

    // Every commit writes these three; nothing that is only read shares their cache line, wherever
    // that begins.
    char padding_before[64];
    runtime::Atomic<runtime::u64> clock{0};
    // Successful commits that wrote something, and write calls: what poll looks at. On the cache
    // line of the clock, which a commit owns anyway.
    runtime::Atomic<runtime::u64> changes{0};
    runtime::Atomic<runtime::u64> next_owner{1};
    char padding_behind[64];
    PageStore orecs;
    SerialToken token;
    protocol::WaitFilter wait_filter;
    WaitQueue readers; // sleep until something that they read changes
    WaitQueue pollers; // poll and epoll

    // After a commit or a write call.
    void changed() noexcept {
        changes.fetch_add(1, runtime::Order::release);
        pollers.wake();
    }
};

} // namespace stm::kernel
