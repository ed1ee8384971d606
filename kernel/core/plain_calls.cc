// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/plain_calls.hpp"

#include "kernel/core/pieces.hpp"
#include "kernel/core/store_fault.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/span.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::kSuccess;
using runtime::Order;
using runtime::Result;
using runtime::Status;
using runtime::u64;
using runtime::u8;
using runtime::usize;

namespace {

// Calls copy(page index, offset in the page, place in the piece, bytes) for each page of a piece.
template <typename Copy>
void for_each_page(u64 position, usize bytes, Copy copy) noexcept {
    for (usize done = 0; done < bytes;) {
        const u64 offset = (position + done) % kPageBytes;
        const usize count = runtime::min<u64>(kPageBytes - offset, bytes - done);
        copy((position + done) / kPageBytes, offset, done, count);
        done += count;
    }
}

Status copy_out_of(Region& region, u64 position, u8* to, usize bytes) noexcept {
    const auto held = runtime::lock_shared_killable(region.contents_lock());
    if (!held.ok())
        return held.error();
    for_each_page(position, bytes, [&](u64 index, u64 offset, usize place, usize count) {
        // Reading allocates nothing: pages that were never touched are zero.
        if (stm_page* page = region.pages().find(index))
            runtime::copy_from_shared(to + place, memory_of(page) + offset, count);
        else
            __builtin_memset(to + place, 0, count);
    });
    return kSuccess;
}

Status touch(Region& region, u64 position, usize bytes) noexcept {
    for (u64 index = position / kPageBytes; index <= (position + bytes - 1) / kPageBytes; ++index) {
        const Result<stm_page*> page = region.pages().obtain(index, region.identity(), 0);
        if (!page.ok())
            return page.error();
    }
    return kSuccess;
}

Status copy_into(Region& region, u64 position, const u8* from, usize bytes) noexcept {
    // All that can fail comes before the lock.
    const Status touched = touch(region, position, bytes);
    if (!touched.ok())
        return touched;
    const auto held = runtime::lock_killable(region.contents_lock());
    if (!held.ok())
        return held.error();
    for_each_page(position, bytes, [&](u64 index, u64 offset, usize place, usize count) {
        runtime::copy_to_shared(memory_of(region.pages().find(index)) + offset, from + place,
                                count);
    });
    return kSuccess;
}

// A call of `length` bytes, which fit into the region; copy as in move_in_pieces(), and a reason in
// `failed` if it moved less.
template <typename Copy>
Result<u64> move_plain(Direction direction, stm_user_buffer* user, u64 length, Copy copy) noexcept {
    PieceBuffer buffer;
    const Status reserved = buffer.reserve(length, kAtomicBytes);
    if (!reserved.ok())
        return reserved.error();
    Status failed = kSuccess;
    const Moved moved =
        move_in_pieces(direction, user, buffer, length, [&](u64 done, u8* data, usize bytes) {
            failed = copy(done, data, bytes);
            return failed.ok() ? bytes : 0;
        });
    if (moved.bytes != 0 || moved.ended == Moved::By::nothing)
        return moved.bytes;
    return moved.ended == Moved::By::user_buffer ? Error::fault : failed.error();
}

} // namespace

Result<u64> read_plain(Region& region, stm_user_buffer* to, u64 position) noexcept {
    const u64 length = fitting(region, to, position);
    if (length == 0)
        return u64{0};
    return move_plain(Direction::to_user, to, length, [&](u64 done, u8* data, usize bytes) {
        return copy_out_of(region, position + done, data, bytes);
    });
}

Result<u64> write_plain(Region& region, stm_user_buffer* from, u64 position) noexcept {
    if (stm_linux_buffer_left(from) == 0)
        return u64{0};
    const u64 length = fitting(region, from, position);
    if (length == 0)
        return Error::no_space;
    return move_plain(Direction::from_user, from, length, [&](u64 done, u8* data, usize bytes) {
        const Status copied = copy_into(region, position + done, data, bytes);
        if (copied.ok())
            region.versions().changed();
        return copied;
    });
}

stm_fault_result serve_plain_fault(Region& region, stm_fault& fault) noexcept {
    const stm_fault_result result =
        serve_from(region.pages(), region.size() / kPageBytes, region.identity(), 0, fault);
    if (result == STM_FAULT_MAP)
        region.counters().faults.fetch_add(1, Order::relaxed);
    return result;
}

} // namespace stm::kernel
