// SPDX-License-Identifier: LGPL-2.1-or-later
// A region as its heap sees it: values at offsets, by a typed transaction, or in a mapping by the
// transaction that runs there.
#pragma once

#include "userspace/lib/src/heap/layout.hpp"

#include <stm/tx.h>

namespace stm::heap {

/**
 * After a load or a store that has failed, every other one does nothing, and loads give zeros. So
 * the algorithm looks at the result once, at its end: nothing that it does in between has an
 * effect, and its loops end at a zero.
 */
class Memory {
public:
    Memory(stm_tx* tx, stm_region* region) : tx_(tx), region_(region) {}
    // Of a mapping of the whole region. Nothing fails; instead of that the transaction may begin
    // again in the middle of any function.
    Memory(void* base, u64 size) : base_(static_cast<char*>(base)), size_(size) {}

    template <typename T>
    T load(u64 offset) {
        T value{};
        if (base_ != nullptr) {
            __builtin_memcpy(&value, base_ + offset, sizeof value);
            return value;
        }
        if (result_ == 0)
            result_ = stm_tx_load(tx_, region_, offset, &value, sizeof value);
        if (result_ != 0)
            value = T{};
        return value;
    }

    template <typename T>
    void store(u64 offset, const T& value) {
        if (base_ != nullptr)
            __builtin_memcpy(base_ + offset, &value, sizeof value);
        else if (result_ == 0)
            result_ = stm_tx_store(tx_, region_, offset, &value, sizeof value);
    }

    [[nodiscard]] int result() const { return result_; }
    [[nodiscard]] u64 size() const { return base_ != nullptr ? size_ : stm_region_size(region_); }
    [[nodiscard]] unsigned conflicts() const {
        return base_ != nullptr ? 0 : stm_tx_conflicts(tx_);
    }

private:
    stm_tx* tx_ = nullptr;
    stm_region* region_ = nullptr;
    char* base_ = nullptr;
    u64 size_ = 0;
    int result_ = 0;
};

} // namespace stm::heap
