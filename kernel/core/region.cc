// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/region.hpp"

#include "kernel/core/journals.hpp"
#include "kernel/core/page_index.hpp"
#include "runtime/support/allocate.hpp"

namespace stm::kernel {

runtime::Result<runtime::Ref<Region>> Region::create(const Books& books, const RegionName& name,
                                                     runtime::u32 flags, const stm_birth& birth,
                                                     runtime::u64 bytes) noexcept {
    auto region = runtime::make_ref<Region>(books, name, flags);
    if (!region.ok())
        return region.error();
    auto account = runtime::make<UserAccount>(stm_linux_current_user());
    if (!account.ok())
        return account.error();
    (*region)->spare_account_ = runtime::move(*account);
    auto identity = Identity::create(birth, flags);
    if (!identity.ok())
        return identity.error();
    (*region)->identity_ = runtime::move(*identity);
    if (!(*region)->plain()) {
        const runtime::Status clock =
            (*region)->versions_.clock_page.allocate((*region)->identity(), kClockIndex);
        if (!clock.ok())
            return clock.error();
    }
    if ((*region)->direct()) {
        const runtime::Status direct = (*region)->make_direct();
        if (!direct.ok())
            return direct.error();
    } else if (!(*region)->plain()) {
        auto changes = runtime::make<protocol::PageChanges>();
        if (!changes.ok())
            return changes.error();
        (*region)->versions_.page_changes = runtime::move(*changes);
    }
    (*region)->born_by_node_ = birth.node != nullptr;
    if ((flags & STM_REGION_SEGMENT) != 0) {
        auto segment = runtime::make<Segment>((*region)->identity_, bytes);
        if (!segment.ok())
            return segment.error();
        (*region)->segment_ = runtime::move(*segment);
    }
    return region;
}

Region::~Region() {
    runtime::destroy(journals_);
}

runtime::Status Region::make_direct() noexcept {
    auto journals = runtime::make<Journals>(*this);
    if (!journals.ok())
        return journals.error();
    const runtime::Status prepared = (*journals)->prepare();
    if (!prepared.ok())
        return prepared;
    journals_ = journals->release();
    versions_.counted_by_clock = true;
    versions_.token.share_gate(versions_.clock_page.closed());
    versions_.wait_filter.share(versions_.clock_page.sleepers());
    return runtime::kSuccess;
}

runtime::Status Region::permission(runtime::u32 access) const noexcept {
    if (segment_)
        return segment_->permission(access);
    return runtime::status_from_errno(stm_linux_identity_permission(identity(), access));
}

bool Region::owned_by_caller() const noexcept {
    return segment_ ? segment_->owned_by_caller()
                    : stm_linux_identity_owned_by_caller(identity()) != 0;
}

void Region::last_reference_gone(Region* region) noexcept {
    region->versions_.snapshots.forget_user();
    region->books_.forget(region->books_.registry, *region);
    runtime::destroy(region);
}

} // namespace stm::kernel
