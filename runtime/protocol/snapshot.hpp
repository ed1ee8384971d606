// SPDX-License-Identifier: LGPL-2.1-or-later
// The snapshot of a transaction: a moment of the region's history, and copies of what the region
// had then. What copies does not move it. Who calls move_to() or move_to_now() has checked first
// what was read before.
//
// The numbers are those of the proof in transaction.hpp.
#pragma once

#include "runtime/protocol/clock.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/records.hpp"
#include "runtime/protocol/shared_stripe.hpp"
#include "runtime/protocol/stripe.hpp"

namespace stm::protocol {

template <StripeMemory M, Mutation kMutation = Mutation::none>
class Snapshot : runtime::NonCopyable {
public:
    explicit Snapshot(M& memory) noexcept : memory_(memory) {}

    // What the clock said.
    [[nodiscard, gnu::always_inline]] u64 time() const noexcept { return time_; }
    [[gnu::always_inline]] void move_to(u64 time) noexcept { time_ = time; }
    [[gnu::always_inline]] void move_to_now() noexcept { time_ = now(); }
    // What the clock says now.
    [[nodiscard, gnu::always_inline]] u64 now() const noexcept {
        step(memory_, Step::read_clock, 0);
        return clock_now(memory_.clock());
    }

    // The second sample of 1., after the data: whether the record is what it was before.
    [[nodiscard, gnu::always_inline]] bool is_unchanged(const Atomic<u64>& orec, Orec before,
                                                        u64 stripe) const noexcept {
        if constexpr (kMutation == Mutation::no_second_sample)
            return true;
        runtime::fence(Order::acquire);
        step(memory_, Step::resample_orec, stripe);
        return Orec{orec.load(Order::relaxed)} == before;
    }

    // Copies adjacent stripes of one page if all of them are unlocked and not newer than the
    // snapshot, both before and after the copy. By 2. a stripe that has such a version both times
    // has the same version both times. So these are two samples as of a single stripe. False: `to`
    // has any bytes.
    //
    // The second sample is not needed while the clock stands at the snapshot. If the copy has seen
    // data of a commit, that commit locked the stripe after the first sample, so by 2. its version
    // is above the snapshot. It advanced the clock before F, so by F and F' the load of the clock
    // sees that.
    [[nodiscard, gnu::always_inline]] bool copy(u64 first, u32 count, const StripePlace& place,
                                                u8* to) const noexcept {
        if (!none_newer(place.orec, count, time_))
            return false;
        if constexpr (SteppedMemory<M>) {
            for (u32 i = 0; i < count; ++i)
                load_part(memory_, StripePart{first + i, 0, kStripeBytes},
                          place.data + i * kStripeBytes, to + i * kStripeBytes);
        } else {
            runtime::copy_from_shared(to, place.data, u64{count} << kStripeShift);
        }
        if constexpr (kMutation == Mutation::no_second_sample)
            return true;
        runtime::fence(Order::acquire);
        if (now() == time_) [[likely]]
            return true;
        step(memory_, Step::resample_orec, first);
        return none_newer(place.orec, count, time_);
    }

    // The same for a whole page, which has no records while it counts as zeros.
    [[nodiscard]] bool copy_page(u64 page, u8* to) const noexcept {
        const u64 first = page * kStripesPerPage;
        step(memory_, Step::sample_orec, first);
        StripePlace place;
        if (!find_at(memory_, first, place)) {
            __builtin_memset(to, 0, kPageBytes);
            return true;
        }
        return copy(first, kStripesPerPage, place, to);
    }

    // The same for some stripes of the page, as bits, to their places in the 4096 bytes. False:
    // they have changed since, or are about to.
    [[nodiscard]] bool copy_stripes(u64 page, u64 stripes, u8* to) const noexcept {
        const u64 first = page * kStripesPerPage;
        StripePlace place;
        if (stripes == kAllStripes || !find_at(memory_, first, place))
            return copy_page(page, to);
        for (; stripes != 0; stripes &= stripes - 1) {
            const u64 number = static_cast<u64>(__builtin_ctzll(stripes));
            step(memory_, Step::sample_orec, first + number);
            if (!copy(first + number, 1, {place.orec + number, place.data + number * kStripeBytes},
                      to + number * kStripeBytes))
                return false;
        }
        return true;
    }

    // The stripes of the page, as bits, that may not have at the snapshot the bytes that they had
    // at `version`, which is not above it.
    //
    // A stripe that is unlocked and not newer than `version` has the same bytes at the snapshot: by
    // 2. with its sample here, behind the load of the clock, as O1.
    [[nodiscard, gnu::always_inline]] u64 changed_since(u64 version, u64 page) const noexcept {
        const u64 first = page * kStripesPerPage;
        step(memory_, Step::sample_orec, first);
        const Atomic<u64>* const orecs = memory_.orec(first);
        return orecs == nullptr ? 0 : which_are_newer(orecs, kStripesPerPage, version);
    }

private:
    M& memory_;
    u64 time_ = 0;
};

} // namespace stm::protocol
