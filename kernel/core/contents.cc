// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/contents.hpp"

#include "kernel/core/piece_buffer.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/span.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::kSuccess;
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

u8* memory_of(stm_page* page) noexcept {
    return static_cast<u8*>(stm_linux_page_memory(page));
}

Status copy_out_of(Region& region, u64 position, u8* to, usize bytes) noexcept {
    const auto held = runtime::lock_shared_killable(region.contents_lock());
    if (!held.ok())
        return held.error();
    for_each_page(position, bytes, [&](u64 index, u64 offset, usize place, usize count) {
        // Reading allocates nothing: what nobody touched is zero.
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

} // namespace

u64 fitting(const Region& region, stm_user_buffer* buffer, u64 position) noexcept {
    if (position >= region.size())
        return 0;
    return runtime::min<u64>(stm_linux_buffer_left(buffer), region.size() - position);
}

Result<u64> read_contents(Region& region, stm_user_buffer* to, u64 position) noexcept {
    const u64 length = fitting(region, to, position);
    if (length == 0)
        return u64{0};
    PieceBuffer buffer;
    const Status reserved = buffer.reserve(length, kAtomicBytes);
    if (!reserved.ok())
        return reserved.error();
    u64 done = 0;
    while (done < length) {
        const usize piece = runtime::min<u64>(length - done, kAtomicBytes);
        const Status copied = copy_out_of(region, position + done, buffer.data(), piece);
        if (!copied.ok())
            return done != 0 ? Result<u64>(done) : copied.error();
        const usize put = stm_linux_buffer_put(to, buffer.data(), piece);
        done += put;
        if (put < piece)
            return done != 0 ? Result<u64>(done) : Error::fault;
        stm_linux_breathe();
    }
    return done;
}

Result<u64> write_contents(Region& region, stm_user_buffer* from, u64 position) noexcept {
    if (stm_linux_buffer_left(from) == 0)
        return u64{0};
    const u64 length = fitting(region, from, position);
    if (length == 0)
        return Error::no_space;
    PieceBuffer buffer;
    const Status reserved = buffer.reserve(length, kAtomicBytes);
    if (!reserved.ok())
        return reserved.error();
    u64 done = 0;
    while (done < length) {
        const usize piece = runtime::min<u64>(length - done, kAtomicBytes);
        const usize got = stm_linux_buffer_get(from, buffer.data(), piece);
        if (got == 0)
            return done != 0 ? Result<u64>(done) : Error::fault;
        const Status copied = copy_into(region, position + done, buffer.data(), got);
        if (!copied.ok()) {
            stm_linux_buffer_revert(from, got);
            return done != 0 ? Result<u64>(done) : copied.error();
        }
        region.versions().changed();
        done += got;
        if (got < piece)
            return done;
        stm_linux_breathe();
    }
    return done;
}

} // namespace stm::kernel
