// SPDX-License-Identifier: GPL-2.0
// What a step's numbers mean as arguments of calls.
#pragma once

#include "tests/fuzz/input.hpp"

#include <stm/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace stm::fuzz {

// One of a few names; some are empty, too long, or without an end.
void name(char (&to)[STM_NAME_SIZE], unsigned which);

// A region's size; some are none.
std::uint64_t bytes_of(const Step& step);

// A place in a region, often across a border, and a length.
struct Range {
    std::uint64_t position;
    std::size_t length;
};
Range range_of(const Step& step);

} // namespace stm::fuzz
