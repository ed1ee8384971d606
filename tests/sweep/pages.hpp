// SPDX-License-Identifier: GPL-2.0
// How many pages the module holds, as Linux counts them by who allocated them (page_owner=on).
#pragma once

namespace stm::sweep {

// -1: this kernel does not count, or was not told to.
long pages_of_module();

} // namespace stm::sweep
