// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/handle.hpp"

#include "runtime/support/allocate.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::Result;
using runtime::u32;
using runtime::Unique;

namespace {

[[nodiscard]] bool has_ended_in_view(const Context& context) noexcept {
    return context.stage().viewing() != nullptr && stm_linux_thread_is_alive(context.thread()) == 0;
}

[[nodiscard]] bool is_idle(const Context& context) noexcept {
    return context.stage().is_warm() && context.is_idle();
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
    : region_(runtime::move(region)), access_(access), contexts_(*region_),
      news_(region_->versions()),
      watchdog_(
          region_->settings(),
          [](void* handle) { static_cast<Handle*>(handle)->look_after_contexts(); },
          [](void* handle) { static_cast<Handle*>(handle)->wait_for_orphans(); }, this),
      view_(view, *region_, contexts_, news_, watchdog_), descriptors_(contexts_, view_),
      offers_(contexts_, view_, descriptors_) {
}

Handle::~Handle() {
    watchdog_.stop();
    contexts_.clear();
}

// -- Contexts --

Context* Handle::settled_context() noexcept {
    Context* const found = contexts_.find_current();
    if (found == nullptr)
        return nullptr;
    if (found->stage().is_offered()) {
        const Context::Guard held(found->lock());
        view_.settle(*found);
    }
    if (found->is_of_another_program()) [[unlikely]]
        view_.retire(*found);
    return found;
}

Result<Context*> Handle::obtain_context() noexcept {
    if (Context* found = settled_context())
        return found;
    for (;;) {
        Context* in_view = nullptr;
        if (Context* const reused = contexts_.reuse(in_view))
            return reused;
        // To end one in the view of another process may take as long as that one likes.
        const Result<Context*> added = contexts_.add();
        if (added.ok() || added.error() != Error::no_space || in_view == nullptr)
            return added;
        view_.retire(*in_view);
    }
}

void Handle::note_position(long long position) noexcept {
    if (region_->plain())
        return;
    Context* const context = settled_context();
    if (context == nullptr || context->depth() == 0 || !context->wants_position())
        return;
    knows_positions_.store(true, runtime::Order::relaxed);
    const Context::Guard held(context->lock());
    context->kept_position().note(position);
}

bool Handle::take_position(long long& position) noexcept {
    // Not settled_context(), which would take back what has just been offered.
    Context* const context = contexts_.find_current();
    if (context == nullptr || !context->position_is_due())
        return false;
    const Context::Guard held(context->lock());
    return context->kept_position().take(position);
}

// -- Transactions whose threads do not end them --

void Handle::discard_all() noexcept {
    const ContextTable::Guard held(contexts_.lock());
    for (Context& context : contexts_.all()) {
        const Context::Guard own(context.lock());
        context.discard();
    }
}

void Handle::flush(const stm_file* file) noexcept {
    // First: the number is free already, and may be another file's.
    descriptors_.note_close(file);
    offers_.withdraw_all();
    retire_ended_threads();
    descriptors_.lose_transactions(file);
}

void Handle::retire_ended_threads() noexcept {
    {
        const ContextTable::Guard held(contexts_.lock());
        for (Context& context : contexts_.all()) {
            if (stm_linux_thread_is_alive(context.thread()) != 0)
                continue;
            const Context::Guard own(context.lock());
            if (context.stage().viewing() == nullptr)
                context.discard();
        }
    }
    Context* context = contexts_.find_next(nullptr, has_ended_in_view);
    for (; context != nullptr; context = contexts_.find_next(context, has_ended_in_view)) {
        // The watchdog waits in our place.
        if (!view_.retire(*context, View::Patience::none))
            watchdog_.look_soon();
    }
}

// In a thread of Linux's own, again and again while a transaction runs that wants a signal.
void Handle::look_after_contexts() noexcept {
    watchdog_.begin_round();
    bool again = false;
    bool orphans = false;
    {
        const ContextTable::Guard held(contexts_.lock());
        for (Context& context : contexts_.all()) {
            // A context locked by its own thread is making progress; check it next time.
            const auto own = runtime::try_lock(context.lock());
            if (!own.ok()) {
                again = true;
                continue;
            }
            context.lock().is_held();
            if (context.may_run_on_old_data())
                view_.settle(context);
            const bool is_there = context.depth() != 0 || context.stage().viewing() != nullptr;
            if (is_there && context.is_orphan())
                orphans = true;
            else if (context.look_after())
                again = true;
        }
    }
    Context* idle = contexts_.find_next(nullptr, is_idle);
    for (; idle != nullptr; idle = contexts_.find_next(idle, is_idle))
        view_.cool(*idle, is_idle, View::Patience::none);
    bool some_are_left = false;
    Context* orphan = orphans ? contexts_.find_next(nullptr, is_orphan) : nullptr;
    for (; orphan != nullptr; orphan = contexts_.find_next(orphan, is_orphan)) {
        if (!view_.retire(*orphan, View::Patience::none))
            some_are_left = true;
    }
    if (some_are_left)
        watchdog_.wait_soon();
    if (again)
        watchdog_.watch();
}

void Handle::wait_for_orphans() noexcept {
    Context* orphan = contexts_.find_next(nullptr, is_orphan);
    for (; orphan != nullptr; orphan = contexts_.find_next(orphan, is_orphan))
        view_.retire(*orphan);
}

} // namespace stm::kernel
