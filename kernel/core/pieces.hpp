// SPDX-License-Identifier: GPL-2.0
// A read or write call goes through the kernel piece by piece, through a buffer of its own. So no
// lock is held while user memory is touched, which may be a mapping of the same region.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/allocate.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

// Room for one piece: on the stack for a small one.
class PieceBuffer : runtime::NonCopyable {
public:
    static constexpr runtime::usize kMostKept = 16 * 1024;

    // For pieces of a call of that many bytes, none of them larger than `largest`.
    // Error::no_memory.
    [[nodiscard]] runtime::Status reserve(runtime::u64 bytes, runtime::usize largest) noexcept {
        if (bytes <= sizeof(small_)) {
            size_ = sizeof(small_);
            return runtime::kSuccess;
        }
        // Nobody gets bytes of a piece that were not copied into it before.
        auto large =
            runtime::make_array_to_fill<runtime::u8>(runtime::min<runtime::u64>(bytes, largest));
        if (!large.ok())
            return large.error();
        large_ = runtime::move(*large);
        size_ = large_.size();
        return runtime::kSuccess;
    }
    // The same with an array that is kept from one call to the next: it is taken out of its place
    // for as long as this lives, so whoever comes meanwhile finds none. Linux may fill what it
    // allocates with zeros, which takes as long as to copy a piece. A larger one than kMostKept is
    // not kept. `kept` outlives this.
    [[nodiscard]] runtime::Status borrow(runtime::u64 bytes, runtime::usize largest,
                                         runtime::UniqueArray<runtime::u8>& kept) noexcept {
        const runtime::usize wanted = runtime::min<runtime::u64>(bytes, largest);
        if (wanted <= sizeof(small_) || wanted > kMostKept)
            return reserve(bytes, largest);
        lender_ = &kept;
        large_.swap(kept);
        size_ = large_.size();
        return size_ >= wanted ? runtime::kSuccess : reserve(bytes, largest);
    }
    ~PieceBuffer() {
        // The larger one is kept.
        if (lender_ != nullptr && lender_->size() < large_.size())
            lender_->swap(large_);
    }
    [[nodiscard]] runtime::u8* data() noexcept { return large_.empty() ? small_ : large_.data(); }
    [[nodiscard]] runtime::usize size() const noexcept { return size_; }

private:
    alignas(runtime::u64) runtime::u8 small_[256];
    runtime::UniqueArray<runtime::u8> large_;
    runtime::UniqueArray<runtime::u8>* lender_ = nullptr;
    runtime::usize size_ = 0;
};

// The part of a call at this position that fits into the region, whose size is settled; 0 behind
// its end.
[[nodiscard]] inline runtime::u64 fitting(const Region& region, stm_user_buffer* buffer,
                                          runtime::u64 position) noexcept {
    if (position >= region.size())
        return 0;
    return runtime::min<runtime::u64>(stm_linux_buffer_left(buffer), region.size() - position);
}

enum class Direction { to_user, from_user };

struct Moved {
    runtime::u64 bytes;
    // What ended it: nothing, the caller's buffer, or the other side.
    enum class By { nothing, user_buffer, region } ended;
};

// Moves that many bytes between the caller's buffer and the region. copy(done, data, bytes) moves
// one piece between the region and the kernel's buffer, `done` bytes from the beginning. It returns
// how many bytes it moved; fewer than all end the call.
template <typename Copy>
[[nodiscard]] Moved move_in_pieces(Direction direction, stm_user_buffer* user, PieceBuffer& buffer,
                                   runtime::u64 bytes, Copy copy) noexcept {
    runtime::u64 done = 0;
    while (done < bytes) {
        const runtime::usize piece = runtime::min<runtime::u64>(bytes - done, buffer.size());
        const runtime::usize given = direction == Direction::from_user
                                         ? stm_linux_buffer_get(user, buffer.data(), piece)
                                         : piece;
        const runtime::usize copied = given == 0 ? 0 : copy(done, buffer.data(), given);
        if (copied < given) {
            if (direction == Direction::from_user)
                stm_linux_buffer_revert(user, given - copied);
            return {direction == Direction::from_user ? done + copied : done, Moved::By::region};
        }
        const runtime::usize moved = direction == Direction::from_user
                                         ? given
                                         : stm_linux_buffer_put(user, buffer.data(), piece);
        done += moved;
        if (moved < piece)
            return {done, Moved::By::user_buffer};
        stm_linux_breathe();
    }
    return {done, Moved::By::nothing};
}

} // namespace stm::kernel
