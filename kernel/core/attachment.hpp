// SPDX-License-Identifier: GPL-2.0
// What makes a handle a user of its region: its place in the region's list. The registry, whose
// lock protects that, makes it one.
#pragma once

#include "runtime/support/atomic.hpp"
#include "runtime/support/intrusive_list.hpp"

namespace stm::kernel {

class Attachment : public runtime::ListLink<Attachment> {
public:
    // Changes once.
    [[nodiscard]] bool attached() const noexcept { return attached_.load(runtime::Order::acquire); }
    void set_attached() noexcept { attached_.store(true, runtime::Order::release); }

protected:
    Attachment() noexcept = default;
    ~Attachment() = default;

private:
    runtime::Atomic<bool> attached_{false};
};

} // namespace stm::kernel
