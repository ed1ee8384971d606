// SPDX-License-Identifier: GPL-2.0
// A context: one thread's transactions on one handle.
//
// Lifetime: the thread's first use makes it; the handle owns it and frees it. The next new thread
// gets the context of a thread that has ended.
//
// Invariants: everything is touched under the context's lock, unless a comment says otherwise. The
// thread takes the lock for each piece of a call. Which thread a context belongs to changes under
// that lock and the handle's CONTEXTS lock, so either of them keeps it. No thread sleeps for a
// back-off, the gate or the serial token with the lock: the wait is planned under it, done without
// it, and its result used under it again.
#pragma once

#include "kernel/core/footprint.hpp"
#include "kernel/core/kept_position.hpp"
#include "kernel/core/lock.hpp"
#include "kernel/core/long_reads.hpp"
#include "kernel/core/region_memory.hpp"
#include "kernel/core/start_cell.hpp"
#include "kernel/core/statistics.hpp"
#include "kernel/core/view_stage.hpp"
#include "kernel/interface/trace.h"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/backoff.hpp"
#include "runtime/protocol/transaction.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/intrusive_list.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"

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

    [[nodiscard]] Mutex& lock() noexcept STM_RETURNS_LOCK(lock_) { return lock_; }

    // -- Whose it is; any thread may ask --

    // Whether it is the calling thread's.
    [[nodiscard]] bool is_current() const noexcept {
        return stm_linux_thread_is_current(thread()) != 0;
    }
    [[nodiscard]] stm_thread* thread() const noexcept {
        return thread_.load(runtime::Order::relaxed);
    }
    // Whether its last use was before its thread called exec. Its own thread may ask.
    [[nodiscard]] bool is_of_another_program() const noexcept {
        return exec_id_.load(runtime::Order::relaxed) != stm_linux_exec_id();
    }
    // Whether the program that began the transaction, or the single call that runs, is gone: its
    // thread has ended, or called exec.
    [[nodiscard]] bool is_orphan() const noexcept {
        return stm_linux_thread_runs(thread(), exec_id_.load(runtime::Order::relaxed)) == 0;
    }
    // Gives the context to the calling thread. Its thread has ended, and its transaction, too. The
    // CONTEXTS lock is held as well.
    void take_over() noexcept STM_REQUIRES(lock_);

    // -- What runs --

    // 0: nothing runs. Its own thread may ask without the lock, because only that thread begins and
    // ends transactions, except those that begin by an offer.
    [[nodiscard]] u32 depth() const noexcept STM_NO_LOCK_ANALYSIS {
        return transaction_.active() ? transaction_.nesting() + 1 : 0;
    }
    [[nodiscard]] const Transaction& transaction() const noexcept STM_REQUIRES(lock_) {
        return transaction_;
    }
    // Whether no other transaction commits before this one has ended.
    [[nodiscard]] bool runs_alone() const noexcept STM_REQUIRES(lock_) {
        return transaction_.active() && transaction_.path() == protocol::Path::serial &&
               memory_.holds_token();
    }
    // Each number has one writer, under the lock; any thread may read them.
    [[nodiscard]] TransactionCounters& counters() noexcept { return counters_; }
    [[nodiscard]] const TransactionCounters& counters() const noexcept { return counters_; }

    // -- Its end without success --

    // Why the transaction will not succeed, or `none`.
    [[nodiscard]] protocol::AbortReason failure() const noexcept STM_REQUIRES(lock_) {
        return failure_ != protocol::AbortReason::none ? failure_ : transaction_.doom();
    }
    // Fails the transaction: it touched more than the limits allow, or than there was memory for.
    // It is over, but no commit or cancel has told its program yet. What it does has no effect, and
    // each call fails for the first reason that was given.
    void fail(protocol::AbortReason reason) noexcept STM_REQUIRES(lock_);
    // The same, at once and for good. `closed`: its thread has lost the file, without which it
    // cannot end the transaction. `explicit_retry`: the thread has given it up, and may not know.
    // Its pages are in no mapping any more.
    void lose(protocol::AbortReason reason) noexcept STM_REQUIRES(lock_);
    // It is doomed, but its program cannot be stopped yet. From now on its pages need not fit
    // together.
    void go_on() noexcept STM_REQUIRES(lock_) { data_ = PrivatePages::Data::any; }
    // Whether a page without memory may be tried again. True a few times for each transaction.
    [[nodiscard]] bool may_try_again() noexcept STM_REQUIRES(lock_) {
        return ++memory_failures_ < 4;
    }
    // How the last transaction of the program ended; single calls do not count.
    [[nodiscard]] protocol::AbortReason last_reason() const noexcept STM_REQUIRES(lock_) {
        return last_reason_;
    }
    // Ends everything that a program began which is gone. Its pages are in no mapping.
    void discard() noexcept STM_REQUIRES(lock_);

    // -- The start --

    // The waits before a start.
    struct Plan {
        protocol::Path path = protocol::Path::concurrent;
        protocol::Advice advice{};
        // Of a direct region: a stripe that was locked, perhaps by a program that is gone, or newer
        // than it should be.
        runtime::u64 locked = protocol::kNoStripe;
        // If not, await_start() has nothing to do.
        [[nodiscard]] bool waits() const noexcept {
            return path == protocol::Path::serial || advice.delay_ns != 0 ||
                   locked != protocol::kNoStripe || advice.until == protocol::Advice::Until::gate;
        }
    };
    // Plans what earlier conflicts and the region call for, and the serial path if it is `wanted`.
    // `kind`: the signals that end the wait.
    [[nodiscard]] Plan plan_start(stm_wait_kind kind, protocol::Path wanted) noexcept
        STM_REQUIRES(lock_);
    // The same for the transaction of a single call. It waits as long as it takes, unless the
    // thread is being killed.
    [[nodiscard]] Plan plan_call() noexcept STM_REQUIRES(lock_);
    // Waits; called by its own thread. On the serial path the context has the token afterwards, and
    // begin() takes it over.
    [[nodiscard]] protocol::AbortReason await_start(const Plan& plan) noexcept STM_EXCLUDES(lock_);
    // 0: no signal.
    // A conflict, if it is warm and cannot begin so: it has to cool down first.
    [[nodiscard]] protocol::AbortReason begin(const Plan& plan, int signal) noexcept
        STM_REQUIRES(lock_);
    [[nodiscard]] protocol::AbortReason begin_call(const Plan& plan) noexcept STM_REQUIRES(lock_);

    // -- The end --

    // A commit, of a transaction or of a single call, has two halves. The first one says what is
    // needed; its own thread then tries that or waits for it. If the first half fails the
    // transaction is over.
    [[nodiscard]] protocol::AbortReason prepare_commit(protocol::Admission& needed) noexcept
        STM_REQUIRES(lock_);
    [[nodiscard]] bool try_admit(protocol::Admission needed) noexcept STM_REQUIRES(lock_) {
        if (needed == protocol::Admission::none ||
            (needed == protocol::Admission::gate && memory_.try_enter_commit())) [[likely]]
            return true;
        // A wait in the middle of a commit takes as long as it takes.
        set_wait(STM_WAIT_KILLABLE);
        return false;
    }
    [[nodiscard]] protocol::AbortReason await_admission(protocol::Admission needed) noexcept
        STM_EXCLUDES(lock_);
    [[nodiscard]] protocol::AbortReason commit(protocol::Admission admission) noexcept
        STM_REQUIRES(lock_);

    // For a commit of the program's own, which a transaction that has written nothing lends its
    // token.
    // Whether it has written something, by calls or in mappings. A page that was mapped for it
    // counts as far as it has been examined.
    [[nodiscard]] bool has_written() const noexcept STM_REQUIRES(lock_) {
        return transaction_.has_written() || footprint_.has_stored();
    }
    // The same by what is in its pages, which are in no mapping any more. True also if that cannot
    // be told.
    [[nodiscard]] bool has_changed_pages() noexcept STM_REQUIRES(lock_) {
        return footprint_.collect(transaction_) != protocol::AbortReason::none ||
               transaction_.has_written();
    }
    // Its end. `version`: of the program's commit in this region; 0: that has written nothing here.
    void end_committed(u64 version) noexcept STM_REQUIRES(lock_);
    // Whether it holds the token. If so it keeps the token until its end, or until give_up_token().
    [[nodiscard]] bool keep_token() noexcept STM_REQUIRES(lock_) {
        return transaction_.active() && transaction_.keeps_token();
    }
    // It goes on without the token.
    void give_up_token() noexcept STM_REQUIRES(lock_) { transaction_.become_concurrent(); }
    // The same commit without a transaction. Its own thread gets the token, which may be taken away
    // until it is kept, and gives it back.
    void prepare_to_await_token() noexcept STM_REQUIRES(lock_) { set_wait(STM_WAIT_KILLABLE); }
    [[nodiscard]] runtime::Status await_token() noexcept STM_EXCLUDES(lock_) {
        return memory_.acquire_serial();
    }
    // False: it has been taken away.
    [[nodiscard]] bool keep_awaited_token() noexcept STM_REQUIRES(lock_) {
        // A transaction of the thread that thinks that it has the token lost it before. It must not
        // give this one back when it fails meanwhile.
        transaction_.forget_token();
        return memory_.keep_serial();
    }
    void give_back_token() noexcept STM_EXCLUDES(lock_) { memory_.release_serial(); }
    // All depths of it.
    void cancel(protocol::AbortReason reason) noexcept STM_REQUIRES(lock_);

    // A wait for a change of what was read. From announce_wait() on no change is missed.
    [[nodiscard]] protocol::WaitMask announce_wait() noexcept STM_REQUIRES(lock_);
    void withdraw_wait(protocol::WaitMask mask) noexcept STM_REQUIRES(lock_) {
        transaction_.withdraw_wait(mask);
    }
    // Its own thread asks without the lock while it waits. Nothing changes the read set then.
    [[nodiscard]] bool has_changed() const noexcept STM_NO_LOCK_ANALYSIS {
        return transaction_.validate() != protocol::Validity::valid;
    }

    // Fixes the snapshot of a transaction that has just begun. False: not now, but perhaps later.
    [[nodiscard]] bool fix_at_start() noexcept STM_REQUIRES(lock_) {
        return fix_snapshot() != protocol::AbortReason::none || transaction_.is_fixed() ||
               !transaction_.may_be_fixed();
    }

    // -- By calls --

    // A write that fails has `written` of its bytes in the transaction.
    [[nodiscard]] protocol::AbortReason read(u64 offset, void* to, u64 bytes) noexcept
        STM_REQUIRES(lock_);
    [[nodiscard]] protocol::AbortReason write(u64 offset, const void* from, u64 bytes,
                                              u64& written) noexcept STM_REQUIRES(lock_);
    // Of pieces of one word each, with a place among the words for each: reads and writes those at
    // the beginning for which that is simple, and returns how many.
    [[nodiscard]] u32 access_words(runtime::Span<const stm_vector_piece> pieces,
                                   u64* words) noexcept STM_REQUIRES(lock_);

    // While no transaction runs: writes whole stripes as a single call. False: something is in the
    // way, such as a closed gate or a locked stripe. Nothing was written then, and a transaction
    // waits for that, or fails.
    [[nodiscard]] bool write_block(u64 offset, const runtime::u8* from, u64 bytes) noexcept
        STM_REQUIRES(lock_);
    // What calls of its own thread copy through, kept from one call to the next. A call takes it
    // out while it runs (PieceBuffer::borrow()). Only that thread uses it.
    [[nodiscard]] runtime::UniqueArray<runtime::u8>& call_buffer() noexcept { return call_buffer_; }

    // A nested part.
    [[nodiscard]] protocol::AbortReason begin_nested() noexcept STM_REQUIRES(lock_);
    void commit_nested() noexcept STM_REQUIRES(lock_) { footprint_.commit_nested(transaction_); }
    void cancel_nested() noexcept STM_REQUIRES(lock_) { footprint_.cancel_nested(transaction_); }

    // Its own thread may ask without the lock.
    [[nodiscard]] bool wants_position() const noexcept STM_NO_LOCK_ANALYSIS {
        return kept_position_.wants_one();
    }
    [[nodiscard]] bool position_is_due() const noexcept STM_NO_LOCK_ANALYSIS {
        return kept_position_.is_due();
    }
    [[nodiscard]] KeptPosition& kept_position() noexcept STM_REQUIRES(lock_) {
        return kept_position_;
    }

    // -- In mappings --

    // Any thread may ask.
    [[nodiscard]] const ViewStage& stage() const noexcept STM_NO_LOCK_ANALYSIS { return stage_; }
    void get_view() noexcept STM_REQUIRES(lock_) { stage_.get_view(); }
    // The first step of its end: a mapping that is made now does not belong to it. Returns which
    // pages stay in mappings.
    enum class Stays { nothing, loaded_pages, all_pages };
    [[nodiscard]] Stays leave_view(Stays most) noexcept STM_REQUIRES(lock_);
    // The pages that do not stay are in no mapping.
    void pages_are_out(Stays stays) noexcept STM_REQUIRES(lock_) {
        if (stays == Stays::nothing)
            stage_.pages_are_out();
        else
            stage_.pages_are_out_but_loaded();
    }

    // -- Warm mappings --

    // Whether its mappings stay warm; set by its own thread.
    enum class Warmth { cold, warm };
    void set_warmth(Warmth warmth) noexcept STM_REQUIRES(lock_) { warmth_ = warmth; }
    // Whether it is warm, and cannot begin its next transaction so.
    [[nodiscard]] bool has_to_cool() const noexcept STM_REQUIRES(lock_) {
        return stage_.is_warm() &&
               (transaction_.conflicts_in_row() != 0 || warmth_ == Warmth::cold ||
                footprint_.is_spoilt() || footprint_.is_worn_out() ||
                stage_.now().memory != stm_linux_memory_current());
    }
    // Its pages are in no mapping, and it has the view no more. No offer stands.
    void cool() noexcept STM_REQUIRES(lock_) {
        stage_.end();
        footprint_.give_up();
    }
    // Whether the transaction that runs began warm: it had the view already. Only its own thread
    // asks.
    [[nodiscard]] bool began_warm() const noexcept { return began_warm_; }
    // Counts the transactions that the thread has ended by itself.
    void count_silent() noexcept STM_REQUIRES(lock_) {
        if (const u32 ended = cell_.take_ended(); ended != 0) [[unlikely]]
            add_silent(ended);
    }
    // Whether the thread may run a transaction that the module has not learned of, after something
    // was committed.
    [[nodiscard]] bool may_run_on_old_data() noexcept STM_REQUIRES(lock_) {
        return stage_.stage() == Stage::lent && cell_.is_taken() &&
               protocol::clock_now(memory_.clock()) != footprint_.kept_version();
    }
    // Whether it has been warm for a while without a transaction.
    [[nodiscard]] bool is_idle() const noexcept {
        return idle_rounds_.load(runtime::Order::relaxed) >= kIdleRounds;
    }

    // The transaction's page of that index, for a fault at that address. `holders`: see
    // PrivatePages::prepare_store().
    [[nodiscard]] protocol::AbortReason touch(u64 index, u64 address, Use use, stm_page*& page,
                                              u32 holders = PrivatePages::kOwner) noexcept
        STM_REQUIRES(lock_) {
        if (failure_ != protocol::AbortReason::none)
            return failure_;
        if (const auto reason = fix_if_due(); reason != protocol::AbortReason::none &&
                                              data_ == PrivatePages::Data::snapshot) [[unlikely]]
            return reason;
        if (use == Use::store)
            transaction_.expect_writes();
        return footprint_.touch(transaction_, index, address, use, data_, holders, page);
    }
    [[nodiscard]] Footprint& footprint() noexcept STM_REQUIRES(lock_) { return footprint_; }

    // The number of exposed pages in the view when its mappings were last emptied for this context.
    // Its own thread may ask without the lock.
    [[nodiscard]] u64 exposures_seen() const noexcept { return exposures_seen_; }
    void set_exposures_seen(u64 exposures) noexcept { exposures_seen_ = exposures; }
    // The number of closes of descriptors when its thread was last seen to have one. Only its own
    // thread asks.
    [[nodiscard]] u64 closes_seen() const noexcept { return closes_seen_; }
    void set_closes_seen(u64 closes) noexcept { closes_seen_ = closes; }

    // What is to be mapped for the transaction, which has just begun at that site.
    [[nodiscard]] Footprint::ToMap to_map(u32 site) noexcept STM_REQUIRES(lock_);
    // Makes these pages and maps them, while the view is closed.
    void map_predicted(stm_view* view, Footprint::ToMap what, u32 most) noexcept
        STM_REQUIRES(lock_);
    // Finds out which of them were touched, once for each transaction: the view is closed again,
    // and the pages are still mapped.
    void count_predicted(stm_view* view) noexcept STM_REQUIRES(lock_);
    // Whether anything was read, as far as is known. A page that was mapped and not touched does
    // not count.
    [[nodiscard]] bool has_read() noexcept STM_REQUIRES(lock_) {
        return footprint_.has_read(transaction_);
    }

    // -- Without a system call --

    [[nodiscard]] StartCell& cell() noexcept STM_REQUIRES(lock_) { return cell_; }
    // Any thread may ask.
    [[nodiscard]] bool has_cell() const noexcept STM_NO_LOCK_ANALYSIS { return cell_.attached(); }
    // The site of the transaction that runs, or ended last; 0: none. Only its own thread asks.
    [[nodiscard]] u32 site() const noexcept { return site_; }
    void set_site(u32 site) noexcept { site_ = site; }
    // Whether begin(), and everything else at a start at the site except the view and what
    // renew_between() does, would have nothing to do.
    [[nodiscard]] bool may_begin_by_offer() noexcept STM_REQUIRES(lock_);
    void offer_start(StartCell::Offer offer) noexcept STM_REQUIRES(lock_);
    // Brings the pages of a warm one up to date, as a start does. False: that is not possible now.
    [[nodiscard]] bool renew_between() noexcept STM_REQUIRES(lock_);
    // Takes back an offer that stands. Returns whether the thread has taken it, and for which site.
    [[nodiscard]] bool withdraw_offer(u32& site) noexcept STM_REQUIRES(lock_);
    // After that: begins the transaction of the thread that took the offer, or does not. Whether
    // its snapshot is of now: in a warm mapping it is that of the pages.
    [[nodiscard]] bool begin_by_offer(u32 site, ViewStage::Mapped mapped) noexcept
        STM_REQUIRES(lock_);
    void forget_offer() noexcept STM_REQUIRES(lock_) {
        stage_.withdraw_offer();
        was_offered_.store(true, runtime::Order::relaxed);
    }
    // Whether its start was offered since the last question, and not taken. A guess.
    [[nodiscard]] bool was_offered() noexcept {
        if (!was_offered_.load(runtime::Order::relaxed))
            return false;
        was_offered_.store(false, runtime::Order::relaxed);
        return true;
    }
    void detach_cell() noexcept STM_REQUIRES(lock_);

    // -- Conflicts that no call reports --

    // Whether a signal tells the thread of a conflict.
    [[nodiscard]] bool wants_signal() const noexcept STM_REQUIRES(lock_) { return signal_ != 0; }
    // A read or a write noticed a conflict: tells the thread if it asked for that. Once for each
    // transaction.
    void tell_doomed() noexcept STM_REQUIRES(lock_);
    // For the watchdog: does the same if what was read is no longer valid. True: a transaction runs
    // that must be checked again.
    [[nodiscard]] bool look_after() noexcept STM_REQUIRES(lock_);

private:
    static constexpr u32 kIdleRounds = 10; // of the watchdog

    // Before a further read: fixes the snapshot if the transaction reads for long. It may be doomed
    // then.
    [[gnu::always_inline]] protocol::AbortReason fix_if_due() noexcept STM_REQUIRES(lock_) {
        return long_reads_.is_due(transaction_.stripes_read()) ? fix_snapshot()
                                                               : protocol::AbortReason::none;
    }
    [[gnu::noinline]] protocol::AbortReason fix_snapshot() noexcept STM_REQUIRES(lock_);
    void add_silent(u32 ended) noexcept STM_REQUIRES(lock_);
    void count_idle_round() noexcept STM_REQUIRES(lock_);
    [[nodiscard]] Footprint::Predicted predicted() const noexcept;
    [[nodiscard]] bool may_meet_pins() noexcept STM_REQUIRES(lock_);
    [[nodiscard]] bool renew_pages() noexcept STM_REQUIRES(lock_);
    [[nodiscard]] Footprint::ToMap to_map_next(u32 site) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] const stm_settings& settings() const noexcept { return region_.settings(); }
    void back_off(const protocol::Advice& advice) noexcept;
    void set_wait(stm_wait_kind kind) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] protocol::AbortReason begin_admitted(const Plan& plan) noexcept
        STM_REQUIRES(lock_);
    void note_begin(u64 exec_id, int signal) noexcept STM_REQUIRES(lock_);
    protocol::AbortReason count_end(protocol::AbortReason reason) noexcept STM_REQUIRES(lock_);
    [[gnu::cold]] void trace_start(stm_trace_way way) noexcept STM_REQUIRES(lock_);
    [[gnu::cold]] void trace_sets() noexcept STM_REQUIRES(lock_);
    [[gnu::cold]] void trace_end(protocol::AbortReason reason, stm_trace_way way) noexcept
        STM_REQUIRES(lock_);

    // What is told of a transaction that ends, since its sets are gone then.
    struct Traced {
        u64 read = 0; // stripes
        u64 written = 0;
        u64 changed = protocol::kNoStripe;
    };

    Region& region_;
    runtime::Atomic<stm_thread*> thread_;
    runtime::Atomic<u64> exec_id_;
    Mutex lock_;
    // Its own thread waits through it for the gate and the token, without the lock.
    RegionMemory memory_;
    Footprint footprint_ STM_GUARDED_BY(lock_);
    Transaction transaction_ STM_GUARDED_BY(lock_);
    ViewStage stage_ STM_GUARDED_BY(lock_);
    StartCell cell_ STM_GUARDED_BY(lock_);
    KeptPosition kept_position_ STM_GUARDED_BY(lock_);
    LongReads long_reads_ STM_GUARDED_BY(lock_);
    TransactionCounters counters_;
    runtime::UniqueArray<runtime::u8> call_buffer_;
    // What the records of a block were before they were locked.
    runtime::UniqueArray<u64> replaced_ STM_GUARDED_BY(lock_);
    u32 site_ = 0;
    bool began_warm_ = false;
    runtime::Atomic<bool> was_offered_{false};
    Warmth warmth_ STM_GUARDED_BY(lock_) = Warmth::cold;
    // The number of starts when the watchdog looked last, and for how many rounds it has been that.
    u64 starts_seen_ STM_GUARDED_BY(lock_) = 0;
    runtime::Atomic<u32> idle_rounds_{0}; // any thread may ask

    // What a thread of one address space has seen says nothing about another address space, which
    // may have mapped a page since then.
    static constexpr u64 kNoExposures = ~u64{0};
    u64 exposures_seen_ = 0;
    // What descriptors one thread had says nothing about a thread of another process.
    static constexpr u64 kNoCloses = ~u64{0};
    u64 closes_seen_ = 0;

    // Of the transaction that runs:
    protocol::AbortReason failure_ STM_GUARDED_BY(lock_) = protocol::AbortReason::none;
    PrivatePages::Data data_ STM_GUARDED_BY(lock_) = PrivatePages::Data::snapshot;
    u32 memory_failures_ STM_GUARDED_BY(lock_) = 0;
    int signal_ STM_GUARDED_BY(lock_) = 0; // 0: none wanted, or sent already
    // Of those before:
    protocol::AbortReason last_reason_ STM_GUARDED_BY(lock_) = protocol::AbortReason::none;
    protocol::AbortReason
        end_reason_ STM_GUARDED_BY(lock_) = protocol::AbortReason::none; // calls too
    u64 extensions_counted_ STM_GUARDED_BY(lock_) = 0;
    Traced traced_ STM_GUARDED_BY(lock_);
    u64 random_ STM_GUARDED_BY(lock_);
};

} // namespace stm::kernel
