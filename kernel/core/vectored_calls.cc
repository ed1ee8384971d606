// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/vectored_calls.hpp"

#include "kernel/core/abort_error.hpp"
#include "kernel/core/pieces.hpp"
#include "kernel/core/single_call.hpp"
#include "runtime/support/span.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::Error;
using runtime::i32;
using runtime::kSuccess;
using runtime::Order;
using runtime::Result;
using runtime::Span;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using runtime::u8;
using runtime::usize;

namespace {

constexpr usize kBufferBytes = 64 * 1024;

[[nodiscard]] bool writes(const stm_vector_piece& piece) noexcept {
    return (piece.flags & STM_PIECE_WRITE) != 0;
}

// Whole words, as most values are, cost less.
[[nodiscard]] int copy_in(u8* to, u64 from, usize bytes) noexcept {
    const usize words = bytes / sizeof(u64);
    return bytes % sizeof(u64) == 0 && words <= STM_MOST_WORDS
               ? stm_linux_copy_words_in(reinterpret_cast<__u64*>(to), from,
                                         static_cast<unsigned int>(words))
               : stm_linux_copy_in(to, from, bytes);
}
[[nodiscard]] int copy_out(u64 to, const u8* from, usize bytes) noexcept {
    if (bytes != sizeof(u64))
        return stm_linux_copy_out(to, from, bytes);
    u64 word = 0;
    __builtin_memcpy(&word, from, sizeof(word));
    return stm_linux_put_u64(to, word);
}

// As much of a buffer as so many bytes take, because each piece begins at a word.
[[nodiscard]] constexpr u64 room_for(u64 bytes) noexcept {
    return (bytes + sizeof(u64) - 1) / sizeof(u64) * sizeof(u64);
}

// The pieces of a call. They go through a buffer in rounds of as many bytes as fit into it: what
// they write is copied into the buffer, then all of them are done under the context's lock, then
// what they read is copied out of it. So no lock is held while user memory is touched.
class Vector : runtime::NonCopyable {
public:
    // Copies the array and checks what does not depend on the transaction. Error::fault,
    // Error::invalid, Error::bad_descriptor.
    [[nodiscard]] Status take(const Handle& handle, const stm_vector& argument) noexcept;
    // After that, and before the first move(): the buffer, which may be the one that the context
    // keeps.
    void borrow_buffer(Context& context) noexcept;
    [[nodiscard]] bool any_reads() const noexcept { return reads_; }
    [[nodiscard]] bool any_writes() const noexcept { return writes_; }

    // All pieces, within the transaction that runs.
    [[nodiscard]] AbortReason move(Context& context) noexcept {
        if (unfit_ != AbortReason::none) [[unlikely]]
            return unfit_;
        if (words_)
            return move_words(context);
        return fits_ ? move_at_once(context) : move_in_rounds(context);
    }

private:
    // Where a round begins: in which piece, and how many bytes of it were done before.
    struct Place {
        u32 piece = 0;
        u64 done = 0;
    };
    // Calls act(piece, done, data, bytes) for each part of a round, where data is its place in the
    // buffer. The first reason that it gives ends the round. Moves `at` to the next round.
    template <typename Act>
    [[nodiscard]] AbortReason for_each_part(Place& at, Act act) noexcept;
    // The same when all pieces are one round.
    template <typename Act>
    [[nodiscard, gnu::always_inline]] AbortReason for_each(Act act) noexcept;

    // The three passes of a round, as they are called for each part.
    [[nodiscard]] static AbortReason fill(const stm_vector_piece& piece, u64 done, u8* data,
                                          usize bytes) noexcept {
        return writes(piece) && copy_in(data, piece.address + done, bytes) != 0 ? AbortReason::fault
                                                                                : AbortReason::none;
    }
    [[nodiscard]] static AbortReason access(Context& context, const stm_vector_piece& piece,
                                            u64 done, u8* data, usize bytes) noexcept
        STM_REQUIRES(context.lock()) {
        u64 written = 0;
        return writes(piece) ? context.write(piece.offset + done, data, bytes, written)
                             : context.read(piece.offset + done, data, bytes);
    }
    [[nodiscard]] static AbortReason deliver(const stm_vector_piece& piece, u64 done, u8* data,
                                             usize bytes) noexcept {
        return !writes(piece) && copy_out(piece.address + done, data, bytes) != 0
                   ? AbortReason::fault
                   : AbortReason::none;
    }
    [[nodiscard]] AbortReason move_words(Context& context) noexcept;
    [[nodiscard, gnu::noinline]] AbortReason move_at_once(Context& context) noexcept;
    [[nodiscard]] AbortReason move_round(Context& context, Place& at) noexcept;
    [[nodiscard, gnu::noinline]] AbortReason move_in_rounds(Context& context) noexcept;
    [[nodiscard]] Status check(const Handle& handle) noexcept;

    static constexpr u32 kInlinePieces = 16;
    stm_vector_piece inline_[kInlinePieces];
    runtime::UniqueArray<stm_vector_piece> large_;
    Span<const stm_vector_piece> pieces_;
    PieceBuffer buffer_;
    bool reads_ = false;
    bool writes_ = false;
    bool words_ = false; // each piece is of 8 bytes; after borrow_buffer(): and all of them fit
    bool fits_ = false;  // after borrow_buffer(): all pieces together, into the buffer
    u64 room_ = 0;       // as much of a buffer as all of them take
    // Why not even the first piece can be done; `none` if it can.
    AbortReason unfit_ = AbortReason::none;
};

Status Vector::take(const Handle& handle, const stm_vector& argument) noexcept {
    stm_vector_piece* pieces = inline_;
    if (argument.count > kInlinePieces) {
        auto made = runtime::make_array_to_fill<stm_vector_piece>(argument.count);
        if (!made.ok()) {
            unfit_ = AbortReason::no_memory;
            return kSuccess;
        }
        large_ = runtime::move(*made);
        pieces = large_.data();
    }
    const usize bytes = argument.count * sizeof(stm_vector_piece);
    const Status copied = runtime::status_from_errno(
        bytes == 0 ? 0 : copy_in(reinterpret_cast<u8*>(pieces), argument.pieces, bytes));
    if (!copied.ok())
        return copied;
    pieces_ = Span<const stm_vector_piece>(pieces, argument.count);
    return check(handle);
}

Status Vector::check(const Handle& handle) noexcept {
    const u64 size = handle.region().size();
    u32 flags = 0;
    u32 all_write = STM_PIECE_WRITE; // whether each one does
    u32 other_sizes = 0;             // whether there is another one than that of a word
    u64 largest = 0;                 // not below any offset, and so the ends below do not overflow
    u64 end = 0;
    for (const stm_vector_piece& piece : pieces_) {
        flags |= piece.flags;
        all_write &= piece.flags;
        other_sizes |= piece.bytes ^ u32 { sizeof(u64) };
        largest |= piece.bytes == 0 ? 0 : piece.offset;
        end = runtime::max<u64>(end, piece.bytes == 0 ? 0 : piece.offset + piece.bytes);
    }
    words_ = other_sizes == 0;
    if (words_) {
        room_ = pieces_.size() * sizeof(u64);
    } else {
        for (const stm_vector_piece& piece : pieces_)
            room_ += room_for(piece.bytes);
    }
    if ((flags & ~u32{STM_PIECE_FLAGS}) != 0)
        return Error::invalid;
    writes_ = flags != 0;
    reads_ = all_write == 0 && !pieces_.empty();
    if ((reads_ && (handle.access() & STM_ACCESS_READ) == 0) ||
        (writes_ && (handle.access() & STM_ACCESS_WRITE) == 0))
        return Error::bad_descriptor;
    if (largest > ~u64{0} >> 1 || end > size)
        unfit_ = AbortReason::out_of_range;
    return kSuccess;
}

void Vector::borrow_buffer(Context& context) noexcept {
    if (unfit_ != AbortReason::none) [[unlikely]]
        return;
    if (!buffer_.borrow(room_, kBufferBytes, context.call_buffer()).ok()) [[unlikely]]
        unfit_ = AbortReason::no_memory;
    fits_ = room_ <= buffer_.size();
    words_ = words_ && fits_;
}

template <typename Act>
inline AbortReason Vector::for_each(Act act) noexcept {
    u8* data = buffer_.data();
    for (const stm_vector_piece& piece : pieces_) {
        if (piece.bytes == 0)
            continue;
        const AbortReason reason = act(piece, u64{0}, data, usize{piece.bytes});
        if (reason != AbortReason::none) [[unlikely]]
            return reason;
        data += room_for(piece.bytes);
    }
    return AbortReason::none;
}

template <typename Act>
AbortReason Vector::for_each_part(Place& at, Act act) noexcept {
    for (usize used = 0; at.piece < pieces_.size() && used < buffer_.size();) {
        const stm_vector_piece& piece = pieces_[at.piece];
        const u64 left = piece.bytes - at.done;
        const usize bytes = runtime::min<u64>(left, buffer_.size() - used);
        const AbortReason reason =
            bytes == 0 ? AbortReason::none : act(piece, at.done, buffer_.data() + used, bytes);
        if (reason != AbortReason::none)
            return reason;
        used += room_for(bytes);
        at = bytes == left ? Place{at.piece + 1, 0} : Place{at.piece, at.done + bytes};
    }
    return AbortReason::none;
}

AbortReason Vector::move_words(Context& context) noexcept {
    u64* const words = reinterpret_cast<u64*>(buffer_.data());
    const u32 count = static_cast<u32>(pieces_.size());
    if (writes_ &&
        stm_linux_copy_words_of(pieces_.data(), count, reinterpret_cast<__u64*>(words)) != 0)
        return AbortReason::fault;
    AbortReason reason = AbortReason::none;
    {
        const Context::Guard held(context.lock());
        for (u32 i = context.access_words(pieces_, words); i < count && reason == AbortReason::none;
             ++i)
            reason = access(context, pieces_[i], 0, reinterpret_cast<u8*>(words + i), sizeof(u64));
    }
    return reason == AbortReason::none && reads_ &&
                   stm_linux_put_words_of(pieces_.data(), count,
                                          reinterpret_cast<const __u64*>(words)) != 0
               ? AbortReason::fault
               : reason;
}

AbortReason Vector::move_at_once(Context& context) noexcept {
    AbortReason reason = writes_ ? for_each(fill) : AbortReason::none;
    if (reason != AbortReason::none)
        return reason;
    {
        const Context::Guard held(context.lock());
        reason =
            for_each([&](const stm_vector_piece& piece, u64 done, u8* data, usize bytes) noexcept {
                context.lock().is_held();
                return access(context, piece, done, data, bytes);
            });
    }
    return reason == AbortReason::none && reads_ ? for_each(deliver) : reason;
}

AbortReason Vector::move_round(Context& context, Place& at) noexcept {
    const Place begin = at;
    AbortReason reason = AbortReason::none;
    if (writes_) {
        Place place = begin;
        reason = for_each_part(place, fill);
        if (reason != AbortReason::none)
            return reason;
    }
    {
        const Context::Guard held(context.lock());
        reason = for_each_part(
            at, [&](const stm_vector_piece& piece, u64 done, u8* data, usize bytes) noexcept {
                context.lock().is_held();
                return access(context, piece, done, data, bytes);
            });
    }
    if (reason != AbortReason::none || !reads_)
        return reason;
    Place place = begin;
    return for_each_part(place, deliver);
}

AbortReason Vector::move_in_rounds(Context& context) noexcept {
    for (Place at; at.piece < pieces_.size();) {
        const AbortReason reason = move_round(context, at);
        if (reason != AbortReason::none)
            return reason;
        stm_linux_breathe();
    }
    return AbortReason::none;
}

// Ends the innermost part after its last pieces.
[[nodiscard]] Status commit_after(Handle& handle, Context& context, AbortReason reason) noexcept {
    if (reason == AbortReason::none)
        return commit_innermost(handle, context);
    if (context.depth() > 1) {
        const Error error = fail_by_call(context, reason);
        (void)commit_innermost(handle, context);
        return error;
    }
    {
        // A conflict has doomed it already.
        const Context::Guard held(context.lock());
        if (!protocol::is_conflict(reason))
            context.fail(reason);
    }
    return commit_innermost(handle, context);
}

// Begins a transaction with its first pieces, again as long as these conflict.
[[nodiscard]] Status begin_with(Handle& handle, Context& context, Vector& vector) noexcept {
    if (context.depth() != 0)
        return Error::busy;
    for (;;) {
        const Status begun = begin_outermost(handle, context, protocol::Path::concurrent, 0, 0);
        if (!begun.ok())
            return begun;
        const AbortReason reason = vector.move(context);
        if (reason == AbortReason::none)
            return kSuccess;
        handle.view().leave(context);
        {
            const Context::Guard held(context.lock());
            context.cancel(reason);
        }
        if (!protocol::is_conflict(reason))
            return error_of(reason);
        if (stm_linux_dying() != 0)
            return Error::interrupted;
    }
}

[[nodiscard]] Status move(Handle& handle, Vector& vector, u32 flags) noexcept {
    const Result<Context*> found = handle.obtain_context();
    if (!found.ok())
        return found.error();
    Context& context = **found;
    vector.borrow_buffer(context);
    if ((flags & STM_VECTOR_BEGIN) != 0)
        return begin_with(handle, context, vector);
    if (context.depth() == 0) {
        if ((flags & STM_VECTOR_COMMIT) != 0)
            return Error::invalid;
        handle.view().cool(context); // as any single call
        if (vector.any_reads())
            handle.news().look();
        return status_of(run_single_call(context, [&]() noexcept { return vector.move(context); }));
    }
    const AbortReason reason = vector.move(context);
    if ((flags & STM_VECTOR_COMMIT) != 0)
        return commit_after(handle, context, reason);
    return reason == AbortReason::none ? Status(kSuccess) : fail_by_call(context, reason);
}

} // namespace

Result<i32> access_vector(const Request& request, stm_vector& argument) noexcept {
    if (argument.flags > STM_VECTOR_BEGIN || argument.reserved != 0)
        return Error::invalid;
    if (argument.count > STM_MAX_PIECES)
        return Error::too_big;
    Handle& handle = request.handle;
    if (handle.region().plain())
        return Error::not_supported;
    if (const Status prepared = request.registry.prepare_use(handle); !prepared.ok())
        return prepared.error();
    __attribute__((uninitialized)) Vector vector; // its constructor sets what is looked at
    if (const Status taken = vector.take(handle, argument); !taken.ok())
        return taken.error();
    const Status moved = move(handle, vector, argument.flags);
    if (!moved.ok())
        return moved.error();
    if (vector.any_reads())
        handle.region().counters().reads.fetch_add(1, Order::relaxed);
    if (vector.any_writes())
        handle.region().counters().writes.fetch_add(1, Order::relaxed);
    return 0;
}

} // namespace stm::kernel
