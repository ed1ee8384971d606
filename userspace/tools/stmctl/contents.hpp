// SPDX-License-Identifier: GPL-2.0
// dump and load: a region's bytes to standard output and from standard input.
#pragma once

#include "common/module.hpp"

namespace stm::tools {

/**
 * Writes the whole region to standard output. When that is a file, blocks of zeros become holes.
 * The region may change meanwhile: each 256 KiB are one state of it, the whole need not be.
 */
void dump_region(const Module& module, const Selector& region);

/**
 * Writes standard input to the region from its beginning; what follows the input's end stays as it
 * is. Blocks that hold the right bytes already are not written, so zeros do not make untouched
 * pages occupy memory. Failure when the input is longer than the region: what fits has been
 * written.
 */
void load_region(const Module& module, const Selector& region);

} // namespace stm::tools
