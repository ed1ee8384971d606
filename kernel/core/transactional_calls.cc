// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/transactional_calls.hpp"

#include "kernel/core/abort_error.hpp"
#include "kernel/core/context.hpp"
#include "kernel/core/pieces.hpp"
#include "kernel/core/transactions.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::Error;
using runtime::Result;
using runtime::u64;
using runtime::u8;
using runtime::usize;
using Guard = Context::Guard;

namespace {

// A call copies through a buffer of this size; one outside of a transaction is atomic up to
// kCallBytes.
constexpr usize kPieceBytes = 64 * 1024;
constexpr u64 kCallBytes = 16 * 1024 * 1024;

// A call by the context's thread.
struct Call {
    Context& context;
    Direction direction;
    stm_user_buffer* user;
    PieceBuffer& buffer;
};

struct Outcome {
    u64 done;
    AbortReason reason;
};

// The part of a call from that position on, `bytes` bytes, which fit into the region, within the
// transaction that runs. Each piece holds the context's lock, and gives it back before it touches
// user memory.
Outcome move(const Call& call, u64 position, u64 bytes) noexcept {
    AbortReason reason = AbortReason::none;
    const auto copy = [&](u64 done, u8* data, usize piece) noexcept -> usize {
        const Guard held(call.context.lock());
        u64 moved = 0;
        if (call.direction == Direction::from_user) {
            reason = call.context.write(position + done, data, piece, moved);
        } else {
            reason = call.context.read(position + done, data, piece);
            moved = reason == AbortReason::none ? piece : 0;
        }
        return moved;
    };
    const Moved moved = move_in_pieces(call.direction, call.user, call.buffer, bytes, copy);
    return {moved.bytes, moved.ended == Moved::By::user_buffer ? AbortReason::fault : reason};
}

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
Result<u64> move_inside(const Call& call, u64 position, u64 bytes) noexcept {
    auto [done, reason] = move(call, position, bytes);
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

// Begins the transaction of a single call.
AbortReason begin_call(Context& context) noexcept {
    Context::Plan plan;
    {
        const Guard held(context.lock());
        plan = context.plan_call();
        if (!plan.waits()) [[likely]]
            return context.begin_call(plan);
    }
    const AbortReason waited = context.await_start(plan);
    if (waited != AbortReason::none)
        return waited;
    const Guard held(context.lock());
    return context.begin_call(plan);
}

// As a transaction of its own, again after each conflict.
Result<u64> move_alone(const Call& call, u64 position, u64 bytes) noexcept {
    for (;;) {
        const AbortReason begun = begin_call(call.context);
        if (begun != AbortReason::none)
            return error_of(begun);
        const auto [done, reason] = move(call, position, bytes);
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

Result<u64> move_in_parts(const Call& call, u64 position, u64 length) noexcept {
    u64 done = 0;
    while (done < length) {
        const u64 part = runtime::min(length - done, kCallBytes);
        const Result<u64> went = move_alone(call, position + done, part);
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
    Context* const context = handle.settled_context();
    if (context == nullptr || context->depth() == 0)
        return error_of(reason);
    return fail(*context, reason);
}

Result<u64> move_transactional(Handle& handle, Direction direction, stm_user_buffer* user,
                               u64 position) noexcept {
    const u64 length = fitting(handle.region(), user, position);
    const Result<Context*> context = handle.obtain_context();
    if (!context.ok())
        return context.error();
    PieceBuffer buffer;
    if (!buffer.reserve(length, kPieceBytes).ok())
        return refuse(handle, AbortReason::no_memory);
    const Call call{**context, direction, user, buffer};
    if ((*context)->depth() != 0)
        return move_inside(call, position, length);
    if (direction == Direction::to_user)
        handle.news().look();
    return move_in_parts(call, position, length);
}

} // namespace

Result<u64> read_transactional(Handle& handle, stm_user_buffer* to, u64 position) noexcept {
    if (fitting(handle.region(), to, position) == 0)
        return u64{0};
    return move_transactional(handle, Direction::to_user, to, position);
}

Result<u64> write_transactional(Handle& handle, stm_user_buffer* from, u64 position) noexcept {
    if (stm_linux_buffer_left(from) == 0)
        return u64{0};
    if (fitting(handle.region(), from, position) == 0)
        return refuse(handle, AbortReason::out_of_range);
    return move_transactional(handle, Direction::from_user, from, position);
}

} // namespace stm::kernel
