// SPDX-License-Identifier: GPL-2.0
// Memory for the simulated pages, which can be mapped a second time: as a program sees them.
#pragma once

namespace stm::bench {

// Maps the page whose bytes are there at `address`, too, for loads.
void map_again(const void* bytes, void* address);

} // namespace stm::bench
