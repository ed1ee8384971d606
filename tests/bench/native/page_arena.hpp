// SPDX-License-Identifier: GPL-2.0
// Memory for the simulated pages, which can be mapped a second time: as a program sees them.
#pragma once

namespace stm::bench {

// Maps the page whose bytes are there at `address`, too, with that protection.
void map_again(const void* bytes, void* address, int protection);

} // namespace stm::bench
