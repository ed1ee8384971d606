// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/transactions.hpp"

#include "kernel/core/contents.hpp"
#include "kernel/core/context.hpp"
#include "kernel/core/piece_buffer.hpp"
#include "kernel/core/region.hpp"
#include "runtime/support/scope_exit.hpp"

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
using runtime::usize;
using Guard = Context::Guard;

namespace {

// The numbers of the UAPI are the engine's.
static_assert(STM_REASON_FAULT == static_cast<u32>(AbortReason::fault));
static_assert(STM_REASON_RETRY == static_cast<u32>(AbortReason::explicit_retry));
static_assert(protocol::kAbortReasons <= STM_REASONS);

// A read or write call copies through a buffer of this size; one outside of a transaction is atomic
// up to kCallBytes.
constexpr usize kPieceBytes = 64 * 1024;
constexpr u64 kCallBytes = 16 * 1024 * 1024;

Error error_of(AbortReason reason) noexcept {
    switch (reason) {
    case AbortReason::too_big:
        return Error::too_big;
    case AbortReason::no_memory:
        return Error::no_memory;
    case AbortReason::signal:
    case AbortReason::killed:
        return Error::interrupted;
    case AbortReason::serial_wait:
        return Error::deadlock;
    case AbortReason::out_of_range:
        return Error::no_space;
    case AbortReason::fault:
        return Error::fault;
    case AbortReason::closed:
    case AbortReason::explicit_retry:
        return Error::canceled;
    default:
        return Error::again;
    }
}

Status status_of(AbortReason reason) noexcept {
    return reason == AbortReason::none ? Status(kSuccess) : Status(error_of(reason));
}

// The piece-wise part of a call within a transaction that runs: `bytes` bytes, which fit into the
// region, from the position on. Each piece holds the context's lock, and gives it back before it
// touches user memory.
struct Piecewise {
    Context& context;
    stm_user_buffer* user;
    PieceBuffer& buffer;

    struct Outcome {
        u64 done;
        AbortReason reason;
    };

    Outcome read(u64 position, u64 bytes) noexcept {
        u64 done = 0;
        while (done < bytes) {
            const usize piece = runtime::min<u64>(bytes - done, buffer.size());
            {
                const Guard held(context.lock());
                const AbortReason reason = context.read(position + done, buffer.data(), piece);
                if (reason != AbortReason::none)
                    return {done, reason};
            }
            const usize put = stm_linux_buffer_put(user, buffer.data(), piece);
            done += put;
            if (put < piece)
                return {done, AbortReason::fault};
            stm_linux_breathe();
        }
        return {done, AbortReason::none};
    }

    Outcome write(u64 position, u64 bytes) noexcept {
        u64 done = 0;
        while (done < bytes) {
            const usize piece = runtime::min<u64>(bytes - done, buffer.size());
            const usize got = stm_linux_buffer_get(user, buffer.data(), piece);
            if (got != 0) {
                const Guard held(context.lock());
                u64 written = 0;
                const AbortReason reason =
                    context.write(position + done, buffer.data(), got, written);
                if (reason != AbortReason::none) {
                    stm_linux_buffer_revert(user, got - written);
                    return {done + written, reason};
                }
            }
            done += got;
            if (got < piece)
                return {done, AbortReason::fault};
            stm_linux_breathe();
        }
        return {done, AbortReason::none};
    }
};

using Access = Piecewise::Outcome (Piecewise::*)(u64 position, u64 bytes) noexcept;

// The transaction of the calling thread has failed and is over, whatever the program does with the
// call's result: it may have meant to do all of the call, or nothing.
Error fail(Context& context, AbortReason reason) noexcept {
    const Guard held(context.lock());
    if (protocol::is_conflict(reason)) {
        context.tell_doomed();
        return error_of(reason);
    }
    context.fail(reason);
    return error_of(context.failure()); // that of the first one that failed
}

// Within a transaction of the program's own. What went through before the caller's buffer ended is
// a part of it, and told by a short count.
Result<u64> access_inside(Piecewise call, Access access, u64 position, u64 bytes) noexcept {
    auto [done, reason] = (call.*access)(position, bytes);
    if (reason == AbortReason::fault) {
        // The buffer may be a mapping of the region, and the fault in it what found the failure.
        const Guard held(call.context.lock());
        if (call.context.failure() != AbortReason::none)
            reason = call.context.failure();
        else if (done == 0)
            return Error::fault;
    }
    if (reason == AbortReason::none || reason == AbortReason::fault)
        return done;
    stm_linux_buffer_revert(call.user, done);
    return fail(call.context, reason);
}

// Begins a transaction of a single call.
AbortReason begin_call(const stm_settings& settings, Context& context) noexcept {
    const auto plan = [&] {
        const Guard held(context.lock());
        return context.plan_call(settings);
    }();
    const AbortReason waited = context.await_start(plan);
    if (waited != AbortReason::none)
        return waited;
    const Guard held(context.lock());
    return context.begin_call(settings, plan);
}

// Ends what runs, a transaction or a single call's. What it has to wait for it waits for without
// the lock.
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

// As a transaction of its own, again after each conflict.
Result<u64> access_alone(const stm_settings& settings, Piecewise call, Access access, u64 position,
                         u64 bytes) noexcept {
    for (;;) {
        const AbortReason begun = begin_call(settings, call.context);
        if (begun != AbortReason::none)
            return error_of(begun);
        const auto [done, reason] = (call.*access)(position, bytes);
        AbortReason ended = reason;
        // What was copied before a fault counts, as in a file.
        if (reason == AbortReason::none || (reason == AbortReason::fault && done != 0)) {
            ended = commit_outermost(call.context);
        } else {
            const Guard held(call.context.lock());
            call.context.cancel(reason);
        }
        if (ended == AbortReason::none)
            return done;
        // The call did not happen, also for the caller's buffer.
        stm_linux_buffer_revert(call.user, done);
        if (!protocol::is_conflict(ended))
            return error_of(ended);
        if (stm_linux_dying() != 0)
            return Error::interrupted;
    }
}

Result<u64> access_in_pieces(Handle& handle, const Piecewise& call, u64 position, u64 length,
                             Access how) noexcept {
    u64 done = 0;
    while (done < length) {
        const u64 part = runtime::min(length - done, kCallBytes);
        const Result<u64> went =
            access_alone(handle.region().settings(), call, how, position + done, part);
        if (!went.ok())
            return done != 0 ? Result<u64>(done) : went;
        done += *went;
        if (*went < part)
            break;
    }
    return done;
}

// A call that does not even begin: nothing fits, or there is no memory for it. If the thread has a
// transaction, that has failed as well.
Result<u64> refuse(Handle& handle, AbortReason reason) noexcept {
    Context* const context = handle.find_context();
    if (context == nullptr || context->depth() == 0)
        return error_of(reason);
    return fail(*context, reason);
}

Result<u64> access(Handle& handle, stm_user_buffer* user, u64 position, Access how) noexcept {
    const u64 length = fitting(handle.region(), user, position);
    const Result<Context*> context = handle.obtain_context();
    if (!context.ok())
        return context.error();
    PieceBuffer buffer;
    if (!buffer.reserve(length, kPieceBytes).ok())
        return refuse(handle, AbortReason::no_memory);
    const Piecewise call{**context, user, buffer};
    // Only the thread itself begins and ends its transactions.
    if ((*context)->depth() != 0)
        return access_inside(call, how, position, length);
    if (how == &Piecewise::read)
        handle.look();
    return access_in_pieces(handle, call, position, length, how);
}

// The calling thread's context with a transaction in it, or Error::invalid.
Result<Context*> running(Handle& handle) noexcept {
    Context* context = handle.find_context();
    if (context == nullptr || context->depth() == 0)
        return Error::invalid;
    return context;
}

} // namespace

namespace {

// Where a start begins: at the depth that there is, or at none, where what runs is ended first.
enum class From { here, outside };

AbortReason begin(Handle& handle, Context& context, From from, int signal) noexcept {
    const stm_settings& settings = handle.region().settings();
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
        plan = context.plan_start(settings, STM_WAIT_INTERRUPTIBLE);
    }
    const AbortReason waited = context.await_start(plan);
    if (waited != AbortReason::none)
        return waited;
    // Before the snapshot: what is committed in between is news.
    handle.look();
    const Guard held(context.lock());
    return context.begin(settings, plan, signal);
}

} // namespace

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
    if ((flags & STM_START_RESTART) != 0)
        handle.leave_view(context);
    const AbortReason begun =
        begin(handle, context, (flags & STM_START_RESTART) != 0 ? From::outside : From::here,
              static_cast<int>(signal));
    if (begun != AbortReason::none)
        return error_of(begun);
    if (context.depth() == 1) {
        if (!handle.keeps_descriptor(context)) {
            const Guard held(context.lock());
            context.cancel(AbortReason::closed);
            return Error::canceled;
        }
        context.set_site(site);
        if (const Status entered = handle.enter_view(context); !entered.ok()) {
            const Guard held(context.lock());
            context.cancel(AbortReason::explicit_cancel);
            return entered.error();
        }
        if (signal != 0 || context.viewing() != nullptr)
            handle.watch();
        handle.predict(context, site);
    }
    return static_cast<i32>(context.depth());
}

Status commit(Handle& handle) noexcept {
    const Result<Context*> context = running(handle);
    if (!context.ok())
        return context.error();
    if ((*context)->depth() > 1) {
        const Guard held((*context)->lock());
        const AbortReason failure = (*context)->failure();
        (*context)->commit_nested();
        return protocol::is_conflict(failure) ? Status(kSuccess) : status_of(failure);
    }
    handle.leave_view(**context);
    const AbortReason reason = commit_outermost(**context);
    if (reason == AbortReason::none)
        handle.offer_start(**context);
    return status_of(reason);
}

Status cancel(Handle& handle, u64 flags) noexcept {
    if ((flags & ~u64{STM_CANCEL_FLAGS}) != 0 || flags == STM_CANCEL_KEEP)
        return Error::invalid;
    const Result<Context*> context = running(handle);
    if (!context.ok())
        return context.error();
    if ((*context)->depth() > 1 && (flags & STM_CANCEL_ALL) == 0) {
        const Guard held((*context)->lock());
        (*context)->cancel_nested();
        return kSuccess;
    }
    handle.leave_view(**context);
    {
        const Guard held((*context)->lock());
        if ((flags & STM_CANCEL_KEEP) != 0) {
            (*context)->lose(AbortReason::explicit_retry);
            return kSuccess;
        }
        (*context)->cancel(AbortReason::explicit_cancel);
    }
    handle.offer_start(**context);
    return kSuccess;
}

Status validate(Handle& handle, u64 flags) noexcept {
    if ((flags & ~u64{STM_VALIDATE_GO_ON}) != 0)
        return Error::invalid;
    const Result<Context*> context = running(handle);
    if (!context.ok())
        return context.error();
    const Guard held((*context)->lock());
    Status status = status_of((*context)->failure());
    if (status.ok() && (*context)->transaction().validate() != Validity::valid)
        status = Error::again;
    if ((flags & STM_VALIDATE_GO_ON) != 0 && !status.ok() && status.error() == Error::again)
        (*context)->go_on();
    return status;
}

Status wait(Handle& handle, u64 timeout_ns, u32 flags) noexcept {
    const Result<Context*> found = running(handle);
    if (!found.ok())
        return found.error();
    Context& context = **found;
    if (!handle.has_read(context))
        return Error::deadlock;

    handle.leave_view(context);
    {
        // One that has failed waits for nothing.
        const Guard held(context.lock());
        const AbortReason failure = context.failure();
        if (failure != AbortReason::none && !protocol::is_conflict(failure)) {
            context.cancel(failure);
            return error_of(failure);
        }
    }
    Versions& versions = handle.region().versions();
    protocol::WaitMask mask = 0;
    {
        const Guard held(context.lock());
        context.silence(); // a change ends the wait
        mask = context.transaction().announce_wait();
        context.counters().waits.add(1);
    }
    if ((flags & STM_WAIT_UNTIL) != 0 && timeout_ns != STM_WAIT_FOREVER) {
        const u64 now = stm_linux_monotonic_ns();
        timeout_ns = timeout_ns > now ? timeout_ns - now : 0;
    }
    // A stripe that is locked now is about to change; the program finds out by running again.
    const Status waited =
        versions.readers.wait([&] { return context.transaction().validate() != Validity::valid; },
                              timeout_ns, STM_WAIT_INTERRUPTIBLE);
    const Guard held(context.lock());
    context.transaction().withdraw_wait(mask);
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

void describe_transaction(Handle& handle, stm_transaction& transaction) noexcept {
    Context* context = handle.find_context();
    if (context == nullptr)
        return;
    const Guard held(context->lock());
    const Context::Transaction& own = context->transaction();
    u32 read = 0;
    own.for_each_read([&](u64, u64) { ++read; });
    transaction.depth = context->depth();
    transaction.doom = static_cast<u32>(context->failure());
    transaction.last_reason = static_cast<u32>(context->last_reason());
    transaction.serial = context->runs_alone() ? 1 : 0;
    transaction.stripes_read = read;
    transaction.stripes_written = own.stripes_written();
    transaction.conflicts = own.conflicts_in_row();
    transaction.longest_streak = own.longest_streak();
}

Result<u64> read_transactional(Handle& handle, stm_user_buffer* to, u64 position) noexcept {
    if (fitting(handle.region(), to, position) == 0)
        return u64{0};
    return access(handle, to, position, &Piecewise::read);
}

Result<u64> write_transactional(Handle& handle, stm_user_buffer* from, u64 position) noexcept {
    if (stm_linux_buffer_left(from) == 0)
        return u64{0};
    if (fitting(handle.region(), from, position) == 0)
        return refuse(handle, AbortReason::out_of_range);
    return access(handle, from, position, &Piecewise::write);
}

} // namespace stm::kernel
