// SPDX-License-Identifier: GPL-2.0
// What a program maps beside the bytes of a transactional region.
#pragma once

#include "site.hpp"

#include <cstdint>

namespace stm::sweep {

struct Window {
    const char* name;
    std::uint64_t offset;
    std::size_t bytes;
};
inline constexpr Window kWindows[] = {
    {"committed", STM_OFFSET_COMMITTED, kBytes},
    {"records", STM_OFFSET_RECORDS, kBytes / 8},
    {"clock", STM_OFFSET_CLOCK, test::kPage},
};

} // namespace stm::sweep
