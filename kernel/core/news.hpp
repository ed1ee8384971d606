// SPDX-License-Identifier: GPL-2.0
// Tells poll whether anything was committed to a region since a handle last looked. The handle
// looks before each snapshot and each read, so poll reports commits that come in between.
#pragma once

#include "kernel/core/versions.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Any thread, without a lock.
class News : runtime::NonCopyable {
    using Order = runtime::Order;

public:
    explicit News(const Versions& versions) noexcept : versions_(versions) { look(); }

    // Looks: everything committed until now is known.
    void look() noexcept { seen_.store(versions_.count_of_changes(), Order::relaxed); }
    [[nodiscard]] bool any() const noexcept {
        return versions_.count_of_changes() != seen_.load(Order::relaxed);
    }

private:
    const Versions& versions_;
    runtime::Atomic<runtime::u64> seen_{0};
};

} // namespace stm::kernel
