// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/store_fault.hpp"

#include "runtime/support/result.hpp"

namespace stm::kernel {

using runtime::Result;
using runtime::u64;

stm_fault_result serve_from(PageStore& store, u64 pages, stm_identity* identity, u64 first_index,
                            stm_fault& fault) noexcept {
    // Checked at mmap already; a fault believes nothing.
    if (fault.index >= pages)
        return STM_FAULT_OUTSIDE;
    if (fault.dump != 0 && store.find(fault.index) == nullptr) [[unlikely]]
        return STM_FAULT_OUTSIDE;
    const Result<stm_page*> page = store.obtain(fault.index, identity, first_index);
    if (!page.ok())
        return STM_FAULT_NO_MEMORY;
    // None of a store's pages goes before the store, so what is found once is found again.
    const u64 last = runtime::min<u64>(fault.last, pages - 1);
    u64 first = fault.index;
    while (first > fault.first && fault.index - first < STM_FAULT_BATCH - 1 &&
           store.find(first - 1) != nullptr)
        --first;
    fault.first = first;
    fault.count = 0;
    for (u64 index = first; fault.count < STM_FAULT_BATCH; ++index) {
        stm_page* const found = index == fault.index ? *page : store.find(index);
        if (found == nullptr)
            break;
        fault.pages[fault.count++] = found;
        if (index >= last && index >= fault.index)
            break;
    }
    return STM_FAULT_MAP;
}

} // namespace stm::kernel
