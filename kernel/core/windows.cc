// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/windows.hpp"

#include "kernel/core/journals.hpp"
#include "kernel/core/page_index.hpp"
#include "kernel/core/store_fault.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/support/checked.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::Order;
using runtime::Result;
using runtime::u32;
using runtime::u64;

namespace {

enum class Window : runtime::u8 { committed, records, clock, journals, none };

// A window's pages, as pages of the handle's file.
struct Extent {
    Window window;
    u64 first;
    u64 pages;
};

Extent extent_at(const Region& region, u64 index) noexcept {
    const u64 pages = region.size() / kPageBytes;
    const Extent extents[] = {
        {Window::journals, STM_OFFSET_JOURNALS / kPageBytes,
         region.direct() ? Journals::kPagesOfAll : 0},
        {Window::clock, STM_OFFSET_CLOCK / kPageBytes, 1},
        {Window::records, STM_OFFSET_RECORDS / kPageBytes,
         (pages + Versions::kPagesPerOrecPage - 1) / Versions::kPagesPerOrecPage},
        {Window::committed, STM_OFFSET_COMMITTED / kPageBytes, pages},
    };
    for (const Extent& extent : extents) {
        if (index >= extent.first && !region.plain())
            return extent;
    }
    return {Window::none, 0, 0};
}

stm_fault_result serve_clock(Region& region, stm_fault& fault) noexcept {
    if (fault.index != 0)
        return STM_FAULT_OUTSIDE;
    fault.first = 0;
    fault.count = 1;
    fault.pages[0] = region.versions().clock_page.page();
    return STM_FAULT_MAP;
}

} // namespace

Result<u32> check_window(const Handle& handle, u64 first, u64 pages, u32 wanted) noexcept {
    const Region& region = handle.region();
    const Extent extent = extent_at(region, first);
    if (extent.window == Window::none)
        return Error::invalid;
    if (!runtime::within(first - extent.first, pages, extent.pages).ok())
        return Error::invalid;
    const u32 allowed = region.direct() && (handle.access() & STM_ACCESS_WRITE) != 0
                            ? u32{STM_MAP_WINDOW | STM_MAP_DIRECT | STM_MAP_WRITE}
                            : u32{STM_MAP_WINDOW};
    if ((wanted & ~allowed) != 0)
        return Error::access;
    return allowed;
}

stm_fault_result serve_window_fault(Region& region, stm_fault& fault) noexcept {
    const Extent extent = extent_at(region, fault.index);
    if (extent.window == Window::none || fault.first < extent.first)
        return STM_FAULT_OUTSIDE;
    if (fault.write != 0)
        return STM_FAULT_FORBIDDEN;
    fault.index -= extent.first;
    fault.first -= extent.first;
    fault.last -= extent.first;
    stm_fault_result result = STM_FAULT_OUTSIDE;
    switch (extent.window) {
    case Window::committed:
        result = serve_from(region.pages(), extent.pages, region.identity(), 0, fault);
        break;
    case Window::records:
        result =
            serve_from(region.versions().orecs, extent.pages, region.identity(), kOrecIndex, fault);
        break;
    case Window::clock:
        result = serve_clock(region, fault);
        break;
    case Window::journals:
        // Only those that were claimed have pages.
        if (region.journals() != nullptr && region.journals()->pages().find(fault.index) != nullptr)
            result = serve_from(region.journals()->pages(), extent.pages, region.identity(),
                                kJournalIndex, fault);
        break;
    case Window::none:
        break;
    }
    fault.index += extent.first;
    fault.first += extent.first;
    if (result == STM_FAULT_MAP)
        region.counters().faults.fetch_add(1, Order::relaxed);
    return result;
}

stm_fault_result check_window_store(const Handle& handle, stm_fault& fault) noexcept {
    Journals* const journals = handle.region().journals();
    if (journals == nullptr)
        return STM_FAULT_FORBIDDEN;
    u64 resume = 0;
    const Journals::Right right = journals->right_to_store(handle, fault.memory, resume);
    fault.resume = resume;
    switch (right) {
    case Journals::Right::yes:
        return STM_FAULT_MAP;
    case Journals::Right::later:
        return STM_FAULT_WAIT;
    case Journals::Right::elsewhere:
        return STM_FAULT_AGAIN;
    case Journals::Right::no:
        break;
    }
    return STM_FAULT_FORBIDDEN;
}

// Only a fault in a page that is not mapped tells who faults, and can wait.
stm_fault_result make_window_writable(Handle& handle, stm_fault& fault) noexcept {
    const stm_fault_result result = check_window_store(handle, fault);
    if (result != STM_FAULT_WAIT && result != STM_FAULT_AGAIN)
        return result;
    stm_linux_view_unmap(handle.view().get(), fault.index, 1);
    return STM_FAULT_AGAIN;
}

} // namespace stm::kernel
