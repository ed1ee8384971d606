// SPDX-License-Identifier: GPL-2.0
// When a transaction of a context fixes its snapshot (runtime/protocol/old_versions.hpp).
//
// To fix it stops all commits of the region for a moment, so short transactions do not. One does
// that has read for a while and has written nothing. If the one before it was such a long one, the
// next does it at once, so that nothing can be in the way of its first reads either. Where long
// ones turn out to write, which they could not have told, the next long one does not do it.
//
// Invariants: all of it is under the context's lock.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class LongReads : runtime::NonCopyable {
    using u64 = runtime::u64;

public:
    // Stripes that a long one has read.
    static constexpr u64 kLong = u64{64} * protocol::kStripesPerPage;

    // Before a further read, by a transaction that has read so many stripes. Whether it is to fix
    // its snapshot now.
    [[nodiscard, gnu::always_inline]] bool is_due(u64 stripes) noexcept {
        if (stripes < next_try_) [[likely]]
            return false;
        return is_due_slowly(stripes);
    }
    // It is fixed, or cannot be.
    void done() noexcept { next_try_ = ~u64{0}; }

    // It is about to end, has read so many stripes, and has written something or not. It may be
    // told twice.
    void note_end(u64 stripes, bool wrote) noexcept {
        const bool was_long = stripes >= kLong;
        if (was_long)
            long_ones_write_ = wrote;
        next_try_ = was_long && !wrote ? 0 : kLong;
    }
    // It belongs to another thread from now on.
    void forget_history() noexcept {
        next_try_ = kLong;
        long_ones_write_ = false;
    }

private:
    // What it has read is validated meanwhile.
    static constexpr u64 kMost = 2 * kLong;
    // How much more it reads before it tries again: soon at first, since nothing protects it.
    [[nodiscard]] static u64 pause_after(u64 stripes) noexcept {
        return runtime::max(stripes / 2, u64{protocol::kStripesPerPage});
    }

    [[nodiscard, gnu::noinline]] bool is_due_slowly(u64 stripes) noexcept {
        next_try_ = long_ones_write_ || stripes > kMost ? ~u64{0} : stripes + pause_after(stripes);
        return next_try_ != ~u64{0};
    }

    u64 next_try_ = kLong; // when it has read so much
    bool long_ones_write_ = false;
};

} // namespace stm::kernel
