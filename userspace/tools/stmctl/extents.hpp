// SPDX-License-Identifier: GPL-2.0
// Which parts of a region have been touched. The others are zeros and occupy no memory.
#pragma once

#include <cstdint>
#include <vector>

namespace stm::tools {

/** From the first byte to behind the last one, both multiples of the page size. */
struct Extent {
    std::uint64_t begin;
    std::uint64_t end;
};

/**
 * Those of the handle's region, in ascending order. A page that is touched meanwhile may be missing
 * or not. With a module that cannot tell it is all of the region.
 */
[[nodiscard]] std::vector<Extent> touched_extents(int fd, std::uint64_t size);

} // namespace stm::tools
