// SPDX-License-Identifier: LGPL-2.1-or-later
// The commit of a transaction that has read nothing and writes a block: whole stripes, one behind
// the other, whose new bytes lie so, too. It does L, C, F, A and R of the proof in transaction.hpp,
// and K of old_versions.hpp. V has nothing to look at. A may store the bytes of a page in one go:
// all its stripes are locked.
#pragma once

#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/clock.hpp"
#include "runtime/protocol/commit_steps.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/wait_filter.hpp"
#include "runtime/support/utility.hpp"

namespace stm::protocol {

template <StripeMemory M, Mutation kMutation = Mutation::none>
class BlockCommit : runtime::NonCopyable {
public:
    // So many stripes are a block at most: what one commit writes that keeps its processor.
    static constexpr u32 kMostStripes = kMaxConcurrentStripes;

    // No other transaction of the region has the owner. The stripes lie in the region, and there is
    // at least one. `replaced` has room for a word for each.
    BlockCommit(M& memory, u64 owner, u64 first, u32 count, const u8* bytes, u64* replaced) noexcept
        : memory_(memory), owner_(owner), log_{first, count, bytes, replaced, {}} {}

    // Allocates the pages that it writes; comes first. May sleep.
    [[nodiscard]] runtime::Status materialise() noexcept {
        const u64 last = page_of_stripe(log_.first + log_.count - 1);
        for (u64 page = page_of_stripe(log_.first); page <= last; ++page) {
            StripePlace& place = log_.pages[page - page_of_stripe(log_.first)];
            const runtime::Status status = materialise_at(memory_, page * kStripesPerPage, place);
            if (!status.ok())
                return status;
        }
        return runtime::kSuccess;
    }

    // The caller has entered the gate. commit_locked: another commit kept a stripe locked, and
    // nothing was written.
    [[nodiscard]] AbortReason commit() noexcept {
        Steps steps(memory_, owner_, log_, Path::concurrent);
        steps.make_old_stripes();
        memory_.begin_critical();
        const AbortReason reason = commit_locked(steps);
        memory_.end_critical();
        free_spare_old_stripes(memory_);
        return reason;
    }

    // After a commit: its version, and the waiters to wake.
    [[nodiscard]] u64 version() const noexcept { return version_; }
    [[nodiscard]] WaitMask waiters() noexcept {
        WaitFilter& filter = memory_.wait_filter();
        if (filter.idle()) [[likely]]
            return 0;
        WaitMask mask = 0;
        for (u32 i = 0; i < log_.count; ++i)
            mask |= wait_bit(log_.first + i);
        return filter.awaited(mask);
    }

private:
    // A block that does not begin with a page has a part of one more.
    static constexpr u32 kMostPages = kMostStripes / kStripesPerPage + 1;

    struct Entry {
        u64 stripe;
        ByteMask mask;
        const u8* bytes;
        StripePlace place;
        u64& replaced;
    };
    struct Log {
        u64 first;
        u32 count;
        const u8* bytes;
        u64* replaced;
        StripePlace pages[kMostPages]; // of the first stripe of each

        [[nodiscard]] u32 size() const noexcept { return count; }
        [[nodiscard, gnu::always_inline]] Entry in_order(u32 position) const noexcept {
            const u64 in_pages = first % kStripesPerPage + position;
            const StripePlace& page = pages[in_pages / kStripesPerPage];
            const u64 in_page = in_pages % kStripesPerPage;
            return {first + position,
                    kWholeStripe,
                    bytes + (u64{position} << kStripeShift),
                    {page.orec + in_page, page.data + (in_page << kStripeShift)},
                    replaced[position]};
        }
    };
    using Steps = CommitSteps<M, const Log&, kMutation>;

    [[gnu::always_inline]] AbortReason commit_locked(Steps& steps) noexcept {
        u32 spins = runtime::min(memory_.spin_limit(), kMaxConcurrentSpins);
        const AbortReason reason =
            steps.lock_all(spins, [](const auto&, Orec) noexcept { return true; });
        if (reason != AbortReason::none)
            return reason;
        step(memory_, Step::advance_clock, 0);
        version_ = clock_advance(memory_.clock());
        step(memory_, Step::publish, 0);
        steps.keep_all(version_);
        if constexpr (kMutation == Mutation::early_release)
            steps.release_all(version_);
        if constexpr (SteppedMemory<M>)
            steps.apply_all();
        else
            apply_pages();
        if constexpr (kMutation != Mutation::early_release)
            steps.release_all(version_);
        return AbortReason::none;
    }

    void apply_pages() noexcept {
        runtime::fence(Order::release); // F
        for (u32 done = 0; done < log_.count;) {
            const Entry entry = log_.in_order(done);
            const u32 count =
                runtime::min(log_.count - done,
                             static_cast<u32>(kStripesPerPage - entry.stripe % kStripesPerPage));
            runtime::copy_to_shared(entry.place.data, entry.bytes, u64{count} << kStripeShift);
            done += count;
        }
    }

    M& memory_;
    const u64 owner_;
    Log log_;
    u64 version_ = 0;
};

} // namespace stm::protocol
