// SPDX-License-Identifier: GPL-2.0
// A context: one thread's transactions on one handle.
//
// Lifetime: made by the thread's first use, owned by the handle, freed with it. The context of a
// thread that has ended is given to the next new one.
//
// Invariants: everything but the statistics and what is marked otherwise is touched under the
// context's lock, which its thread takes for each piece of a call. The thread changes under that
// lock and the handle's; so under either of them it is known whose the context is. Nobody sleeps
// for a back-off, the gate or the serial token with that lock: what has to be waited for is planned
// under it, waited for without it, and used under it again.
#pragma once

#include "kernel/core/lock.hpp"
#include "kernel/core/prediction.hpp"
#include "kernel/core/private_pages.hpp"
#include "kernel/core/region_memory.hpp"
#include "kernel/core/settings.hpp"
#include "kernel/core/start_cell.hpp"
#include "kernel/core/statistics.hpp"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/backoff.hpp"
#include "runtime/protocol/transaction.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/intrusive_list.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class Context : public runtime::ListLink<Context> {
    using u32 = runtime::u32;
    using u64 = runtime::u64;

public:
    using Transaction = protocol::Transaction<RegionMemory>;
    using Guard = runtime::LockGuard<Mutex>;

    // For the calling thread.
    Context(Region& region, u32 max_stripes) noexcept;
    ~Context();

    // Whether it is the calling thread's. Any thread may ask.
    [[nodiscard]] bool is_current() const noexcept {
        return stm_linux_thread_is_current(thread_.load(runtime::Order::relaxed)) != 0;
    }
    [[nodiscard]] stm_thread* thread() const noexcept {
        return thread_.load(runtime::Order::relaxed);
    }
    // Its thread has ended, and its transaction: from now on it belongs to the calling one. The
    // guard holds its lock, and the handle's is held.
    void take_over(const Guard& held) noexcept;

    [[nodiscard]] Mutex& lock() noexcept { return lock_; }
    [[nodiscard]] Transaction& transaction() noexcept { return transaction_; }
    [[nodiscard]] RegionMemory& memory() noexcept { return memory_; }
    [[nodiscard]] TransactionCounters& counters() noexcept { return counters_; }
    [[nodiscard]] const TransactionCounters& counters() const noexcept { return counters_; }
    // How the last transaction of the program ended; single calls do not count.
    [[nodiscard]] protocol::AbortReason last_reason() const noexcept { return last_reason_; }

    // -- In mappings --

    // The address space in which the transaction has the handle's view, or null. Any thread may
    // ask.
    [[nodiscard]] stm_memory* viewing() const noexcept {
        return viewing_.load(runtime::Order::acquire);
    }
    // While it is set the object behind the pointer is held: no other address space has the same.
    void set_viewing(stm_memory* memory) noexcept;
    // The address space in which the program's own transaction began, as long as it may still be
    // given the view there; else null. Only compared. Any thread may ask.
    [[nodiscard]] stm_memory* started_in() const noexcept {
        return started_in_.load(runtime::Order::acquire);
    }
    // Whether its transaction has the view in that address space, or has perhaps begun there by an
    // offer, which then has to be settled. The offer is asked for first: what becomes of it is
    // there when it is gone.
    [[nodiscard]] bool may_view(const stm_memory* memory) const noexcept {
        return cell_.offered_in() == memory || viewing() == memory;
    }
    // From now on it is not given the view: it ends, or waits.
    void refuse_view() noexcept { started_in_.store(nullptr, runtime::Order::release); }
    [[nodiscard]] u64 exposures_seen() const noexcept { return exposures_seen_; }
    void set_exposures_seen(u64 exposures) noexcept { exposures_seen_ = exposures; }
    // How many closes of descriptors there were when its thread was last seen to have one. Its own
    // thread alone asks.
    [[nodiscard]] u64 closes_seen() const noexcept { return closes_seen_; }
    void set_closes_seen(u64 closes) noexcept { closes_seen_ = closes; }
    [[nodiscard]] PrivatePages& private_pages() noexcept { return private_pages_; }
    // The transaction's page of that index, for a fault at that address.
    protocol::AbortReason private_page(u64 index, u64 address, Use use, stm_page*& page) noexcept;
    // It is over, though its program has not been told so by a commit or a cancel yet: what it does
    // has no effect, and each call fails for that reason, the first one that was given. It touched
    // more than the limits allow, or than there was memory for.
    void fail(protocol::AbortReason reason) noexcept {
        if (failure() == protocol::AbortReason::none)
            failure_ = reason;
        transaction_.become_concurrent();
    }
    // The same, at once and for good. Closed: its thread has lost the file, by which alone it could
    // end it. Explicit_retry: the thread has given it up, and may not know. Its pages are in no
    // mapping any more. If it has the view it keeps that: what its thread goes on to store is not
    // for the transaction of another one.
    void lose(protocol::AbortReason reason) noexcept;
    // Its own thread has done that: it loads what was committed last, as without a transaction.
    [[nodiscard]] bool loads_committed() const noexcept { return loads_committed_; }
    // It is doomed, and its program can not be stopped yet: its pages need not fit together any
    // more.
    void go_on() noexcept { goes_on_ = true; }
    // Whether it had memory for each page but a few.
    [[nodiscard]] bool may_try_again() noexcept { return ++memory_failures_ < 4; }
    // Why it will have none, or `none`.
    [[nodiscard]] protocol::AbortReason failure() const noexcept {
        return failure_ != protocol::AbortReason::none ? failure_ : transaction_.doom();
    }

    // -- Prediction --

    // Whether pages are known that the transaction, which has just begun at that site, will touch.
    [[nodiscard]] bool predicts(u32 site) noexcept;
    // Makes these pages and maps them, while the view is closed.
    void map_predicted(stm_view* view, u32 most) noexcept;
    // Finds out which of them were touched so far: the view is closed again, the pages still
    // mapped.
    void examine_predicted(stm_view* view) noexcept;
    // Once for each transaction, after that.
    void count_predicted() noexcept;
    // Whether anything was read, as far as it is known: not what was mapped and not touched.
    [[nodiscard]] bool has_read() noexcept;

    // -- By calls --

    // As the functions of the transaction, with what was stored to private pages. A write that
    // fails has `written` of its bytes in the transaction.
    protocol::AbortReason read(u64 offset, void* to, u64 bytes) noexcept;
    protocol::AbortReason write(u64 offset, const void* from, u64 bytes, u64& written) noexcept;

    // A nested part.
    protocol::AbortReason begin_nested() noexcept;
    void commit_nested() noexcept;
    void cancel_nested() noexcept;

    // 0: none runs.
    [[nodiscard]] u32 depth() const noexcept {
        return transaction_.active() ? transaction_.nesting() + 1 : 0;
    }

    // Whether no other transaction commits before this one has ended.
    [[nodiscard]] bool runs_alone() const noexcept {
        return transaction_.active() && transaction_.path() == protocol::Path::serial &&
               memory_.holds_token();
    }

    // A start that was planned: what has to be waited for before it.
    struct Plan {
        protocol::Path path = protocol::Path::concurrent;
        protocol::Advice advice{};
    };
    // What the conflicts before it, and the region, call for. Which signals end the wait.
    [[nodiscard]] Plan plan_start(const stm_settings& settings, stm_wait_kind kind) noexcept;
    // The same for the transaction of a single call, which waits as long as it takes unless the
    // thread is being killed.
    [[nodiscard]] Plan plan_call(const stm_settings& settings) noexcept;
    // Waits, by its own thread and without the lock. On the serial path the context has the token
    // then, which begin() takes over.
    protocol::AbortReason await_start(const Plan& plan) noexcept;
    // 0: no signal.
    protocol::AbortReason begin(const stm_settings& settings, const Plan& plan,
                                int signal) noexcept;
    protocol::AbortReason begin_call(const stm_settings& settings, const Plan& plan) noexcept;

    // A commit, of a transaction or of a single call, in two halves: the first one says what is
    // needed, which is tried or waited for, by its own thread and without the lock. If the first
    // half fails the transaction is over.
    protocol::AbortReason prepare_commit(protocol::Admission& needed) noexcept;
    [[nodiscard]] bool try_admit(protocol::Admission needed) noexcept;
    protocol::AbortReason await_admission(protocol::Admission needed) noexcept;
    protocol::AbortReason commit(protocol::Admission admission) noexcept;
    // All depths of it.
    void cancel(protocol::AbortReason reason) noexcept;

    // -- The file position --

    // The first one that is told within a transaction of the program is kept until that ends.
    void note_position(long long position) noexcept {
        if (position_state_ == PositionState::unknown) {
            position_ = position;
            position_state_ = PositionState::kept;
        }
    }
    // Whether it is to be put back, since that has ended without an effect. Once.
    [[nodiscard]] bool take_position(long long& position) noexcept {
        if (position_state_ != PositionState::due)
            return false;
        position_state_ = PositionState::unknown;
        position = position_;
        return true;
    }

    // -- Without a system call --

    [[nodiscard]] StartCell& cell() noexcept { return cell_; }
    // The site of the transaction that runs, or ended last; 0: none.
    [[nodiscard]] u32 site() const noexcept { return site_; }
    void set_site(u32 site) noexcept { site_ = site; }
    // Whether begin(), and all that is done at a start but for the view, would have nothing to do.
    [[nodiscard]] bool may_begin_by_offer() const noexcept;
    // Begins the transaction of the thread that took the cell's offer. By any thread.
    void begin_by_offer(const stm_settings& settings, u32 site) noexcept;

    // Whether what it did last was done before its thread called exec. Its own thread may ask.
    [[nodiscard]] bool is_of_another_program() const noexcept {
        return exec_id_.load(runtime::Order::relaxed) != stm_linux_exec_id();
    }
    // The end of all that the program, which is not there any more, has begun. Its pages are in no
    // mapping.
    void discard() noexcept;

    // Whether the program that began the transaction, or the single call that runs, is not there
    // any more: its thread has ended, or called exec.
    [[nodiscard]] bool is_orphan() const noexcept {
        return stm_linux_thread_runs(thread(), exec_id_.load(runtime::Order::relaxed)) == 0;
    }

    // A read or a write noticed a conflict: tells the thread if it asked for that. Once for each
    // transaction.
    void tell_doomed() noexcept;
    // Never again in this transaction.
    void silence() noexcept { signal_ = 0; }
    // By the watchdog: the same if what was read is no longer valid. True: a transaction runs that
    // is to be looked at again.
    bool look_after() noexcept;

private:
    void back_off(const protocol::Advice& advice) noexcept;
    void set_wait(const stm_settings& settings, stm_wait_kind kind) noexcept;
    protocol::AbortReason begin_admitted(const stm_settings& settings, const Plan& plan) noexcept;
    void note_begin(stm_memory* memory, u64 exec_id, int signal) noexcept;
    protocol::AbortReason count_end(protocol::AbortReason reason) noexcept;
    void learn(protocol::AbortReason reason) noexcept;

    Region& region_;
    runtime::Atomic<stm_thread*> thread_;
    Mutex lock_;
    RegionMemory memory_;
    Transaction transaction_;
    PrivatePages private_pages_;
    Prediction prediction_;
    StartCell cell_;
    u32 site_ = 0;
    // Of the private pages, `predicted_` from that one on were predicted: those before were touched
    // by another thread, just before.
    u32 first_predicted_ = 0;
    u32 predicted_ = 0;
    const u32 page_limit_;
    runtime::Atomic<stm_memory*> viewing_{nullptr};
    runtime::Atomic<stm_memory*> started_in_{nullptr};
    // What was seen by a thread of one address space says nothing about another, which may have
    // mapped a page since it was counted.
    static constexpr u64 kNoExposures = ~u64{0};
    u64 exposures_seen_ = 0;
    // Nor does what one thread had say what another one, of another process, has.
    static constexpr u64 kNoCloses = ~u64{0};
    u64 closes_seen_ = 0;
    TransactionCounters counters_;
    protocol::AbortReason last_reason_ = protocol::AbortReason::none; // of the program's own
    protocol::AbortReason end_reason_ = protocol::AbortReason::none;  // also of single calls
    protocol::AbortReason failure_ = protocol::AbortReason::none;
    u32 memory_failures_ = 0;
    bool goes_on_ = false;
    bool loads_committed_ = false;
    enum class PositionState : runtime::u8 { unknown, kept, due };
    PositionState position_state_ = PositionState::unknown;
    long long position_ = 0;
    bool in_call_ = false;
    runtime::Atomic<u64> exec_id_;
    u64 random_;
    int signal_ = 0; // 0: none wanted, or sent already
    u64 extensions_counted_ = 0;
};

} // namespace stm::kernel
