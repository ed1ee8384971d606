// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/handle.hpp"

#include "kernel/core/context.hpp"
#include "kernel/core/region.hpp"
#include "kernel/core/settings.hpp"
#include "runtime/support/allocate.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::Error;
using runtime::Order;
using runtime::Result;
using runtime::u32;
using runtime::u64;
using runtime::Unique;

namespace {

using Guard = runtime::LockGuard<Mutex>;

// While it lives, no fault in the view's mappings in that address space is in progress.
class ClosedView : runtime::NonCopyable {
public:
    ClosedView(stm_view* view, stm_memory* memory) noexcept
        : ClosedView(memory, stm_linux_view_close(view, memory)) {}
    // Does not wait for others, and perhaps says so.
    ClosedView(stm_view* view, stm_memory* memory, bool& busy) noexcept
        : ClosedView(memory, stm_linux_view_try_close(view, memory)) {
        busy = result_ < 0;
    }
    ~ClosedView() {
        if (memory_ != nullptr)
            stm_linux_view_open(memory_);
    }

private:
    ClosedView(stm_memory* memory, int result) noexcept
        : memory_(result > 0 ? memory : nullptr), result_(result) {}

    stm_memory* const memory_; // null: it has ended, so there are no faults at all; or it is busy
    const int result_;
};

class HeldMemory : runtime::NonCopyable {
public:
    explicit HeldMemory(stm_memory* memory) noexcept : memory_(memory) {
        if (memory_ != nullptr)
            stm_linux_memory_hold(memory_);
    }
    HeldMemory(HeldMemory&& other) noexcept : memory_(runtime::exchange(other.memory_, nullptr)) {}
    ~HeldMemory() {
        if (memory_ != nullptr)
            stm_linux_memory_drop(memory_);
    }
    [[nodiscard]] stm_memory* get() const noexcept { return memory_; }

private:
    stm_memory* memory_;
};

[[nodiscard]] bool is_orphan(const Context& context) noexcept {
    return context.is_orphan();
}

[[nodiscard]] bool has_ended_in_view(const Context& context) noexcept {
    return context.viewing() != nullptr && stm_linux_thread_is_alive(context.thread()) == 0;
}

// Its thread has a transaction that it has not begun to end, and the descriptors of the calling
// one.
[[nodiscard]] bool depends_on_descriptors(const Context& context) noexcept {
    return context.started_in() != nullptr &&
           stm_linux_thread_shares_descriptors(context.thread()) != 0;
}

} // namespace

Result<Unique<Handle>> Handle::create(runtime::Ref<Region> region, u32 access) noexcept {
    stm_view* view = stm_linux_view_create(region->identity());
    if (view == nullptr)
        return Error::no_memory;
    auto handle = runtime::make<Handle>(runtime::move(region), access, view);
    if (!handle.ok())
        stm_linux_view_destroy(view);
    return handle;
}

Handle::Handle(runtime::Ref<Region> region, u32 access, stm_view* view) noexcept
    : region_(runtime::move(region)), access_(access), view_(view),
      contexts_lock_(STM_RANK_CONTEXTS) {
    stm_linux_timer_init(
        &watchdog_, [](void* handle) { static_cast<Handle*>(handle)->look_after_contexts(); },
        this);
    look();
}

Handle::~Handle() {
    stm_linux_timer_stop(&watchdog_);
    while (Context* context = contexts_.pop_front())
        runtime::destroy(context);
    stm_linux_view_destroy(view_);
}

// -- Contexts --

Context* Handle::recent_context() const noexcept {
    Context* context = recent_.load(Order::acquire);
    return context != nullptr && context->is_current() ? context : nullptr;
}

Context* Handle::find_context() noexcept {
    Context* found = recent_context();
    if (found == nullptr) {
        const Guard held(contexts_lock_);
        for (Context& context : contexts_) {
            if (context.is_current()) {
                found = &context;
                recent_.store(found, Order::release);
                break;
            }
        }
    }
    if (found == nullptr)
        return nullptr;
    if (found->cell().offered_in() != nullptr) {
        const Context::Guard held(found->lock());
        settle(*found);
    }
    if (found->is_of_another_program()) [[unlikely]]
        retire(*found);
    return found;
}

Result<Context*> Handle::obtain_context() noexcept {
    if (Context* found = find_context())
        return found;
    // The context of a thread that has ended will do.
    for (;;) {
        Context* viewing = nullptr;
        {
            const Guard held(contexts_lock_);
            for (Context& context : contexts_) {
                if (stm_linux_thread_is_alive(context.thread()) != 0)
                    continue;
                const Context::Guard own(context.lock());
                if (context.viewing() != nullptr) {
                    viewing = &context;
                    continue;
                }
                context.discard();
                context.take_over(own);
                recent_.store(&context, Order::release);
                return &context;
            }
            // To end one in the view of another process may take as long as that one likes.
            if (context_count_ < current(region_->settings().max_contexts))
                viewing = nullptr;
            else if (viewing == nullptr)
                return Error::no_space;
        }
        if (viewing == nullptr)
            break;
        retire(*viewing);
    }
    auto made = runtime::make<Context>(*region_, current(region_->settings().max_stripes));
    if (!made.ok())
        return made.error();
    Context* context = made->release();
    const Guard held(contexts_lock_);
    contexts_.push_back(*context);
    ++context_count_;
    recent_.store(context, Order::release);
    return context;
}

void Handle::note_position(long long position) noexcept {
    if (region_->plain())
        return;
    Context* const context = find_context();
    // Only the thread itself begins its transactions.
    if (context == nullptr || context->depth() == 0)
        return;
    const Context::Guard held(context->lock());
    context->note_position(position);
}

bool Handle::take_position(long long& position) noexcept {
    if (region_->plain())
        return false;
    // Not find_context(), which would take back what has just been offered.
    if (Context* const recent = recent_context()) {
        const Context::Guard held(recent->lock());
        return recent->take_position(position);
    }
    const Guard held(contexts_lock_);
    for (Context& context : contexts_) {
        if (context.is_current()) {
            const Context::Guard also(context.lock());
            return context.take_position(position);
        }
    }
    return false;
}

// The first context behind that one, or of all, for which the condition holds.
Context* Handle::next_context(const Context* after, Condition condition) noexcept {
    const Guard held(contexts_lock_);
    bool behind = after == nullptr;
    for (Context& context : contexts_) {
        if (behind && condition(context))
            return &context;
        behind = behind || &context == after;
    }
    return nullptr;
}

// Ends the context's transaction from outside of its thread, if the condition holds. Pages that it
// has in mappings are taken out, and no fault that has found one of them already maps it
// afterwards: so the view is closed where it has the view. No lock is held. False: it is still
// there, since somebody else has that address space's mmap_lock, be that the kernel at the command
// of a stranger, and the caller does not wait for that.
bool Handle::end_from_outside(Context& context, Condition condition, End end,
                              Patience patience) noexcept {
    for (;;) {
        HeldMemory memory = [&] {
            const Context::Guard held(context.lock());
            const bool ends = condition(context);
            if (ends && context.viewing() == nullptr)
                end(context);
            return HeldMemory(ends ? context.viewing() : nullptr);
        }();
        if (memory.get() == nullptr)
            return true;
        const auto end_in_view = [&] {
            const Context::Guard held(context.lock());
            // What was decided without the view is decided again.
            if (context.viewing() != memory.get() || !condition(context))
                return false;
            stm_linux_view_unmap(view_, 0, region_->size() / kPageBytes);
            end(context);
            return true;
        };
        if (patience == Patience::waits || memory.get() == stm_linux_memory_current()) {
            const ClosedView closed(view_, memory.get());
            if (end_in_view())
                return true;
        } else {
            bool busy = false;
            const ClosedView closed(view_, memory.get(), busy);
            if (busy)
                return false;
            if (end_in_view())
                return true;
        }
    }
}

// Discards the transaction of a program that is not there any more.
void Handle::retire(Context& context) noexcept {
    (void)end_from_outside(
        context, is_orphan, [](Context& orphan) noexcept { orphan.discard(); }, Patience::waits);
}

void Handle::discard_all() noexcept {
    const Guard held(contexts_lock_);
    for (Context& context : contexts_) {
        const Context::Guard own(context.lock());
        context.discard();
    }
}

void Handle::retire_ended_threads() noexcept {
    {
        const Guard held(contexts_lock_);
        for (Context& context : contexts_) {
            if (stm_linux_thread_is_alive(context.thread()) != 0)
                continue;
            const Context::Guard own(context.lock());
            if (context.viewing() == nullptr)
                context.discard();
        }
    }
    bool left = false;
    Context* context = next_context(nullptr, has_ended_in_view);
    for (; context != nullptr; context = next_context(context, has_ended_in_view)) {
        if (!end_from_outside(
                *context, is_orphan, [](Context& orphan) noexcept { orphan.discard(); },
                Patience::none))
            left = true;
    }
    // The watchdog waits in our place.
    if (left)
        stm_linux_timer_arm(&watchdog_, 1);
}

void Handle::lose_descriptor(const stm_file* file) noexcept {
    // Of this and a start one comes first: the transaction is found here, or the close there.
    runtime::fence(Order::seq_cst);
    Context* context = next_context(nullptr, depends_on_descriptors);
    if (context == nullptr || stm_linux_file_has_descriptor(file) != 0)
        return;
    for (; context != nullptr; context = next_context(context, depends_on_descriptors))
        (void)end_from_outside(
            *context, depends_on_descriptors,
            [](Context& lost) noexcept { lost.lose(AbortReason::closed); }, Patience::waits);
}

bool Handle::keeps_descriptor(Context& context) noexcept {
    runtime::fence(Order::seq_cst);
    // Before the look at the descriptors: what is closed after it counts as another close.
    const u64 closes = closes_.load(Order::acquire);
    if (closes == context.closes_seen()) [[likely]]
        return true;
    const stm_file* const file = file_.load(Order::relaxed);
    if (file != nullptr && stm_linux_file_has_descriptor(file) == 0)
        return false;
    context.set_closes_seen(closes);
    return true;
}

// -- Starts without a system call --

runtime::Status Handle::attach_cell(u64 address, int signal) noexcept {
    const u64 closes = closes_.load(Order::acquire);
    Context* const context = find_context();
    if (context == nullptr)
        return Error::invalid;
    stm_pin* pin = nullptr;
    void* words = nullptr;
    if (address != 0) {
        // May fault, perhaps in a mapping of this handle: no lock is held.
        const runtime::Status pinned = runtime::status_from_errno(
            stm_linux_pin(address, sizeof(stm_start_cell), &pin, &words));
        if (!pinned.ok())
            return pinned;
    }
    const Context::Guard held(context->lock());
    if (pin != nullptr)
        context->cell().attach(pin, words, signal, closes);
    else
        context->cell().detach();
    return runtime::kSuccess;
}

void Handle::offer_start(Context& context) noexcept {
    if (!context.cell().attached())
        return;
    // With the lock of all contexts an offer and what forbids it, another thread's or a closed
    // descriptor, come one after the other; and so do an offer and a fault, which counts its
    // exposure before it looks for offers.
    const Guard held(contexts_lock_);
    const Context::Guard also(context.lock());
    StartCell& cell = context.cell();
    if (!cell.attached())
        return;
    if (!cell.is_current(closes_.load(Order::relaxed))) {
        cell.detach();
        return;
    }
    if (!context.may_begin_by_offer() ||
        exposures_.load(Order::seq_cst) != context.exposures_seen())
        return;
    // Only one thread of an address space has the view, now or by an offer.
    for (const Context& other : contexts_) {
        if (mapped_.load(Order::relaxed) && other.may_view(cell.memory()))
            return;
    }
    cell.offer(context.site());
}

// The context's lock is held. If an offer stands it is taken back; and if the thread has taken it,
// its transaction begins here. In its mappings there is nothing to be unmapped: each fault there
// that would have mapped a committed page has come here before it.
void Handle::settle(Context& context) noexcept {
    StartCell& cell = context.cell();
    stm_memory* const memory = cell.offered_in();
    if (memory == nullptr)
        return;
    u32 site = 0;
    if (cell.withdraw(site) && stm_linux_thread_runs(context.thread(), cell.exec_id()) != 0) {
        look(); // before the snapshot
        context.begin_by_offer(region_->settings(), site);
        // If not yet: note_mapping() finds the offer, or the transaction.
        if (mapped_.load(Order::acquire))
            context.set_viewing(memory);
        if (cell.signal() != 0 || context.viewing() != nullptr)
            watch();
    }
    cell.forget_offer();
}

void Handle::forget_cells(const stm_file* file) noexcept {
    const Guard held(contexts_lock_);
    file_.store(file, Order::relaxed);
    closes_.fetch_add(1, Order::release);
    for (Context& context : contexts_) {
        // One without an offer is forgotten when it would get one.
        if (context.cell().offered_in() == nullptr)
            continue;
        const Context::Guard also(context.lock());
        settle(context);
        context.cell().detach();
    }
}

void Handle::add_counters(TransactionCounters& sum) noexcept {
    const Guard held(contexts_lock_);
    for (const Context& context : contexts_)
        sum.add(context.counters());
}

runtime::i32 Handle::last_committer(u64& version) noexcept {
    const Guard held(contexts_lock_);
    runtime::i32 thread = 0;
    for (const Context& context : contexts_) {
        if (context.counters().last_version.get() > version) {
            version = context.counters().last_version.get();
            thread = stm_linux_thread_id(context.thread());
        }
    }
    return thread;
}

// -- The watchdog --

void Handle::watch() noexcept {
    const u32 milliseconds = current(region_->settings().watchdog_ms);
    if (milliseconds != 0 && !watched_.load(Order::relaxed) &&
        !watched_.exchange(true, Order::acq_rel))
        stm_linux_timer_arm(&watchdog_, milliseconds);
}

// In a thread of Linux's own, again and again while a transaction runs that wants a signal.
void Handle::look_after_contexts() noexcept {
    // First: a transaction that begins from here on arms the watchdog itself.
    watched_.store(false, Order::seq_cst);
    bool again = false;
    bool orphans = false;
    {
        const Guard held(contexts_lock_);
        for (Context& context : contexts_) {
            // A context locked by its own thread is making progress; check it next time.
            const auto own = runtime::try_lock(context.lock());
            if (own.ok() && context.depth() != 0 && context.is_orphan())
                orphans = true;
            else if (!own.ok() || context.look_after())
                again = true;
        }
    }
    Context* orphan = orphans ? next_context(nullptr, is_orphan) : nullptr;
    for (; orphan != nullptr; orphan = next_context(orphan, is_orphan))
        retire(*orphan);
    if (again)
        watch();
}

// -- The view --

// The context whose transaction has the view in that address space, or would have it if it began by
// an offer; or null.
Context* Handle::viewer(stm_memory* memory) noexcept {
    Context* recent = recent_.load(Order::acquire);
    if (recent != nullptr && recent->may_view(memory))
        return recent;
    const Guard held(contexts_lock_);
    for (Context& context : contexts_) {
        if (context.may_view(memory))
            return &context;
    }
    return nullptr;
}

// The one that has it, locked, or null; after that no offer stands there. A program that is not
// there any more has no view. What it left in the mappings cannot be taken out here, where the
// caller keeps the view open: that is the watchdog's, at once, or the next start's.
Context* Handle::lock_viewer(stm_memory* memory) noexcept {
    while (Context* context = viewer(memory)) {
        Context::Guard held(context->lock());
        settle(*context);
        // If not, its transaction has just ended.
        if (context->viewing() != memory)
            continue;
        if (context->is_orphan()) {
            stm_linux_timer_arm(&watchdog_, 1);
            return nullptr;
        }
        held.release();
        return context;
    }
    return nullptr;
}

runtime::Status Handle::note_mapping() noexcept {
    stm_memory* const memory = stm_linux_memory_current();
    const Guard held(contexts_lock_);
    // A transaction that runs in this address space gets the view, if there is only one: it may
    // have begun when the handle had no mapping anywhere, and the first one of this address space
    // may not be the first of all. The caller holds mmap_lock for writing, so nobody loads from the
    // mapping yet.
    const bool first = !mapped_.load(Order::relaxed);
    Context* running = nullptr;
    for (Context& context : contexts_) {
        // Offers that stand before the first mapping were made without a thought of the view: none
        // of them goes on.
        if (context.started_in() != memory && !(first && context.cell().offered_in() != nullptr))
            continue;
        const Context::Guard also(context.lock());
        settle(context);
        if (context.depth() == 0 || context.started_in() != memory || context.is_orphan())
            continue;
        if (running != nullptr)
            return Error::busy;
        running = &context;
    }
    mapped_.store(true, Order::release);
    if (running == nullptr)
        return runtime::kSuccess;
    const Context::Guard also(running->lock());
    // If not, it has ended meanwhile.
    if (running->depth() != 0 && running->started_in() == memory && running->viewing() != memory) {
        running->set_viewing(memory);
        watch();
    }
    return runtime::kSuccess;
}

// Gives the context the view in that address space, unless another one has it: Error::busy. Or
// that one is `in_the_way`, whose program is not there any more.
runtime::Status Handle::take_view(Context& context, stm_memory* memory,
                                  Context*& in_the_way) noexcept {
    const Guard held(contexts_lock_);
    in_the_way = nullptr;
    if (!mapped_.load(Order::relaxed))
        return runtime::kSuccess;
    for (Context& other : contexts_) {
        if (&other == &context || !other.may_view(memory))
            continue;
        const Context::Guard also(other.lock());
        settle(other);
        if (other.viewing() != memory)
            continue;
        if (!other.is_orphan())
            return Error::busy;
        in_the_way = &other;
        return runtime::kSuccess;
    }
    const Context::Guard own(context.lock());
    context.set_viewing(memory);
    return runtime::kSuccess;
}

runtime::Status Handle::enter_view(Context& context) noexcept {
    stm_memory* const memory = stm_linux_memory_current();
    if (memory == nullptr)
        return runtime::kSuccess;
    Context* in_the_way = nullptr;
    do {
        const runtime::Status taken = take_view(context, memory, in_the_way);
        if (!taken.ok())
            return taken;
        if (in_the_way != nullptr)
            retire(*in_the_way);
    } while (in_the_way != nullptr);
    if (context.viewing() == nullptr)
        return runtime::kSuccess;
    // Of this and a fault by another thread, which counts an exposure and looks for a context then,
    // one comes first: the fault finds the context, or its exposure is seen here.
    runtime::fence(Order::seq_cst);
    if (exposures_.load(Order::acquire) == context.exposures_seen())
        return runtime::kSuccess;
    // Committed pages are in the mappings, or about to be. No fault of this address space is in
    // progress between close and open, and each later one finds the context.
    const ClosedView closed(view_, memory);
    context.set_exposures_seen(exposures_.load(Order::acquire));
    stm_linux_view_unmap(view_, 0, region_->size() / kPageBytes);
    return runtime::kSuccess;
}

void Handle::predict(Context& context, u32 site) noexcept {
    const u32 most = current(region_->settings().predicted_pages);
    stm_memory* const memory = context.viewing();
    if (site == 0 || most == 0 || memory == nullptr || memory != stm_linux_memory_current())
        return;
    {
        const Context::Guard held(context.lock());
        if (!context.predicts(site))
            return;
    }
    // No fault is in progress from here to the end, and the mappings stay as they are.
    const ClosedView closed(view_, memory);
    const Context::Guard held(context.lock());
    if (context.viewing() == memory && context.failure() == AbortReason::none)
        context.map_predicted(view_, most);
}

bool Handle::has_read(Context& context) noexcept {
    {
        const Context::Guard held(context.lock());
        if (context.has_read())
            return true;
        if (context.private_pages().empty() || context.viewing() != stm_linux_memory_current())
            return false;
    }
    const ClosedView closed(view_, stm_linux_memory_current());
    const Context::Guard held(context.lock());
    context.examine_predicted(view_);
    return context.has_read();
}

void Handle::leave_view(Context& context) noexcept {
    HeldMemory memory = [&] {
        const Context::Guard held(context.lock());
        // A mapping that comes now is not for what ends.
        context.refuse_view();
        if (context.private_pages().empty())
            context.set_viewing(nullptr);
        return HeldMemory(context.viewing());
    }();
    if (memory.get() == nullptr)
        return;
    // Before the context's lock, as in a fault.
    const ClosedView closed(view_, memory.get());
    const Context::Guard held(context.lock());
    if (memory.get() == stm_linux_memory_current()) {
        context.examine_predicted(view_);
        context.count_predicted();
    }
    context.private_pages().for_each_run([&](u64 first, u64 count) {
        stm_linux_view_unmap(view_, first, count);
        stm_linux_breathe();
    });
    // Last: another thread that begins then does not close the address space if nothing was
    // exposed, and would load and store in these pages without a fault.
    context.set_viewing(nullptr);
}

stm_fault_result Handle::serve_fault(stm_fault& fault) noexcept {
    if (fault.index >= region_->size() / kPageBytes)
        return STM_FAULT_OUTSIDE;
    const stm_fault_result result = serve_page(fault);
    if (result == STM_FAULT_MAP)
        region_->counters().faults.fetch_add(1, Order::relaxed);
    return result;
}

stm_fault_result Handle::serve_page(stm_fault& fault) noexcept {
    fault.count = 1;
    for (bool exposed = false;; exposed = true) {
        if (Context* const context = lock_viewer(fault.memory)) {
            const Context::Guard held(context->lock(), runtime::kAdoptLock);
            if (!context->loads_committed())
                return serve_private_page(*context, fault);
        }
        if (fault.write != 0)
            return STM_FAULT_FORBIDDEN;
        if (exposed)
            break;
        // Then look again: see enter_view() and offer_start().
        exposures_.fetch_add(1, Order::seq_cst);
        runtime::fence(Order::seq_cst);
    }
    const Result<stm_page*> page = region_->pages().obtain(fault.index, region_->identity(), 0);
    if (!page.ok())
        return STM_FAULT_NO_MEMORY;
    fault.pages[0] = *page;
    stm_linux_page_get(fault.pages[0]);
    return STM_FAULT_MAP;
}

// The context's lock is held, and it has the view.
stm_fault_result Handle::serve_private_page(Context& context, stm_fault& fault) noexcept {
    if (context.depth() == 0)
        return STM_FAULT_FORBIDDEN;
    const Use use = fault.write != 0 ? Use::store : Use::load;
    const AbortReason reason =
        context.private_page(fault.index, fault.address, use, fault.pages[0]);
    if (reason == AbortReason::none) {
        (use == Use::store ? context.counters().store_faults : context.counters().load_faults)
            .add(1);
        stm_linux_page_get(fault.pages[0]);
        return STM_FAULT_MAP;
    }
    if (!protocol::is_conflict(reason))
        return refuse(context, reason);
    context.tell_doomed();
    // A thread without a part in the transaction waits until that ends.
    return context.is_current() ? STM_FAULT_FORBIDDEN : STM_FAULT_WAIT;
}

// The context's lock is held. The page can not be had. If its own thread wanted it, the transaction
// is over: the program gets a signal, and its commit the reason. But that there was no memory may
// have been for a moment only, so the program first tries again.
stm_fault_result Handle::refuse(Context& context, AbortReason reason) noexcept {
    if (context.is_current()) {
        if (reason == AbortReason::no_memory && context.may_try_again())
            return STM_FAULT_AGAIN;
        context.fail(reason);
    }
    return reason == AbortReason::no_memory ? STM_FAULT_NO_MEMORY : STM_FAULT_OUTSIDE;
}

stm_fault_result Handle::make_writable(stm_fault& fault, stm_page* page) noexcept {
    Context* const context = lock_viewer(fault.memory);
    if (context == nullptr)
        return STM_FAULT_FORBIDDEN;
    const Context::Guard held(context->lock(), runtime::kAdoptLock);
    if (context->depth() == 0 || context->loads_committed())
        return STM_FAULT_FORBIDDEN;
    const PrivatePages::Page* before = context->private_pages().find(fault.index);
    const bool upgraded = before != nullptr && !before->stored;
    stm_page* own = nullptr;
    const AbortReason reason = context->private_page(fault.index, fault.address, Use::store, own);
    if (reason != AbortReason::none && !protocol::is_conflict(reason))
        return refuse(*context, reason);
    if (reason != AbortReason::none || own != page)
        return STM_FAULT_FORBIDDEN;
    // If not, it is the second half of a fault that was counted.
    if (upgraded)
        context->counters().store_faults.add(1);
    return STM_FAULT_MAP;
}

// -- poll --

void Handle::look() noexcept {
    seen_changes_.store(region_->versions().changes.load(Order::acquire), Order::relaxed);
}

bool Handle::has_news() const noexcept {
    return region_->versions().changes.load(Order::acquire) != seen_changes_.load(Order::relaxed);
}

} // namespace stm::kernel
