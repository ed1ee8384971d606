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
    void look() noexcept { note(now()); }
    // The same in two steps, for who finds out in between whether it sees all of that.
    [[nodiscard]] runtime::u64 now() const noexcept { return versions_.count_of_changes(); }
    void note(runtime::u64 changes) noexcept { seen_.store(changes, Order::relaxed); }
    [[nodiscard]] bool any() const noexcept { return now() != seen_.load(Order::relaxed); }

private:
    const Versions& versions_;
    runtime::Atomic<runtime::u64> seen_{0};
};

} // namespace stm::kernel
