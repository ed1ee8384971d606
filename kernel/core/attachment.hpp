// SPDX-License-Identifier: GPL-2.0
// A handle's place in its region's list of users. The registry enters it there; its lock protects
// the list.
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
