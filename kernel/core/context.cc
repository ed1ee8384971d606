// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/context.hpp"

#include "kernel/core/settings.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using protocol::Advice;
using runtime::Order;
using runtime::u32;
using runtime::u64;
using runtime::u8;

namespace {

u8* bytes_of(stm_page* page) noexcept {
    return static_cast<runtime::u8*>(stm_linux_page_memory(page));
}

// Whether `later` lies `count` pages behind `page`, in the region and in the address space.
bool follows(const PrivatePages::Page& page, const PrivatePages::Page& later, u32 count) noexcept {
    return later.index == page.index + count && later.address == page.address + count * kPageBytes;
}

// The part of a mapping from one page on, as it is while the view is closed.
class Window {
public:
    Window() noexcept = default;
    Window(stm_view* view, const Prediction::Page& first) noexcept
        : index_(first.index), address_(first.address),
          count_(stm_linux_view_extent(view, index_, address_, &writable_)) {}

    [[nodiscard]] bool has(const Prediction::Page& page) const noexcept {
        const u64 place = page.index - index_;
        return place < count_ && page.address == address_ + place * kPageBytes;
    }
    [[nodiscard]] bool writable() const noexcept { return writable_ != 0; }

private:
    u64 index_ = 0;
    u64 address_ = 0;
    int writable_ = 0;
    u64 count_ = 0;
};

// Pages that are mapped one behind the other, entered in one go.
class MappingBatch {
public:
    explicit MappingBatch(stm_view* view) noexcept : view_(view) {}

    void add(const PrivatePages::Page& page, Use use) noexcept {
        if (count_ == STM_MAPPING_BATCH || use != use_ || page.index != index_ + count_ ||
            page.address != address_ + count_ * kPageBytes)
            flush();
        if (count_ == 0) {
            index_ = page.index;
            address_ = page.address;
            use_ = use;
        }
        pages_[count_++] = page.copy;
    }
    void flush() noexcept {
        if (count_ != 0)
            stm_linux_view_map(view_, index_, address_, pages_, count_, use_ == Use::store ? 1 : 0);
        count_ = 0;
    }

private:
    stm_view* const view_;
    u64 index_ = 0;
    u64 address_ = 0;
    Use use_ = Use::load;
    u32 count_ = 0;
    stm_page* pages_[STM_MAPPING_BATCH];
};

u64 random_seed() noexcept {
    u64 seed = 0;
    stm_linux_random(&seed, sizeof(seed));
    return seed | 1; // never 0
}

// A few pages may always be touched.
u32 page_limit_of(u32 max_stripes) noexcept {
    return runtime::max(max_stripes / protocol::kStripesPerPage + 1, u32{16});
}

// What is predicted comes on top of the limit, so that a wrong guess takes nothing from the
// program.
protocol::Limits limits_of(u32 max_stripes) noexcept {
    return {.accesses = max_stripes,
            .writes = max_stripes,
            .pages = page_limit_of(max_stripes) + Prediction::kMostPages};
}

} // namespace

Context::Context(Region& region, u32 max_stripes) noexcept
    : region_(region), thread_(stm_linux_thread_current()), lock_(STM_RANK_CONTEXT),
      memory_(region, *this, thread()),
      transaction_(memory_, region.versions().next_owner.fetch_add(1, Order::relaxed),
                   limits_of(max_stripes)),
      page_limit_(page_limit_of(max_stripes)), exec_id_(stm_linux_exec_id()),
      random_(random_seed()) {
}

Context::~Context() {
    {
        const Guard held(lock_);
        set_viewing(nullptr);
        cancel(AbortReason::killed);
    }
    stm_linux_thread_put(thread());
}

void Context::take_over(const Guard& held) noexcept {
    held.expects_holds(lock_);
    stm_linux_thread_put(thread_.exchange(stm_linux_thread_current(), Order::relaxed));
    memory_.set_thread(thread());
    exec_id_.store(stm_linux_exec_id(), Order::relaxed);
    prediction_.forget();
    cell_.detach();
    position_state_ = PositionState::unknown;
    exposures_seen_ = kNoExposures;
    closes_seen_ = kNoCloses;
    transaction_.forget_history();
    last_reason_ = AbortReason::none;
    end_reason_ = AbortReason::none;
}

void Context::discard() noexcept {
    cancel(AbortReason::killed);
    set_viewing(nullptr);
    cell_.detach();
}

void Context::set_viewing(stm_memory* memory) noexcept {
    if (memory != nullptr)
        stm_linux_memory_hold(memory);
    if (stm_memory* before = viewing_.exchange(memory, Order::seq_cst))
        stm_linux_memory_drop(before);
}

void Context::back_off(const Advice& advice) noexcept {
    if (advice.until == Advice::Until::gate) {
        // A large commit is being applied: sleep exactly until it is over. A signal is seen by who
        // called.
        if (memory_.enter_commit().ok())
            memory_.leave_commit();
        return;
    }
    if (advice.delay_ns != 0)
        stm_linux_delay(advice.delay_ns);
}

void Context::set_wait(const stm_settings& settings, stm_wait_kind kind) noexcept {
    const bool mutex = (region_.flags() & STM_REGION_MUTEX) != 0;
    const u64 lease_ms = current(settings.serial_lease_ms);
    const u64 most_ms = runtime::max(lease_ms, u64{current(settings.serial_lease_max_ms)});
    memory_.set_wait(kind, mutex || lease_ms == 0 ? Lease{}
                                                  : Lease{.first_ns = lease_ms * 1'000'000,
                                                          .most_ns = most_ms * 1'000'000});
}

Context::Plan Context::plan_start(const stm_settings& settings, stm_wait_kind kind) noexcept {
    set_wait(settings, kind);
    Plan plan;
    if ((region_.flags() & STM_REGION_MUTEX) != 0)
        plan.path = protocol::Path::serial;
    if (const auto conflicts = transaction_.conflicts_in_row(); conflicts != 0) {
        const protocol::RetryPolicy policy{.serial_after = current(settings.serial_after)};
        plan.advice = protocol::advise(policy, conflicts, end_reason_, random_);
        if (plan.advice.path == Advice::Path::serial)
            plan.path = protocol::Path::serial;
    }
    return plan;
}

Context::Plan Context::plan_call(const stm_settings& settings) noexcept {
    // The lock of a mutex region is for transactions: a single call is atomic without it, and its
    // commit waits for it.
    if ((region_.flags() & STM_REGION_MUTEX) == 0)
        return plan_start(settings, STM_WAIT_KILLABLE);
    set_wait(settings, STM_WAIT_KILLABLE);
    return {};
}

AbortReason Context::await_start(const Plan& plan) noexcept {
    if (plan.path == protocol::Path::serial) {
        const runtime::Status status = memory_.acquire_serial();
        return status.ok() ? AbortReason::none : protocol::reason_of(status.error());
    }
    back_off(plan.advice);
    return AbortReason::none;
}

AbortReason Context::begin_admitted(const stm_settings& settings, const Plan& plan) noexcept {
    const AbortReason reason = transaction_.begin_admitted(plan.path);
    if (plan.path == protocol::Path::serial) {
        if (reason == AbortReason::none)
            counters_.serial.add(1);
        else
            memory_.release_serial();
    }
    // What waits from now on is in the middle of a commit.
    set_wait(settings, STM_WAIT_KILLABLE);
    return reason;
}

void Context::note_begin(stm_memory* memory, u64 exec_id, int signal) noexcept {
    in_call_ = false;
    started_in_.store(memory, Order::release);
    signal_ = signal;
    exec_id_.store(exec_id, Order::relaxed);
    counters_.starts.add(1);
}

AbortReason Context::begin(const stm_settings& settings, const Plan& plan, int signal) noexcept {
    const AbortReason reason = begin_admitted(settings, plan);
    if (reason == AbortReason::none)
        note_begin(stm_linux_memory_current(), stm_linux_exec_id(), signal);
    return reason;
}

AbortReason Context::begin_call(const stm_settings& settings, const Plan& plan) noexcept {
    const AbortReason reason = begin_admitted(settings, plan);
    if (reason == AbortReason::none) {
        in_call_ = true;
        signal_ = 0;
        // The context may be older than the program that calls.
        exec_id_.store(stm_linux_exec_id(), Order::relaxed);
    }
    return reason;
}

bool Context::may_begin_by_offer() const noexcept {
    return (region_.flags() & STM_REGION_MUTEX) == 0 && !transaction_.active() &&
           transaction_.conflicts_in_row() == 0 &&
           (current(region_.settings().predicted_pages) == 0 || !prediction_.has_likely_at(site_));
}

void Context::begin_by_offer(const stm_settings& settings, u32 site) noexcept {
    if (transaction_.begin_admitted(protocol::Path::concurrent) != AbortReason::none)
        return;
    set_wait(settings, STM_WAIT_KILLABLE);
    note_begin(cell_.memory(), cell_.exec_id(), cell_.signal());
    site_ = site;
    if (current(settings.predicted_pages) != 0)
        prediction_.select(site);
}

AbortReason Context::count_end(AbortReason reason) noexcept {
    if (!in_call_)
        learn(reason);
    refuse_view();
    private_pages_.clear();
    first_predicted_ = 0;
    predicted_ = 0;
    failure_ = AbortReason::none;
    goes_on_ = false;
    loads_committed_ = false;
    if (position_state_ == PositionState::kept)
        position_state_ = reason == AbortReason::none || reason == AbortReason::killed
                              ? PositionState::unknown
                              : PositionState::due;
    memory_failures_ = 0;
    end_reason_ = reason;
    if (!in_call_)
        last_reason_ = reason;
    signal_ = 0;
    if (reason != AbortReason::none)
        counters_.aborts[static_cast<runtime::u32>(reason)].add(1);
    counters_.longest_streak.raise_to(transaction_.longest_streak());
    counters_.extensions.add(transaction_.extensions() - extensions_counted_);
    extensions_counted_ = transaction_.extensions();
    return reason;
}

AbortReason Context::private_page(u64 index, u64 address, Use use, stm_page*& page) noexcept {
    if (failure_ != AbortReason::none)
        return failure_;
    if (private_pages_.size() - predicted_ >= page_limit_ && private_pages_.find(index) == nullptr)
        return AbortReason::too_big;
    PrivatePages::Page* own = nullptr;
    AbortReason reason =
        private_pages_.obtain(transaction_, index, own,
                              goes_on_ ? PrivatePages::Data::any : PrivatePages::Data::snapshot);
    if (reason == AbortReason::none && use == Use::store)
        reason = private_pages_.prepare_store(transaction_, *own);
    if (reason != AbortReason::none)
        return reason;
    own->touched |= use == Use::store ? STM_TOUCHED_STORE : STM_TOUCHED_LOAD;
    own->address = address;
    page = own->copy;
    return reason;
}

bool Context::predicts(u32 site) noexcept {
    prediction_.select(site);
    return prediction_.has_likely();
}

void Context::map_predicted(stm_view* view, u32 most) noexcept {
    MappingBatch batch(view);
    Window window;
    first_predicted_ = private_pages_.size();
    prediction_.for_each_likely([&](const Prediction::Page& likely, Use use) {
        if (predicted_ == most)
            return false;
        if (!window.has(likely))
            window = Window(view, likely);
        if (!window.has(likely) || private_pages_.find(likely.index) != nullptr)
            return true;
        if (!window.writable())
            use = Use::load;
        PrivatePages::Page* page = nullptr;
        AbortReason reason = private_pages_.obtain(transaction_, likely.index, page);
        if (reason == AbortReason::none && use == Use::store)
            reason = private_pages_.prepare_store(transaction_, *page);
        // A conflict so early dooms the transaction like any other; what the rest would fail by may
        // not be needed at all.
        if (protocol::is_conflict(reason))
            tell_doomed();
        if (reason != AbortReason::none)
            return false;
        page->address = likely.address;
        page->predicted = true;
        ++predicted_;
        batch.add(*page, use);
        return true;
    });
    batch.flush();
}

void Context::examine_predicted(stm_view* view) noexcept {
    const u32 end = first_predicted_ + predicted_;
    for (u32 first = first_predicted_; first < end;) {
        const PrivatePages::Page& page = private_pages_[first];
        u8 touched[STM_TOUCHED_BATCH];
        u32 count = 1;
        while (first + count < end && count < STM_TOUCHED_BATCH &&
               follows(page, private_pages_[first + count], count))
            ++count;
        stm_linux_view_examine(view, page.index, page.address, count, touched);
        for (u32 i = 0; i < count; ++i)
            private_pages_[first + i].touched |= touched[i];
        first += count;
    }
}

void Context::count_predicted() noexcept {
    for (u32 i = first_predicted_; i < first_predicted_ + predicted_; ++i) {
        const bool used = private_pages_[i].touched != 0;
        (used ? counters_.predicted_used : counters_.predicted_unused).add(1);
    }
}

bool Context::has_read() noexcept {
    bool found = false;
    transaction_.for_each_read([&](u64 stripe, u64) {
        const PrivatePages::Page* own = private_pages_.find(protocol::page_of_stripe(stripe));
        found = found || own == nullptr || own->touched != 0;
    });
    return found;
}

void Context::learn(AbortReason reason) noexcept {
    auto ending = Prediction::Ending::cut;
    if (reason == AbortReason::none || reason == AbortReason::explicit_cancel)
        ending = Prediction::Ending::whole;
    else if (protocol::is_conflict(reason))
        ending = Prediction::Ending::conflict;
    prediction_.learn(private_pages_, ending, current(region_.settings().predicted_pages));
}

AbortReason Context::read(u64 offset, void* to, u64 bytes) noexcept {
    if (failure_ != AbortReason::none) [[unlikely]]
        return failure_;
    auto* target = static_cast<runtime::u8*>(to);
    while (bytes != 0) {
        const u64 part =
            private_pages_.empty() ? bytes : runtime::min(bytes, kPageBytes - offset % kPageBytes);
        PrivatePages::Page* own =
            private_pages_.empty() ? nullptr : private_pages_.find(offset / kPageBytes);
        if (own != nullptr) {
            if (const AbortReason reason =
                    private_pages_.obtain(transaction_, offset / kPageBytes, own);
                reason != AbortReason::none)
                return reason;
            own->touched |= STM_TOUCHED_LOAD;
            runtime::copy_from_shared(target, bytes_of(own->copy) + offset % kPageBytes, part);
        } else if (const AbortReason reason = transaction_.read(offset, target, part);
                   reason != AbortReason::none) {
            return reason;
        }
        target += part;
        offset += part;
        bytes -= part;
    }
    return AbortReason::none;
}

AbortReason Context::write(u64 offset, const void* from, u64 bytes, u64& written) noexcept {
    const auto* source = static_cast<const runtime::u8*>(from);
    written = 0;
    if (failure_ != AbortReason::none) [[unlikely]]
        return failure_;
    while (bytes != 0) {
        const u64 part =
            private_pages_.empty() ? bytes : runtime::min(bytes, kPageBytes - offset % kPageBytes);
        PrivatePages::Page* own =
            private_pages_.empty() ? nullptr : private_pages_.find(offset / kPageBytes);
        AbortReason reason = AbortReason::none;
        if (own != nullptr) {
            reason = private_pages_.prepare_store(transaction_, *own);
            if (reason == AbortReason::none) {
                own->touched |= STM_TOUCHED_STORE;
                runtime::copy_to_shared(bytes_of(own->copy) + offset % kPageBytes, source, part);
            }
        } else {
            reason = transaction_.write(offset, source, part);
        }
        if (reason != AbortReason::none)
            return reason;
        source += part;
        offset += part;
        bytes -= part;
        written += part;
    }
    return AbortReason::none;
}

AbortReason Context::begin_nested() noexcept {
    if (failure_ != AbortReason::none)
        return failure_;
    const AbortReason reason = transaction_.begin_nested();
    if (reason != AbortReason::none)
        return reason;
    const AbortReason saved = private_pages_.begin_level(transaction_.nesting());
    if (saved != AbortReason::none)
        transaction_.cancel_nested();
    return saved;
}

void Context::commit_nested() noexcept {
    private_pages_.commit_level(transaction_.nesting());
    transaction_.commit_nested();
}

void Context::cancel_nested() noexcept {
    const u32 level = transaction_.nesting();
    transaction_.cancel_nested();
    private_pages_.cancel_level(transaction_, level);
}

AbortReason Context::prepare_commit(protocol::Admission& needed) noexcept {
    needed = protocol::Admission::none;
    AbortReason reason = failure_;
    if (reason == AbortReason::none && !private_pages_.empty())
        reason = private_pages_.collect(transaction_);
    if (reason != AbortReason::none) {
        cancel(reason);
        return end_reason_;
    }
    reason = transaction_.prepare_commit(needed);
    return reason == AbortReason::none ? reason : count_end(reason);
}

bool Context::try_admit(protocol::Admission needed) noexcept {
    return needed == protocol::Admission::none ||
           (needed == protocol::Admission::gate && memory_.try_enter_commit());
}

AbortReason Context::await_admission(protocol::Admission needed) noexcept {
    runtime::Status status = runtime::kSuccess;
    if (needed == protocol::Admission::gate) {
        status = memory_.enter_commit();
    } else {
        do
            status = memory_.acquire_serial();
        while (status.ok() && !memory_.keep_serial());
    }
    return status.ok() ? AbortReason::none : protocol::reason_of(status.error());
}

AbortReason Context::commit(protocol::Admission admission) noexcept {
    const AbortReason reason = count_end(transaction_.commit_admitted(admission));
    if (reason != AbortReason::none)
        return reason;
    (in_call_ ? counters_.calls : counters_.commits).add(1);
    if (transaction_.committed_version() == 0) {
        if (!in_call_)
            counters_.read_only.add(1);
        return reason;
    }
    counters_.last_version.raise_to(transaction_.committed_version());
    region_.versions().changed();
    return reason;
}

void Context::cancel(AbortReason reason) noexcept {
    if (!transaction_.active())
        return;
    // What made it end, rather than that it was ended then.
    const AbortReason before = failure();
    const bool told = protocol::is_conflict(before) || failure_ != AbortReason::none;
    transaction_.cancel(reason);
    (void)count_end(told ? before : reason);
}

void Context::lose(AbortReason reason) noexcept {
    if (!transaction_.active())
        return;
    fail(reason);
    transaction_.forsake(reason);
    signal_ = 0;
    // Its own thread knows what it has closed. Another one's may be in the middle of loads, which
    // must not show it a second state.
    loads_committed_ = is_current();
}

void Context::tell_doomed() noexcept {
    if (signal_ == 0)
        return;
    stm_linux_thread_signal(thread(), exec_id_.load(Order::relaxed), runtime::exchange(signal_, 0));
    counters_.signals.add(1);
}

bool Context::look_after() noexcept {
    if (!transaction_.active())
        return false;
    // Without a signal there is only its thread's end to look for.
    if (signal_ == 0)
        return viewing() != nullptr;
    if (transaction_.validate() != protocol::Validity::changed)
        return true;
    tell_doomed();
    return viewing() != nullptr;
}

} // namespace stm::kernel
