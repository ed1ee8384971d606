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

namespace {
using Guard = runtime::LockGuard<Mutex>;
} // namespace

Handle::Handle(runtime::Ref<Region> region, u32 access) noexcept
    : region_(runtime::move(region)), access_(access), contexts_lock_(STM_RANK_CONTEXTS) {
    stm_linux_timer_init(
        &watchdog_, [](void* handle) { static_cast<Handle*>(handle)->look_after_contexts(); },
        this);
    look();
}

Handle::~Handle() {
    stm_linux_timer_stop(&watchdog_);
    while (Context* context = contexts_.pop_front())
        runtime::destroy(context);
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
    if (found != nullptr)
        found->discard_foreign();
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
                context.take_over();
                recent_.store(&context, Order::release);
                return &context;
            }
        }
        if (context_count_ >= current(region_->settings().max_contexts))
            return Error::no_space;
    }
    const u32 stripes = current(region_->settings().max_stripes);
    auto made = runtime::make<Context>(*region_, protocol::Limits{stripes, stripes});
    if (!made.ok())
        return made.error();
    Context* context = made->release();
    const Guard held(contexts_lock_);
    contexts_.push_back(*context);
    ++context_count_;
    recent_.store(context, Order::release);
    return context;
}

void Handle::discard(Whose whose) noexcept {
    const Guard held(contexts_lock_);
    for (Context& context : contexts_) {
        if (whose == Whose::ended_threads && stm_linux_thread_is_alive(context.thread()) != 0)
            continue;
        const Context::Guard also(context.lock());
        context.cancel(AbortReason::killed);
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
            if (!own.ok() || context.look_after())
                again = true;
        }
    }
    if (again)
        watch();
}

// -- poll --

void Handle::look() noexcept {
    seen_changes_.store(region_->versions().changes.load(Order::acquire), Order::relaxed);
}

bool Handle::has_news() const noexcept {
    return region_->versions().changes.load(Order::acquire) != seen_changes_.load(Order::relaxed);
}

} // namespace stm::kernel
