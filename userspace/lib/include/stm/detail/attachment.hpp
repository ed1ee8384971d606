// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the regions are that this process has attached: which of them an address is in.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <stm/tx.h>
#include <vector>

namespace stm::detail {

struct attachment {
    explicit attachment(stm_region* region)
        : handle(region), base(reinterpret_cast<std::uintptr_t>(stm_region_committed(region))),
          size(stm_region_size(region)) {}
    [[nodiscard]] bool holds(std::uintptr_t address) const { return address - base < size; }

    stm_region* handle;
    std::uintptr_t base;
    std::size_t size;
};

/** All attachments of the process. Any thread may use it. */
class attachments {
public:
    static attachments& all() {
        static attachments only;
        return only;
    }

    void add(const attachment* one) {
        const std::unique_lock lock(mutex_);
        list_.push_back(one);
    }
    void remove(const attachment* one) {
        const std::unique_lock lock(mutex_);
        std::erase(list_, one);
    }
    [[nodiscard]] const attachment* find(std::uintptr_t address) const {
        const std::shared_lock lock(mutex_);
        const auto found = std::find_if(list_.begin(), list_.end(),
                                        [&](const attachment* one) { return one->holds(address); });
        return found == list_.end() ? nullptr : *found;
    }

private:
    mutable std::shared_mutex mutex_;
    std::vector<const attachment*> list_;
};

} // namespace stm::detail
