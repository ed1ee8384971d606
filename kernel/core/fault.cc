// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/fault.hpp"

#include "runtime/support/checked.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::Order;
using runtime::Result;
using runtime::u32;
using runtime::u64;

Result<u32> check_mapping(const Region& region, u64 first, u64 pages, u32 wanted) noexcept {
    if (!runtime::within(first, pages, region.size() / kPageBytes).ok())
        return Error::invalid;
    // Never both writable and executable, also not one after the other through mprotect.
    if ((wanted & STM_MAP_EXEC) != 0) {
        if ((region.flags() & STM_REGION_EXEC) == 0 || (wanted & STM_MAP_WRITE) != 0)
            return Error::access;
        return u32{STM_MAP_EXEC | STM_MAP_PLAIN};
    }
    return region.plain() ? u32{STM_MAP_WRITE | STM_MAP_PLAIN} : u32{STM_MAP_WRITE};
}

stm_fault_result serve_fault(Region& region, stm_fault& fault) noexcept {
    const u64 pages = region.size() / kPageBytes;
    // Checked at mmap already; a fault believes nothing.
    if (fault.index >= pages)
        return STM_FAULT_OUTSIDE;
    const Result<stm_page*> page = region.pages().obtain(fault.index, region.identity(), 0);
    if (!page.ok())
        return STM_FAULT_NO_MEMORY;
    region.counters().faults.fetch_add(1, Order::relaxed);
    // The pages around it that are there already come along: each saves a fault of its own. None
    // of a region's pages goes before the region, so what is found once is found again.
    const u64 last = runtime::min<u64>(fault.last, pages - 1);
    u64 first = fault.index;
    while (first > fault.first && fault.index - first < STM_FAULT_BATCH - 1 &&
           region.pages().find(first - 1) != nullptr)
        --first;
    fault.first = first;
    fault.count = 0;
    for (u64 index = first; fault.count < STM_FAULT_BATCH; ++index) {
        stm_page* const found = index == fault.index ? *page : region.pages().find(index);
        if (found == nullptr)
            break;
        fault.pages[fault.count++] = found;
        if (index >= last && index >= fault.index)
            break;
    }
    return STM_FAULT_MAP;
}

} // namespace stm::kernel
