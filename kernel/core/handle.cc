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
    if (found != nullptr && found->cell().offered_in() != nullptr) {
        const Context::Guard held(found->lock());
        settle(*found);
    }
    if (found != nullptr && found->depth() != 0 && found->is_orphan()) [[unlikely]] {
        const Context::Guard held(found->lock());
        abandon(*found);
    }
    return found;
}

Result<Context*> Handle::obtain_context() noexcept {
    if (Context* found = find_context())
        return found;
    {
        // The context of a thread that has ended will do.
        const Guard held(contexts_lock_);
        for (Context& context : contexts_) {
            if (stm_linux_thread_is_alive(context.thread()) == 0) {
                {
                    const Context::Guard also(context.lock());
                    abandon(context);
                }
                context.take_over();
                recent_.store(&context, Order::release);
                return &context;
            }
        }
        if (context_count_ >= current(region_->settings().max_contexts))
            return Error::no_space;
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

void Handle::discard_own() noexcept {
    Context* const context = find_context();
    if (context == nullptr || context->depth() == 0)
        return;
    const Context::Guard held(context->lock());
    abandon(*context);
}

void Handle::discard(Whose whose) noexcept {
    const Guard held(contexts_lock_);
    for (Context& context : contexts_) {
        if (whose == Whose::ended_threads && stm_linux_thread_is_alive(context.thread()) != 0)
            continue;
        const Context::Guard also(context.lock());
        abandon(context);
    }
}

// The context's lock is held. Ends the transaction of a program that is not there any more, which
// may still have private pages in mappings of a process that is.
void Handle::abandon(Context& context) noexcept {
    if (context.viewing() != nullptr) {
        exposures_.fetch_add(1, Order::seq_cst);
        stm_linux_view_unmap(view_, 0, region_->size() / kPageBytes);
        context.set_viewing(nullptr);
    }
    context.cancel(AbortReason::killed);
    context.cell().detach();
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

void Handle::forget_cells() noexcept {
    const Guard held(contexts_lock_);
    closes_.fetch_add(1, Order::release);
    for (Context& context : contexts_) {
        // One without an offer is forgotten when it would get one.
        if (!context.lock_while([&] { return context.cell().offered_in() != nullptr; }))
            continue;
        const Context::Guard also(context.lock(), runtime::kAdoptLock);
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
    {
        const Guard held(contexts_lock_);
        for (Context& context : contexts_) {
            // Whose thread is in a call makes progress, and is looked at next time.
            const auto own = runtime::try_lock(context.lock());
            if (own.ok() && context.depth() != 0 && context.is_orphan())
                abandon(context);
            else if (!own.ok() || context.look_after())
                again = true;
        }
    }
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

// The one that has it, locked, or null; after that no offer stands there.
Context* Handle::lock_viewer(stm_memory* memory) noexcept {
    while (Context* context = viewer(memory)) {
        // If not, its transaction has just ended.
        if (!context->lock_while([&] { return context->may_view(memory); }))
            continue;
        settle(*context);
        if (context->viewing() == memory)
            return context;
        context->lock().unlock();
    }
    return nullptr;
}

runtime::Status Handle::note_mapping() noexcept {
    stm_memory* const memory = stm_linux_memory_current();
    const Guard held(contexts_lock_);
    if (mapped_.load(Order::relaxed))
        return runtime::kSuccess;
    // The first mapping: a transaction that runs already gets it, if there is only one. The caller
    // holds mmap_lock for writing, so nobody loads from the mapping yet.
    Context* running = nullptr;
    for (Context& context : contexts_) {
        // Offers that stand now were made without a thought of the view: none of them goes on.
        if (!context.lock_while([&] {
                return context.cell().offered_in() != nullptr || context.started_in() == memory;
            }))
            continue;
        const Context::Guard also(context.lock(), runtime::kAdoptLock);
        settle(context);
        if (context.depth() == 0 || context.started_in() != memory || context.is_orphan())
            continue;
        if (running != nullptr)
            return Error::busy;
        running = &context;
    }
    if (running != nullptr) {
        running->set_viewing(memory);
        watch();
    }
    mapped_.store(true, Order::release);
    return runtime::kSuccess;
}

runtime::Status Handle::enter_view(Context& context) noexcept {
    stm_memory* const memory = stm_linux_memory_current();
    if (memory == nullptr)
        return runtime::kSuccess;
    {
        const Guard held(contexts_lock_);
        if (!mapped_.load(Order::relaxed))
            return runtime::kSuccess;
        for (Context& other : contexts_) {
            if (&other == &context || !other.lock_while([&] { return other.may_view(memory); }))
                continue;
            const Context::Guard also(other.lock(), runtime::kAdoptLock);
            settle(other);
            if (other.viewing() != memory)
                continue;
            if (!other.is_orphan())
                return Error::busy;
            abandon(other);
        }
        context.set_viewing(memory);
    }
    // Of this and a fault by another thread, which counts an exposure and looks for a context then,
    // one comes first: the fault finds the context, or its exposure is seen here.
    runtime::fence(Order::seq_cst);
    if (exposures_.load(Order::acquire) == context.exposures_seen())
        return runtime::kSuccess;
    // Committed pages are in the mappings, or about to be. No fault of this address space is in
    // progress between close and open, and each later one finds the context.
    stm_linux_view_close(view_);
    context.set_exposures_seen(exposures_.load(Order::acquire));
    stm_linux_view_unmap(view_, 0, region_->size() / kPageBytes);
    stm_linux_view_open();
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
    stm_linux_view_close(view_);
    {
        const Context::Guard held(context.lock());
        if (context.viewing() == memory)
            context.map_predicted(view_, most);
    }
    stm_linux_view_open();
}

bool Handle::has_read(Context& context) noexcept {
    {
        const Context::Guard held(context.lock());
        if (context.has_read())
            return true;
        if (context.private_pages().empty() || context.viewing() != stm_linux_memory_current())
            return false;
    }
    stm_linux_view_close(view_);
    bool found = false;
    {
        const Context::Guard held(context.lock());
        context.examine_predicted(view_);
        found = context.has_read();
    }
    stm_linux_view_open();
    return found;
}

void Handle::leave_view(Context& context) noexcept {
    stm_memory* memory = nullptr;
    {
        const Context::Guard held(context.lock());
        // A mapping that comes now is not for what ends.
        context.refuse_view();
        memory = context.viewing();
        if (memory == nullptr)
            return;
        if (context.private_pages().empty()) {
            context.set_viewing(nullptr);
            return;
        }
        if (memory != stm_linux_memory_current()) {
            abandon(context);
            return;
        }
    }
    // Before the context's lock, as in a fault.
    stm_linux_view_close(view_);
    {
        const Context::Guard held(context.lock());
        context.examine_predicted(view_);
        context.count_predicted();
        context.private_pages().for_each_run([&](u64 first, u64 count) {
            stm_linux_view_unmap(view_, first, count);
            stm_linux_breathe();
        });
        // Last: another thread that begins then does not close the address space if nothing was
        // exposed, and would load and store in these pages without a fault.
        context.set_viewing(nullptr);
    }
    stm_linux_view_open();
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
        while (Context* context = lock_viewer(fault.memory)) {
            const Context::Guard held(context->lock(), runtime::kAdoptLock);
            if (!context->is_orphan())
                return serve_private_page(*context, fault);
            abandon(*context);
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
    if (context->depth() == 0)
        return STM_FAULT_FORBIDDEN;
    const PrivatePages::Page* before = context->private_pages().find(fault.index);
    const bool upgraded = before != nullptr && !before->stored;
    stm_page* own = nullptr;
    const AbortReason reason = context->private_page(fault.index, fault.address, Use::store, own);
    if (reason == AbortReason::no_memory || reason == AbortReason::too_big)
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
