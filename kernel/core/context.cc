// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/context.hpp"

#include "kernel/core/journals.hpp"
#include "kernel/core/lease.hpp"
#include "kernel/core/settings.hpp"
#include "kernel/core/trace.hpp"
#include "runtime/protocol/block_commit.hpp"
#include "runtime/support/allocate.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using protocol::Advice;
using runtime::Order;
using runtime::u32;
using runtime::u64;
using runtime::u8;

namespace {

u64 random_seed() noexcept {
    u64 seed = 0;
    stm_linux_random(&seed, sizeof(seed));
    return seed | 1; // never 0
}

} // namespace

Context::Context(Region& region, u32 max_stripes) noexcept
    : region_(region), thread_(stm_linux_thread_current()), exec_id_(stm_linux_exec_id()),
      lock_(STM_RANK_CONTEXT), memory_(region, *this, thread()), footprint_(max_stripes),
      transaction_(memory_, region.versions().next_owner.fetch_add(1, Order::relaxed),
                   footprint_.limits(max_stripes)),
      random_(random_seed()) {
}

Context::~Context() {
    {
        const Guard held(lock_);
        cancel(AbortReason::killed);
    }
    stm_linux_thread_put(thread());
}

void Context::take_over() noexcept {
    stm_linux_thread_put(thread_.exchange(stm_linux_thread_current(), Order::relaxed));
    memory_.set_thread(thread());
    exec_id_.store(stm_linux_exec_id(), Order::relaxed);
    footprint_.forget_history();
    detach_cell();
    kept_position_.forget();
    long_reads_.forget_history();
    warmth_ = Warmth::cold;
    exposures_seen_ = kNoExposures;
    closes_seen_ = kNoCloses;
    transaction_.forget_history();
    last_reason_ = AbortReason::none;
    end_reason_ = AbortReason::none;
}

void Context::discard() noexcept {
    if (stm_linux_traced() != 0 && transaction_.active())
        stm_linux_trace_repair(traced(region_), STM_TRACE_REPAIR_ENDED, thread());
    cancel(AbortReason::killed);
    detach_cell();
    if (stage_.is_warm())
        cool();
}

// -- The start --

void Context::back_off(const Advice& advice) noexcept {
    if (advice.until == Advice::Until::gate) {
        // A large commit is being applied: sleep exactly until it is over. A signal is seen by who
        // called.
        if (traced_wait(region_, STM_TRACE_WAIT_COMMIT, [this]() noexcept {
                return memory_.enter_commit();
            }).ok())
            memory_.leave_commit();
        return;
    }
    if (advice.delay_ns != 0)
        stm_linux_delay(advice.delay_ns);
}

void Context::set_wait(stm_wait_kind kind) noexcept {
    memory_.set_wait(kind, lease_in(region_));
}

Context::Plan Context::plan_start(stm_wait_kind kind, protocol::Path wanted) noexcept {
    Plan plan;
    if (wanted == protocol::Path::serial || (region_.flags() & STM_REGION_MUTEX) != 0)
        plan.path = protocol::Path::serial;
    if (const auto conflicts = transaction_.conflicts_in_row(); conflicts != 0) {
        const protocol::RetryPolicy policy{.serial_after = current(settings().serial_after)};
        plan.advice = protocol::advise(policy, conflicts, end_reason_, random_);
        if (plan.advice.path == Advice::Path::serial)
            plan.path = protocol::Path::serial;
        if (region_.direct() && end_reason_ != AbortReason::commit_validation)
            plan.locked = transaction_.in_the_way();
    }
    if (plan.waits()) [[unlikely]]
        set_wait(kind);
    return plan;
}

Context::Plan Context::plan_call() noexcept {
    // The lock of a mutex region is for transactions: a single call is atomic without it, and its
    // commit waits for it.
    if ((region_.flags() & STM_REGION_MUTEX) == 0)
        return plan_start(STM_WAIT_KILLABLE, protocol::Path::concurrent);
    return {};
}

AbortReason Context::await_start(const Plan& plan) noexcept {
    if (plan.locked != protocol::kNoStripe)
        (void)region_.journals()->settle(plan.locked);
    if (plan.path == protocol::Path::serial) {
        const runtime::Status status = traced_wait(
            region_, STM_TRACE_WAIT_TOKEN, [this]() noexcept { return memory_.acquire_serial(); });
        if (status.ok() && region_.direct()) [[unlikely]]
            region_.journals()->mend(*this);
        return status.ok() ? AbortReason::none : protocol::reason_of(status.error());
    }
    back_off(plan.advice);
    return AbortReason::none;
}

AbortReason Context::begin_admitted(const Plan& plan) noexcept {
    const AbortReason reason = transaction_.begin_admitted(plan.path);
    if (plan.path == protocol::Path::serial) {
        if (reason == AbortReason::none)
            counters_.serial.add(1);
        else
            memory_.release_serial();
    }
    return reason;
}

void Context::note_begin(u64 exec_id, int signal) noexcept {
    signal_ = signal;
    exec_id_.store(exec_id, Order::relaxed);
    counters_.starts.add(1);
}

AbortReason Context::begin(const Plan& plan, int signal) noexcept {
    const AbortReason reason = begin_admitted(plan);
    if (reason == AbortReason::none) {
        began_warm_ = stage_.stage() == Stage::warm;
        if (!began_warm_) {
            stage_.begin(stm_linux_memory_current());
        } else if (!may_meet_pins() && renew_pages()) {
            stage_.begin_warm();
        } else {
            transaction_.cancel(AbortReason::explicit_cancel);
            return AbortReason::read_locked;
        }
        note_begin(stm_linux_exec_id(), signal);
        if (stm_linux_traced() != 0)
            trace_start(STM_TRACE_STARTED);
    }
    return reason;
}

// One on the serial path has to commit. So it does not begin with pages that it may not store to.
bool Context::may_meet_pins() noexcept {
    return transaction_.path() == protocol::Path::serial && footprint_.pages().any_held();
}

// Each further turn means that somebody has committed, or is about to.
bool Context::renew_pages() noexcept {
    for (u32 turns = 3; !footprint_.renew(transaction_); transaction_.take_snapshot_again()) {
        if (--turns == 0)
            return false;
        memory_.pause();
    }
    return true;
}

AbortReason Context::begin_call(const Plan& plan) noexcept {
    const AbortReason reason = begin_admitted(plan);
    if (reason == AbortReason::none) {
        stage_.begin_call();
        signal_ = 0;
        // The context may be older than the program that calls.
        exec_id_.store(stm_linux_exec_id(), Order::relaxed);
        if (stm_linux_traced() != 0)
            trace_start(STM_TRACE_CALL);
    }
    return reason;
}

// -- Without a system call --

bool Context::may_begin_by_offer() noexcept {
    return (region_.flags() & STM_REGION_MUTEX) == 0 && !transaction_.active() &&
           transaction_.conflicts_in_row() == 0 && !has_to_cool() &&
           footprint_.may_be_kept(current(settings().warm_pages)) &&
           to_map_next(site_) == Footprint::ToMap::nothing;
}

Footprint::ToMap Context::to_map_next(u32 site) noexcept {
    auto what = Footprint::ToMap::nothing;
    const auto wanted = site != 0 ? predicted() : Footprint::Predicted::no;
    return footprint_.knows_to_map(site, wanted, what) ? what : footprint_.to_map_at(site, wanted);
}

Footprint::Predicted Context::predicted() const noexcept {
    return current(settings().predicted_pages) != 0 ? Footprint::Predicted::yes
                                                    : Footprint::Predicted::no;
}

void Context::offer_start(StartCell::Offer offer) noexcept {
    stage_.offer(cell_.memory());
    cell_.offer(site_, footprint_.kept_version(), offer);
}

bool Context::renew_between() noexcept {
    if (transaction_.begin_admitted(protocol::Path::concurrent) != AbortReason::none)
        return false;
    const bool renewed = renew_pages();
    transaction_.cancel(AbortReason::explicit_cancel);
    return renewed;
}

bool Context::withdraw_offer(u32& site) noexcept {
    const bool taken = cell_.withdraw(site);
    count_silent();
    return taken && stm_linux_thread_runs(thread(), cell_.exec_id()) != 0;
}

bool Context::begin_by_offer(u32 site, ViewStage::Mapped mapped) noexcept {
    if (transaction_.begin_admitted(protocol::Path::concurrent) != AbortReason::none) {
        stage_.withdraw_offer();
        return false;
    }
    const u64 now = transaction_.snapshot();
    note_begin(cell_.exec_id(), cell_.signal());
    began_warm_ = stage_.stage() == Stage::lent;
    if (began_warm_) {
        // It has seen the pages, which nobody has renewed since.
        transaction_.take_earlier_snapshot(footprint_.pages().empty() ? transaction_.snapshot()
                                                                      : footprint_.kept_version());
        footprint_.keep_in(transaction_);
    }
    site_ = site;
    if (current(settings().predicted_pages) != 0)
        footprint_.select(site);
    stage_.take_offer(mapped);
    if (stm_linux_traced() != 0)
        trace_start(STM_TRACE_OFFERED);
    return transaction_.snapshot() == now;
}

void Context::detach_cell() noexcept {
    if (stage_.is_offered())
        stage_.withdraw_offer();
    count_silent();
    cell_.detach();
}

// -- In mappings --

Context::Stays Context::leave_view(Stays most) noexcept {
    const bool warm =
        most != Stays::nothing && warmth_ == Warmth::warm && stage_.stage() == Stage::viewing &&
        stage_.now().memory == stm_linux_memory_current() && failure_ == AbortReason::none &&
        footprint_.may_be_kept(current(settings().warm_pages));
    if (!warm) {
        stage_.leave(footprint_.pages().empty() ? ViewStage::Pages::none : ViewStage::Pages::some);
        return Stays::nothing;
    }
    stage_.leave_warm(footprint_.pages().any_leaves() ? ViewStage::Pages::some
                                                      : ViewStage::Pages::none);
    return most;
}

void Context::add_silent(u32 ended) noexcept {
    counters_.starts.add(ended);
    counters_.commits.add(ended);
    counters_.read_only.add(ended);
}

void Context::count_idle_round() noexcept {
    count_silent();
    const u64 before = runtime::exchange(starts_seen_, counters_.starts.get());
    const u32 rounds = idle_rounds_.load(Order::relaxed);
    idle_rounds_.store(before == starts_seen_ ? rounds + 1 : 0, Order::relaxed);
}

Footprint::ToMap Context::to_map(u32 site) noexcept {
    const auto wanted = site != 0 ? predicted() : Footprint::Predicted::no;
    if (wanted == Footprint::Predicted::yes)
        footprint_.select(site);
    auto what = Footprint::ToMap::nothing;
    return footprint_.knows_to_map(site, wanted, what) ? what : footprint_.to_map(wanted);
}

void Context::map_predicted(stm_view* view, Footprint::ToMap what, u32 most) noexcept {
    if (what == Footprint::ToMap::protections)
        footprint_.allow_predicted_stores(view);
    else if (footprint_.map_predicted(transaction_, view, most) != AbortReason::none)
        tell_doomed();
}

void Context::count_predicted(stm_view* view) noexcept {
    footprint_.examine_predicted(view);
    footprint_.count_predicted(counters_);
}

// -- By calls --

AbortReason Context::fix_snapshot() noexcept {
    // One on the serial path needs no other protection, and may have to keep that.
    if (transaction_.path() == protocol::Path::serial || region_.direct() || has_written()) {
        long_reads_.done();
        return AbortReason::none;
    }
    const AbortReason reason = transaction_.fix_snapshot();
    if (transaction_.is_fixed())
        long_reads_.done();
    return reason;
}

AbortReason Context::read(u64 offset, void* to, u64 bytes) noexcept {
    if (failure_ != AbortReason::none)
        return failure_;
    if (const AbortReason reason = fix_if_due(); reason != AbortReason::none) [[unlikely]]
        return reason;
    return footprint_.read(transaction_, offset, to, bytes);
}

u32 Context::access_words(runtime::Span<const stm_vector_piece> pieces, u64* words) noexcept {
    u32 done = 0;
    if (failure_ != AbortReason::none || !footprint_.has_no_pages() ||
        fix_if_due() != AbortReason::none) [[unlikely]]
        return done;
    for (const stm_vector_piece& piece : pieces) {
        const bool simple = (piece.flags & STM_PIECE_WRITE) != 0
                                ? transaction_.write_word_simply(piece.offset, words[done])
                                : transaction_.read_word_simply(piece.offset, words[done]);
        if (!simple) [[unlikely]]
            break;
        ++done;
    }
    return done;
}

AbortReason Context::write(u64 offset, const void* from, u64 bytes, u64& written) noexcept {
    written = 0;
    transaction_.expect_writes();
    return failure_ != AbortReason::none
               ? failure_
               : footprint_.write(transaction_, offset, from, bytes, written);
}

bool Context::write_block(u64 offset, const u8* from, u64 bytes) noexcept {
    using Commit = protocol::BlockCommit<RegionStripes>;
    const u32 count = static_cast<u32>(bytes >> protocol::kStripeShift);
    // Those who watch are told of a transaction step by step.
    if (transaction_.active() || stm_linux_traced() != 0 ||
        count > runtime::min(Commit::kMostStripes, current(settings().max_stripes)))
        return false;
    if (count * (protocol::kCostOfStripe + protocol::kCostOfOldStripe) >
            protocol::kMaxConcurrentCost &&
        protocol::wants_old_versions(memory_))
        return false;
    if (replaced_.empty()) {
        auto made = runtime::make_array_to_fill<u64>(Commit::kMostStripes);
        if (!made.ok())
            return false;
        replaced_.swap(*made);
    }
    Commit commit(memory_, transaction_.owner(), offset >> protocol::kStripeShift, count, from,
                  replaced_.data());
    if (!commit.materialise().ok() || !memory_.try_enter_commit())
        return false;
    const bool committed = commit.commit() == AbortReason::none;
    if (committed) {
        if (const protocol::WaitMask waiters = commit.waiters(); waiters != 0)
            memory_.wake(waiters);
        counters_.calls.add(1);
        counters_.last_version.raise_to(commit.version());
        region_.versions().changed();
    }
    memory_.leave_commit();
    region_.versions().snapshots.tidy();
    return committed;
}

AbortReason Context::begin_nested() noexcept {
    return failure_ != AbortReason::none ? failure_ : footprint_.begin_nested(transaction_);
}

// -- The end --

AbortReason Context::count_end(AbortReason reason) noexcept {
    const bool single_call = stage_.stage() == Stage::calling;
    const bool stays_warm = stage_.stage() == Stage::ending;
    if (!single_call) {
        footprint_.learn(reason, current(settings().predicted_pages));
        last_reason_ = reason;
    }
    if (stays_warm) {
        const bool wrote = reason == AbortReason::none && transaction_.committed_version() != 0;
        stage_.stay_warm();
        footprint_.keep(transaction_,
                        wrote ? transaction_.committed_version() : transaction_.snapshot(),
                        reason == AbortReason::none ? PrivatePages::Effect::effective
                                                    : PrivatePages::Effect::none);
    } else {
        stage_.end();
        footprint_.clear();
    }
    kept_position_.transaction_ended(reason == AbortReason::none || reason == AbortReason::killed
                                         ? KeptPosition::Outcome::effective
                                         : KeptPosition::Outcome::without_effect);
    failure_ = AbortReason::none;
    data_ = PrivatePages::Data::snapshot;
    memory_failures_ = 0;
    signal_ = 0;
    end_reason_ = reason;
    if (reason != AbortReason::none)
        counters_.aborts[static_cast<u32>(reason)].add(1);
    else
        (single_call ? counters_.calls : counters_.commits).add(1);
    if (reason == AbortReason::none && !single_call && transaction_.committed_version() == 0)
        counters_.read_only.add(1);
    if (stm_linux_traced() != 0)
        trace_end(reason, single_call ? STM_TRACE_CALL : STM_TRACE_STARTED);
    counters_.longest_streak.raise_to(transaction_.longest_streak());
    counters_.extensions.add(transaction_.extensions() - extensions_counted_);
    extensions_counted_ = transaction_.extensions();
    return reason;
}

AbortReason Context::prepare_commit(protocol::Admission& needed) noexcept {
    needed = protocol::Admission::none;
    AbortReason reason = failure_;
    if (reason == AbortReason::none)
        reason = footprint_.collect(transaction_);
    if (reason != AbortReason::none) {
        cancel(reason);
        return end_reason_;
    }
    if (stm_linux_traced() != 0)
        trace_sets();
    long_reads_.note_end(transaction_.stripes_read(), transaction_.has_written());
    reason = transaction_.prepare_commit(needed);
    return reason == AbortReason::none ? reason : count_end(reason);
}

AbortReason Context::await_admission(protocol::Admission needed) noexcept {
    runtime::Status status = runtime::kSuccess;
    if (needed == protocol::Admission::gate) {
        status = traced_wait(region_, STM_TRACE_WAIT_COMMIT,
                             [this]() noexcept { return memory_.enter_commit(); });
    } else {
        do
            status = traced_wait(region_, STM_TRACE_WAIT_TOKEN,
                                 [this]() noexcept { return memory_.acquire_serial(); });
        while (status.ok() && !memory_.keep_serial());
    }
    return status.ok() ? AbortReason::none : protocol::reason_of(status.error());
}

AbortReason Context::commit(protocol::Admission admission) noexcept {
    const AbortReason reason = count_end(transaction_.commit_admitted(admission));
    if (reason == AbortReason::none && transaction_.committed_version() != 0) {
        counters_.last_version.raise_to(transaction_.committed_version());
        region_.versions().changed();
        region_.versions().snapshots.tidy();
    }
    return reason;
}

void Context::end_committed(u64 version) noexcept {
    long_reads_.note_end(transaction_.stripes_read(), version != 0);
    transaction_.end_committed(version);
    (void)count_end(AbortReason::none);
    counters_.last_version.raise_to(version);
}

void Context::cancel(AbortReason reason) noexcept {
    if (!transaction_.active())
        return;
    // What made it end, rather than that it was ended then.
    const AbortReason before = failure();
    const bool told = protocol::is_conflict(before) || failure_ != AbortReason::none;
    if (stm_linux_traced() != 0)
        trace_sets();
    long_reads_.note_end(transaction_.stripes_read(), has_written());
    transaction_.cancel(reason);
    (void)count_end(told ? before : reason);
}

void Context::fail(AbortReason reason) noexcept {
    if (failure() == AbortReason::none)
        failure_ = reason;
    transaction_.become_concurrent();
}

void Context::lose(AbortReason reason) noexcept {
    if (!transaction_.active())
        return;
    fail(reason);
    transaction_.forsake(reason);
    signal_ = 0;
    // Its own thread knows what it has done, and loads what was committed last, as without a
    // transaction. Another one's may be in the middle of loads, which must not show it a second
    // state.
    // So may the program before this one, if it had the thread: what began there does not hold its
    // address space, whose place this one may have.
    if (is_current() && !is_of_another_program())
        stage_.give_up(stm_linux_memory_current());
}

protocol::WaitMask Context::announce_wait() noexcept {
    signal_ = 0; // a change ends the wait
    counters_.waits.add(1);
    return transaction_.announce_wait();
}

// -- For those who watch --

void Context::trace_start(stm_trace_way way) noexcept {
    stm_linux_trace_start(traced(region_), way, transaction_.owner(), transaction_.snapshot());
}

// Before its end, which empties the sets.
void Context::trace_sets() noexcept {
    const bool accesses = stm_linux_traces_accesses() != 0;
    Traced sets;
    transaction_.for_each_read([&](u64 stripe, u64) noexcept {
        ++sets.read;
        if (accesses)
            stm_linux_trace_access(traced(region_), stripe * protocol::kStripeBytes,
                                   protocol::kStripeBytes, 0);
    });
    transaction_.for_each_write([&](u64 stripe, protocol::ByteMask, const runtime::u8*) noexcept {
        ++sets.written;
        if (accesses)
            stm_linux_trace_access(traced(region_), stripe * protocol::kStripeBytes,
                                   protocol::kStripeBytes, 1);
    });
    // One that was doomed knows what was in the way; another one may find it now.
    sets.changed = transaction_.doom() == AbortReason::none ? transaction_.first_changed()
                                                            : transaction_.in_the_way();
    traced_ = sets;
}

void Context::trace_end(AbortReason reason, stm_trace_way way) noexcept {
    const Traced sets = runtime::exchange(traced_, Traced());
    if (reason == AbortReason::none) {
        stm_linux_trace_commit(traced(region_), way, transaction_.owner(),
                               transaction_.committed_version(), sets.read, sets.written);
        return;
    }
    stm_trace_conflict conflict{-1, 0, 0};
    if (reason == AbortReason::commit_locked || reason == AbortReason::commit_validation)
        conflict = traced_conflict(memory_, transaction_.in_the_way());
    else if (protocol::is_conflict(reason))
        conflict = traced_conflict(memory_, sets.changed);
    stm_linux_trace_abort(traced(region_), way, transaction_.owner(), static_cast<u32>(reason),
                          conflict, transaction_.conflicts_in_row());
}

// -- Conflicts that nobody waits for --

void Context::tell_doomed() noexcept {
    if (signal_ == 0)
        return;
    stm_linux_thread_signal(thread(), exec_id_.load(Order::relaxed), runtime::exchange(signal_, 0));
    counters_.signals.add(1);
}

bool Context::look_after() noexcept {
    const bool in_view = stage_.viewing() != nullptr;
    if (!transaction_.active()) {
        if (in_view)
            count_idle_round();
        return in_view;
    }
    // Without a signal there is only its thread's end to look for.
    if (signal_ == 0)
        return in_view;
    if (transaction_.validate() != protocol::Validity::changed)
        return true;
    tell_doomed();
    return in_view;
}

} // namespace stm::kernel
