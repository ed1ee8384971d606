// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/mapping_rights.hpp"

#include "runtime/support/checked.hpp"

namespace stm::kernel {

using runtime::Error;
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
    if (region.segment() != nullptr)
        return u32{STM_MAP_WRITE | STM_MAP_PLAIN | STM_MAP_SEGMENT};
    return region.plain() ? u32{STM_MAP_WRITE | STM_MAP_PLAIN} : u32{STM_MAP_WRITE};
}

} // namespace stm::kernel
