// SPDX-License-Identifier: LGPL-2.1-or-later
// The function that programs call most.
#include "transaction.hpp"

using namespace stm::library::typed;

int stm_tx_load(stm_tx* tx, stm_region* region, uint64_t offset, void* to, size_t bytes) {
    if (tx->region != region || bytes != 8 || offset % 8 != 0) [[unlikely]]
        return load_slowly(*tx, *region, offset, to, bytes);
    if (!tx->engine.load_word(*tx->part, offset, to)) [[unlikely]]
        return load_word_slowly(*tx, *region, offset, to);
    return 0;
}
