// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/transactional_calls.hpp"

#include "kernel/core/abort_error.hpp"
#include "kernel/core/context.hpp"
#include "kernel/core/pieces.hpp"
#include "kernel/core/single_call.hpp"

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
constexpr usize kPieceBytes = 16 * 1024;
constexpr u64 kCallBytes = 16 * 1024 * 1024;

// Whether a write is of whole stripes, and not more than one commit writes that keeps its
// processor. Its bytes are one piece. Fewer stripes are as quick in a transaction.
constexpr bool is_block(u64 position, u64 bytes) noexcept {
    constexpr u64 kLeastBytes = 8 * protocol::kStripeBytes;
    static_assert(kPieceBytes == u64{protocol::kMaxConcurrentStripes} << protocol::kStripeShift);
    return (position | bytes) % protocol::kStripeBytes == 0 && bytes >= kLeastBytes &&
           bytes <= kPieceBytes;
}

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

// Within a transaction of the program's own. What went through before the caller's buffer ended is
// a part of it, and told by a short count.
Result<u64> move_inside(const Call& call, u64 position, u64 bytes) noexcept {
    auto [done, reason] = move(call, position, bytes);
    if (reason == AbortReason::fault) {
        // The buffer may be a mapping of the region, and the fault in it what found the failure. Or
        // the transaction had failed before, for the same reason.
        const Guard held(call.context.lock());
        if (call.context.failure() == AbortReason::none)
            return done != 0 ? Result<u64>(done) : Error::fault;
        reason = call.context.failure();
    }
    if (reason == AbortReason::none)
        return done;
    stm_linux_buffer_revert(call.user, done);
    return fail_by_call(call.context, reason);
}

// A write of whole stripes, as a transaction of its own. It finds nothing that it has touched
// before, and keeps no bytes until its commit: runtime/protocol/block_commit.hpp. False: nothing
// has happened.
bool move_block(const Call& call, u64 position, u64 bytes) noexcept {
    if (call.direction != Direction::from_user || !is_block(position, bytes))
        return false;
    const usize given = stm_linux_buffer_get(call.user, call.buffer.data(), bytes);
    bool written = false;
    if (given == bytes) {
        const Guard held(call.context.lock());
        written = call.context.write_block(position, call.buffer.data(), bytes);
    }
    if (!written)
        stm_linux_buffer_revert(call.user, given);
    return written;
}

// As a transaction of its own.
Result<u64> move_alone(const Call& call, u64 position, u64 bytes) noexcept {
    if (move_block(call, position, bytes))
        return bytes;
    u64 done = 0;
    // A call that did not happen did not happen for the caller's buffer either.
    const auto take_back = [&]() noexcept {
        if (done != 0)
            stm_linux_buffer_revert(call.user, runtime::exchange(done, 0));
    };
    const AbortReason ended = run_single_call(call.context, [&]() noexcept {
        take_back();
        const Outcome outcome = move(call, position, bytes);
        done = outcome.done;
        // What was copied before a fault counts, as in a file.
        return outcome.reason == AbortReason::fault && done != 0 ? AbortReason::none
                                                                 : outcome.reason;
    });
    if (ended == AbortReason::none)
        return done;
    take_back();
    return error_of(ended);
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
    return fail_by_call(*context, reason);
}

Result<u64> move_transactional(Handle& handle, Direction direction, stm_user_buffer* user,
                               u64 position) noexcept {
    const u64 length = fitting(handle.region(), user, position);
    const Result<Context*> context = handle.obtain_context();
    if (!context.ok())
        return context.error();
    PieceBuffer buffer;
    if (!buffer.borrow(length, kPieceBytes, (*context)->call_buffer()).ok())
        return refuse(handle, AbortReason::no_memory);
    const Call call{**context, direction, user, buffer};
    if ((*context)->depth() != 0)
        return move_inside(call, position, length);
    // It reads what is committed, and not what the thread's next transaction would begin with.
    handle.view().cool(**context);
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
