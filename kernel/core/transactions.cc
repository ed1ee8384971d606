// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/transactions.hpp"

#include "kernel/core/abort_error.hpp"
#include "kernel/core/context.hpp"
#include "kernel/core/deadline.hpp"
#include "kernel/core/trace.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using protocol::Validity;
using runtime::Error;
using runtime::i32;
using runtime::kSuccess;
using runtime::Result;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using Guard = Context::Guard;

namespace {

// The calling thread's context with a transaction in it, or Error::invalid.
Result<Context*> running(Handle& handle) noexcept {
    Context* const context = handle.settled_context();
    if (context == nullptr || context->depth() == 0)
        return Error::invalid;
    return context;
}

// Where a start begins: at the depth that there is, or at none, where what runs is ended first.
enum class From { here, outside };

// A conflict: it is warm, and has to cool down first.
AbortReason begin_once(Handle& handle, Context& context, From from, protocol::Path path,
                       int signal) noexcept {
    Context::Plan plan;
    {
        const Guard held(context.lock());
        if (from == From::outside && context.depth() != 0) {
            context.counters().restarts.add(1);
            const bool valid = context.transaction().validate() == Validity::valid;
            context.cancel(valid ? AbortReason::explicit_retry : AbortReason::read_validation);
        }
        if (context.depth() != 0)
            return context.begin_nested();
        if (context.has_to_cool())
            return AbortReason::read_locked;
        plan = context.plan_start(STM_WAIT_INTERRUPTIBLE, path);
        if (!plan.waits()) [[likely]] {
            handle.news().look(); // before the snapshot: what is committed in between is news
            return context.begin(plan, signal);
        }
    }
    const AbortReason waited = context.await_start(plan);
    if (waited != AbortReason::none)
        return waited;
    handle.news().look();
    const Guard held(context.lock());
    return context.begin(plan, signal);
}

AbortReason begin(Handle& handle, Context& context, From from, protocol::Path path,
                  int signal) noexcept {
    for (;;) {
        const AbortReason reason = begin_once(handle, context, from, path, signal);
        if (!protocol::is_conflict(reason) || context.depth() != 0)
            return reason;
        handle.view().cool(context);
    }
}

// Of a start that has begun a transaction, and finds that it cannot be.
void take_back(Handle& handle, Context& context, AbortReason reason) noexcept {
    // A mapping that came meanwhile may have given it the view, and another thread have faulted
    // pages of it in.
    handle.view().leave(context);
    const Guard held(context.lock());
    context.cancel(reason);
}

// Called after the end of a transaction. A close of the last descriptor during the end has found
// nothing that was warm.
void cool_without_descriptors(Handle& handle, Context& context) noexcept {
    if (context.stage().is_warm() && !handle.descriptors().any_left(context))
        handle.view().cool(context);
}

// Of a transaction that has just begun, if it is possible soon. A commit that has lost its
// processor inside the gate needs one, so this sleeps for longer and longer, some milliseconds in
// all.
void fix_snapshot(Context& context) noexcept {
    constexpr u64 kShortestNs = 20'000;
    constexpr u64 kLongestNs = 64 * kShortestNs;
    constexpr int kTries = 12;
    u64 pause = kShortestNs;
    for (int turn = 0; turn < kTries; ++turn) {
        {
            const Guard held(context.lock());
            if (context.fix_at_start())
                return;
        }
        stm_linux_delay(pause);
        pause = runtime::min(pause * 2, kLongestNs);
    }
}

// What is left to do for a transaction that has just begun.
Status settle_in(Handle& handle, Context& context, int signal, u32 site) noexcept {
    if (!handle.descriptors().any_left(context)) {
        take_back(handle, context, AbortReason::closed);
        return Error::canceled;
    }
    context.set_site(site);
    if (const Status entered = handle.view().enter(context); !entered.ok()) {
        take_back(handle, context, AbortReason::explicit_cancel);
        return entered;
    }
    if (signal != 0 || context.stage().viewing() != nullptr)
        handle.watchdog().watch();
    handle.view().predict(context, site);
    return kSuccess;
}

} // namespace

AbortReason commit_outermost(Context& context) noexcept {
    auto needed = protocol::Admission::none;
    {
        const Guard held(context.lock());
        const AbortReason prepared = context.prepare_commit(needed);
        if (prepared != AbortReason::none)
            return prepared;
        if (context.try_admit(needed)) [[likely]]
            return context.commit(needed);
    }
    const AbortReason waited = context.await_admission(needed);
    const Guard held(context.lock());
    if (waited == AbortReason::none)
        return context.commit(needed);
    context.cancel(waited);
    return waited;
}

Result<i32> start(Handle& handle, u64 argument) noexcept {
    const u64 flags = argument & 0xff;
    const u64 signal = argument >> 8 & 0xff'ffff;
    const u32 site = (flags & STM_START_NO_PREDICTION) != 0 ? 0 : static_cast<u32>(argument >> 32);
    if ((flags & ~u64{STM_START_FLAGS}) != 0 || signal > kMaxSignal)
        return Error::invalid;
    if (handle.region().plain())
        return Error::not_supported;
    const Result<Context*> found = handle.obtain_context();
    if (!found.ok())
        return found.error();
    Context& context = **found;
    const From from = (flags & STM_START_RESTART) != 0 ? From::outside : From::here;
    if (from == From::outside)
        handle.view().leave(context, Context::Stays::loaded_pages);
    const protocol::Path path =
        (flags & STM_START_SERIAL) != 0 ? protocol::Path::serial : protocol::Path::concurrent;
    const bool fixed = (flags & STM_START_FIXED) != 0;
    if (from == From::here && path == protocol::Path::concurrent && !fixed &&
        handle.offers().begin(context, static_cast<int>(signal), site, handle.news()))
        return 1;
    const AbortReason begun = begin(handle, context, from, path, static_cast<int>(signal));
    if (begun != AbortReason::none)
        return error_of(begun);
    if (context.depth() == 1) {
        if (fixed)
            fix_snapshot(context);
        const Status settled = settle_in(handle, context, static_cast<int>(signal), site);
        if (!settled.ok())
            return settled.error();
    }
    return static_cast<i32>(context.depth());
}

Status begin_outermost(Handle& handle, Context& context, protocol::Path path, int signal,
                       u32 site) noexcept {
    const AbortReason begun = begin(handle, context, From::here, path, signal);
    return begun == AbortReason::none ? settle_in(handle, context, signal, site) : status_of(begun);
}

Status commit(Handle& handle, u64 flags) noexcept {
    if (flags != 0)
        return Error::invalid;
    const Result<Context*> found = running(handle);
    return found.ok() ? commit_innermost(handle, **found) : Status(found.error());
}

Status commit_innermost(Handle& handle, Context& context) noexcept {
    if (context.depth() > 1) {
        const Guard held(context.lock());
        const AbortReason failure = context.failure();
        context.commit_nested();
        return protocol::is_conflict(failure) ? Status(kSuccess) : status_of(failure);
    }
    handle.view().leave(context, Context::Stays::all_pages);
    const AbortReason reason = commit_outermost(context);
    // What it has stored is still in the mapping.
    if (reason != AbortReason::none)
        handle.view().cool(context);
    cool_without_descriptors(handle, context);
    if (reason == AbortReason::none)
        handle.offers().offer(context);
    return status_of(reason);
}

Status cancel(Handle& handle, u64 flags) noexcept {
    if ((flags & ~u64{STM_CANCEL_FLAGS}) != 0 || flags == STM_CANCEL_KEEP)
        return Error::invalid;
    const Result<Context*> found = running(handle);
    if (!found.ok())
        return found.error();
    Context& context = **found;
    if (context.depth() > 1 && (flags & STM_CANCEL_ALL) == 0) {
        const Guard held(context.lock());
        context.cancel_nested();
        return kSuccess;
    }
    handle.view().leave(context, (flags & STM_CANCEL_KEEP) != 0 ? Context::Stays::nothing
                                                                : Context::Stays::loaded_pages);
    {
        const Guard held(context.lock());
        if ((flags & STM_CANCEL_KEEP) != 0) {
            context.lose(AbortReason::explicit_retry);
            return kSuccess;
        }
        context.cancel(AbortReason::explicit_cancel);
    }
    cool_without_descriptors(handle, context);
    handle.offers().offer(context);
    return kSuccess;
}

Status validate(Handle& handle, u64 flags) noexcept {
    if ((flags & ~u64{STM_VALIDATE_GO_ON}) != 0)
        return Error::invalid;
    const Result<Context*> found = running(handle);
    if (!found.ok())
        return found.error();
    Context& context = **found;
    const Guard held(context.lock());
    Status status = status_of(context.failure());
    if (status.ok() && context.transaction().validate() != Validity::valid)
        status = Error::again;
    if ((flags & STM_VALIDATE_GO_ON) != 0 && !status.ok() && status.error() == Error::again)
        context.go_on();
    return status;
}

Status wait(Handle& handle, u64 timeout_ns, u32 flags) noexcept {
    const Result<Context*> found = running(handle);
    if (!found.ok())
        return found.error();
    Context& context = **found;
    if (!handle.view().has_read(context))
        return Error::deadlock;

    handle.view().leave(context);
    protocol::WaitMask mask = 0;
    {
        const Guard held(context.lock());
        // One that has failed waits for nothing.
        const AbortReason failure = context.failure();
        if (failure != AbortReason::none && !protocol::is_conflict(failure)) {
            context.cancel(failure);
            return error_of(failure);
        }
        mask = context.announce_wait();
    }
    // A stripe that is locked now is about to change; the program finds out by running again. A
    // thread may stop between its commit to a direct region and STM_IOC_WAKE.
    Region& region = handle.region();
    const Wakes wakes = region.direct() ? Wakes::mostly : Wakes::always;
    const Status waited = traced_wait(region, STM_TRACE_WAIT_CHANGE, [&]() noexcept {
        return wait_and_look(wakes, remaining_ns(timeout_ns, flags), [&](u64 nanoseconds) noexcept {
            return region.versions().readers.wait([&] { return context.has_changed(); },
                                                  nanoseconds, STM_WAIT_INTERRUPTIBLE, mask);
        });
    });
    const Guard held(context.lock());
    context.withdraw_wait(mask);
    if ((flags & STM_WAIT_KEEP) != 0 && !waited.ok()) {
        // Linux calls again, unless a handler has run that was to end the call.
        if (waited.error() == Error::interrupted)
            return Error::restart;
        context.lose(AbortReason::explicit_retry);
        return waited;
    }
    context.cancel(AbortReason::explicit_retry);
    return waited;
}

} // namespace stm::kernel
