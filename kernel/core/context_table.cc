// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/context_table.hpp"

#include "kernel/core/settings.hpp"
#include "runtime/support/allocate.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::Order;
using runtime::Result;
using runtime::u64;

void ContextTable::clear() noexcept {
    while (Context* context = contexts_.pop_front())
        runtime::destroy(context);
}

Context* ContextTable::search_current() noexcept {
    const Guard held(lock_);
    for (Context& context : contexts_) {
        if (context.is_current()) {
            recent_.store(&context, Order::release);
            return &context;
        }
    }
    return nullptr;
}

Context* ContextTable::find_next(const Context* after, Condition condition) noexcept {
    const Guard held(lock_);
    bool behind = after == nullptr;
    for (Context& context : contexts_) {
        if (behind && condition(context))
            return &context;
        behind = behind || &context == after;
    }
    return nullptr;
}

Context* ContextTable::search_viewer(const stm_memory* memory) noexcept {
    const Guard held(lock_);
    for (Context& context : contexts_) {
        if (context.stage().may_view(memory))
            return &context;
    }
    return nullptr;
}

Result<Context*> ContextTable::add() noexcept {
    // Before the memory is taken, and again with the context at hand.
    if (is_full())
        return Error::no_space;
    auto made = runtime::make<Context>(region_, current(region_.settings().max_stripes));
    if (!made.ok())
        return made.error();
    const Guard held(lock_);
    if (count_ >= current(region_.settings().max_contexts))
        return Error::no_space;
    Context* const context = made->release();
    contexts_.push_back(*context);
    ++count_;
    recent_.store(context, Order::release);
    return context;
}

bool ContextTable::is_full() noexcept {
    const Guard held(lock_);
    return count_ >= current(region_.settings().max_contexts);
}

Context* ContextTable::reuse(Context*& in_view) noexcept {
    in_view = nullptr;
    const Guard held(lock_);
    for (Context& context : contexts_) {
        if (stm_linux_thread_is_alive(context.thread()) != 0)
            continue;
        const Context::Guard own(context.lock());
        if (context.stage().viewing() != nullptr) {
            in_view = &context;
            continue;
        }
        context.discard();
        context.take_over();
        recent_.store(&context, Order::release);
        return &context;
    }
    return nullptr;
}

void ContextTable::add_counters(TransactionCounters& sum) noexcept {
    const Guard held(lock_);
    for (Context& context : contexts_) {
        {
            const Context::Guard also(context.lock());
            context.count_silent();
        }
        sum.add(context.counters());
    }
}

runtime::i32 ContextTable::last_committer(u64& version) noexcept {
    const Guard held(lock_);
    runtime::i32 thread = 0;
    for (const Context& context : contexts_) {
        if (context.counters().last_version.get() > version) {
            version = context.counters().last_version.get();
            thread = stm_linux_thread_id(context.thread());
        }
    }
    return thread;
}

} // namespace stm::kernel
