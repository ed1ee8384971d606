// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/region.hpp"

#include "kernel/core/page_index.hpp"
#include "runtime/support/allocate.hpp"

namespace stm::kernel {

runtime::Result<runtime::Ref<Region>> Region::create(const Books& books, const RegionName& name,
                                                     runtime::u32 flags,
                                                     const stm_birth& birth) noexcept {
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
    (*region)->born_by_node_ = birth.node != nullptr;
    return region;
}

void Region::last_reference_gone(Region* region) noexcept {
    region->books_.forget(region->books_.registry, *region);
    runtime::destroy(region);
}

} // namespace stm::kernel
