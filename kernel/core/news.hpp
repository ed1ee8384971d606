// SPDX-License-Identifier: GPL-2.0
// Whether anything was committed to a region since a handle last looked: what poll tells. It looks
// before each snapshot and each read, so that what comes in between is told.
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

    // What was committed until now is known.
    void look() noexcept { seen_.store(versions_.changes.load(Order::acquire), Order::relaxed); }
    [[nodiscard]] bool any() const noexcept {
        return versions_.changes.load(Order::acquire) != seen_.load(Order::relaxed);
    }

private:
    const Versions& versions_;
    runtime::Atomic<runtime::u64> seen_{0};
};

} // namespace stm::kernel
