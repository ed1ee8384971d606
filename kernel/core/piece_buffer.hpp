// SPDX-License-Identifier: GPL-2.0
// Room in the kernel for one piece of a read or write call: on the stack for a small one.
#pragma once

#include "kernel/interface/services.h"
#include "runtime/support/allocate.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"

namespace stm::kernel {

class PieceBuffer : runtime::NonCopyable {
public:
    // For pieces of a call of so many bytes, none of them larger than `largest`. Error::no_memory.
    [[nodiscard]] runtime::Status reserve(runtime::u64 bytes, runtime::usize largest) noexcept {
        if (bytes <= sizeof(small_)) {
            size_ = sizeof(small_);
            return runtime::kSuccess;
        }
        auto large = runtime::make_array<runtime::u8>(runtime::min<runtime::u64>(bytes, largest));
        if (!large.ok())
            return large.error();
        large_ = runtime::move(*large);
        size_ = large_.size();
        return runtime::kSuccess;
    }
    [[nodiscard]] runtime::u8* data() noexcept { return large_.empty() ? small_ : large_.data(); }
    [[nodiscard]] runtime::usize size() const noexcept { return size_; }

private:
    runtime::u8 small_[256];
    runtime::UniqueArray<runtime::u8> large_;
    runtime::usize size_ = 0;
};

} // namespace stm::kernel
