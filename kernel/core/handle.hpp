// SPDX-License-Identifier: GPL-2.0
// A handle: one open file, bound to one region for all its life.
//
// Every handle but one of device minor 0 counts as a user of its region from the start. Minor 0 is also the control
// device: a handle of it becomes a user of the region `default` at its first read, write or mmap.
#pragma once

#include "kernel/core/process.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/atomic.hpp"
#include "runtime/support/intrusive_list.hpp"
#include "runtime/support/reference.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class Region;

class Handle : public runtime::ListLink<Handle> {
public:
    Handle(runtime::Ref<Region> region, runtime::u32 access) noexcept
        : region_(runtime::move(region)), access_(access) {}

    [[nodiscard]] Region& region() const noexcept { return *region_; }
    // STM_ACCESS_*
    [[nodiscard]] runtime::u32 access() const noexcept { return access_; }
    [[nodiscard]] stm_process* opener() const noexcept { return opener_.get(); }

    // Whether it counts as a user of the region. Changes once, under the registry lock.
    [[nodiscard]] bool attached() const noexcept { return attached_.load(runtime::Order::acquire); }

private:
    friend class Registry;

    runtime::Ref<Region> region_;
    const runtime::u32 access_;
    const Process opener_;
    runtime::Atomic<bool> attached_{false};
};

} // namespace stm::kernel
