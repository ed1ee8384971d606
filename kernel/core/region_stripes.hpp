// SPDX-License-Identifier: GPL-2.0
// A region's stripes as a commit sees them (StripeMemory in runtime/protocol/memory.hpp).
//
// Invariants: the region's size is settled, and it is not plain. A page has no ownership records if
// it has no data yet, or if no transaction has written to it or its neighbours, and no program has
// read them by itself. It counts as zeros at version 0 then, which is right.
#pragma once

#include "kernel/core/page_index.hpp"
#include "kernel/core/region.hpp"
#include "kernel/core/versions.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/page_changes.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Waits until no thread of a direct region commits by itself. The context has closed its gate.
// Error::interrupted.
[[nodiscard]] runtime::Status wait_until_idle(Region& region, const Context& context,
                                              stm_wait_kind kind) noexcept;

class RegionStripes {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    using u8 = runtime::u8;

public:
    explicit RegionStripes(Region& region) noexcept
        : region_(region), versions_(region.versions()) {}

    [[nodiscard]] runtime::Atomic<u64>& clock() noexcept { return versions_.clock_page.now(); }

    // Where the stripe is; false: it counts as zeros.
    [[nodiscard, gnu::always_inline]] bool find(u64 stripe, protocol::StripePlace& place) noexcept {
        u8* const orecs = versions_.orecs.find_memory(stripe / kOrecsPerPage);
        if (orecs == nullptr) [[unlikely]]
            return false;
        u8* const data = region_.pages().find_memory(protocol::page_of_stripe(stripe));
        if (data == nullptr) [[unlikely]]
            return false;
        place = {reinterpret_cast<runtime::Atomic<u64>*>(orecs) + stripe % kOrecsPerPage,
                 data + stripe % protocol::kStripesPerPage * protocol::kStripeBytes};
        return true;
    }
    [[nodiscard]] runtime::Atomic<u64>* orec(u64 stripe) noexcept {
        protocol::StripePlace place;
        return find(stripe, place) ? place.orec : nullptr;
    }
    [[nodiscard]] u8* data(u64 stripe) noexcept {
        return region_.pages().find_memory(protocol::page_of_stripe(stripe)) +
               stripe % protocol::kStripesPerPage * protocol::kStripeBytes;
    }

    [[nodiscard, gnu::always_inline]] runtime::Status
    materialise(u64 stripe, protocol::StripePlace& place) noexcept {
        if (find(stripe, place)) [[likely]]
            return runtime::kSuccess;
        const runtime::Status status = materialise(stripe);
        if (status.ok())
            (void)find(stripe, place);
        return status;
    }

    // Records come first: if a page has data and records, both are complete.
    [[nodiscard, gnu::noinline]] runtime::Status materialise(u64 stripe) noexcept {
        const auto orecs =
            versions_.orecs.obtain(stripe / kOrecsPerPage, region_.identity(), kOrecIndex);
        if (!orecs.ok())
            return orecs.error();
        const auto data =
            region_.pages().obtain(protocol::page_of_stripe(stripe), region_.identity(), 0);
        if (!data.ok())
            return data.error();
        return runtime::kSuccess;
    }

    [[nodiscard]] u64 size() const noexcept { return region_.size(); }
    // See page_changes.hpp.
    [[nodiscard]] protocol::PageChanges* page_changes() const noexcept {
        return versions_.page_changes.get();
    }

    // See old_versions.hpp.
    [[nodiscard]] protocol::OldVersions& old_versions() noexcept {
        return versions_.snapshots.old_versions();
    }
    [[nodiscard]] protocol::OldStripe* make_old_stripe(bool may_sleep) noexcept {
        return versions_.snapshots.make(may_sleep);
    }
    void free_old_stripe(protocol::OldStripe* old) noexcept { versions_.snapshots.free(old); }
    [[nodiscard]] protocol::OldStripe*& spare_old_stripe() noexcept { return spare_old_stripe_; }

    void pause() noexcept { stm_linux_pause(); }
    [[nodiscard]] u32 spin_limit() const noexcept { return 2000; }

    void begin_critical() noexcept { stm_linux_stay_on_processor(); }
    void end_critical() noexcept { stm_linux_leave_processor(); }
    void serial_batch() noexcept { stm_linux_breathe(); }

    [[nodiscard]] protocol::WaitFilter& wait_filter() noexcept { return versions_.wait_filter; }
    void wake(protocol::WaitMask mask) noexcept { versions_.readers.wake(mask); }

    void death_point() noexcept { stm_linux_death_point(); }

protected:
    Region& region_;
    Versions& versions_;

private:
    protocol::OldStripe* spare_old_stripe_ = nullptr;
};

static_assert(protocol::StripeMemory<RegionStripes> && protocol::KeepsOldVersions<RegionStripes>);

} // namespace stm::kernel
