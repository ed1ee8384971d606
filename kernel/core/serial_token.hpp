// SPDX-License-Identifier: GPL-2.0
// The serial token of a region. Its holder commits alone.
#pragma once

#include "kernel/core/lock.hpp"
#include "kernel/core/wait_queue.hpp"
#include "kernel/interface/services.h"
#include "runtime/protocol/serial_gate.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class Context; // known by its address alone
class Region;

// How long a serial transaction may keep others waiting. This is `first_ns` at first, and twice as
// long after each time that its context lost the token for this reason, but never more than
// `most_ns`. kForever: there is no limit, and the rules below that give others their share do not
// apply.
struct Lease {
    runtime::u64 first_ns = kForever;
    runtime::u64 most_ns = kForever;

    [[nodiscard]] constexpr runtime::u64 after(runtime::u32 losses) const noexcept {
        runtime::u64 lease = first_ns;
        while (losses-- != 0 && lease < most_ns)
            lease = lease < most_ns / 2 ? lease * 2 : most_ns;
        return lease;
    }
};

// The region's serial token. Its holder is a context whose thread may be in user space, stopped or
// dead. So the waiting threads check the holder. They take the token away from a thread that has
// ended, or that has kept others waiting for longer than its lease. A holder that lost it may
// conflict again, like any other transaction; nothing else depends on the token.
//
// No transaction starves, neither a long one beside many short ones nor those beside it:
// - A commit that had to wait is let in before the next holder, so it waits for one holder at most.
// - A context that lost the token by its lease gets twice that lease when it comes again.
// - After a holder that was in user space for a while nobody gets the token for as long, at most
//   for a first lease; and for as long without that limit none whose lease has grown. So a commit
//   finds the gate open for half of the time at least while one long transaction tries again and
//   again, and a short one need not wait for what the long one has used up.
class SerialToken : runtime::NonCopyable {
public:
    // The terms of a thread that waits, or lets others wait.
    struct Terms {
        stm_wait_kind kind = STM_WAIT_KILLABLE;
        Lease lease;
        const Region* region = nullptr; // for those who watch
    };

    SerialToken() noexcept : lock_(STM_RANK_TOKEN) {}

    // From now on it also stands there whether the gate is closed, for commits that do not pass it.
    // Before any thread comes. What is stored there is not looked at.
    void share_gate(runtime::Atomic<runtime::u32>& closed) noexcept { shared_closed_ = &closed; }

    // A commit passes the gate, and sleeps while it is closed. Error::interrupted; Error::deadlock:
    // the thread itself has closed it, through another handle.
    [[nodiscard]] runtime::Status enter(const Terms& terms) noexcept;
    // The same without waiting, if it is open.
    [[nodiscard]] bool try_enter() noexcept { return gate_.try_enter(); }
    void leave() noexcept;

    // Closes the gate and waits until no commit is inside. The thread is the context's own;
    // `losses` is how often the context has lost the token. Error::interrupted, Error::deadlock.
    [[nodiscard]] runtime::Status acquire(const Context& context, stm_thread* thread,
                                          const Terms& terms, runtime::u32 losses) noexcept;
    [[nodiscard]] bool is_held_by(const Context& context) const noexcept {
        return holder_.load(runtime::Order::relaxed) == &context;
    }
    // The rest of the transaction is its commit, which runs to its end: from now on the token stays
    // with the context until release(). False: it has been taken away.
    [[nodiscard]] bool keep(const Context& context) noexcept;
    // Opens the gate, if the context still has the token. Returns how often it has lost the token
    // now.
    [[nodiscard]] runtime::u32 release(const Context& context, const Lease& lease,
                                       runtime::u32 losses) noexcept;

    // -- For a moment, by a thread that keeps its processor --

    // Closes the gate, and waits until no commit is inside, but no longer than a concurrent commit
    // takes. False: it is open, or another's. The region is not direct. After success resume()
    // follows; in both cases wake(), when the thread may be preempted again.
    [[nodiscard]] bool try_stop() noexcept;
    void resume() noexcept;
    void wake() noexcept { queue_.wake(); }

private:
    template <typename Ready>
    [[nodiscard]] runtime::Status wait_for_turn(Ready ready, const Terms& terms,
                                                runtime::u32 losses) noexcept;
    [[nodiscard]] runtime::u64 rest_ns(runtime::u32 losses) const noexcept;
    [[nodiscard]] bool held_by_caller() noexcept;
    void take_away(const Terms& terms) noexcept STM_EXCLUDES(lock_);
    void open_locked(const Lease& lease) noexcept STM_REQUIRES(lock_);

    [[nodiscard]] bool try_close() noexcept;

    protocol::SerialGate gate_;
    runtime::Atomic<runtime::u32>* shared_closed_ = nullptr;
    WaitQueue queue_; // threads that want in, and the one that waits until all are out
    // Commits that found the gate closed and are not in yet.
    runtime::Atomic<runtime::u32> waiting_commits_{0};
    Mutex lock_;
    // Changed under the lock:
    runtime::Atomic<const Context*> holder_{nullptr};
    runtime::Atomic<runtime::u64> rest_end_ns_{0};      // no thread closes the gate before
    runtime::Atomic<runtime::u64> long_rest_end_ns_{0}; // nor a context whose lease has grown
    // Under the lock:
    // The holder's thread; it has a reference as long as it is the holder.
    stm_thread* thread_ STM_GUARDED_BY(lock_) = nullptr;
    runtime::u64 exec_id_ STM_GUARDED_BY(lock_) = 0;  // of the holder's program
    runtime::u64 since_ns_ STM_GUARDED_BY(lock_) = 0; // when the holder got it
    runtime::u64 kept_ns_ STM_GUARDED_BY(lock_) = 0;  // when its commit began; 0: not yet
    runtime::u32 losses_ STM_GUARDED_BY(lock_) = 0;   // the holder's
};

} // namespace stm::kernel
