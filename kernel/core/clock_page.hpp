// SPDX-License-Identifier: GPL-2.0
// The page with a region's version clock, which programs may map to read the clock by themselves.
#pragma once

#include "kernel/core/uapi.hpp"

#include "kernel/core/page_store.hpp"
#include "kernel/interface/services.h"
#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class ClockPage : runtime::NonCopyable {
public:
    ClockPage() noexcept = default;
    ~ClockPage() {
        if (page_ != nullptr)
            stm_linux_page_release(page_);
    }

    // Once, before anything else. Linux knows the page as that page of the identity.
    // Error::no_memory.
    [[nodiscard]] runtime::Status allocate(stm_identity* identity, runtime::u64 index) noexcept {
        page_ = stm_linux_page_allocate(identity, index);
        if (page_ == nullptr)
            return runtime::Error::no_memory;
        auto* const content = reinterpret_cast<stm_clock*>(memory_of(page_));
        content->stripe_size = protocol::kStripeBytes;
        content->record_size = sizeof(runtime::u64);
        now_ = reinterpret_cast<runtime::Atomic<runtime::u64>*>(&content->now);
        return runtime::kSuccess;
    }
    // Before any program can map it.
    void set_region_size(runtime::u64 bytes) noexcept {
        if (page_ != nullptr)
            reinterpret_cast<stm_clock*>(memory_of(page_))->region_size = bytes;
    }

    [[nodiscard]] runtime::Atomic<runtime::u64>& now() noexcept { return *now_; }
    [[nodiscard]] const runtime::Atomic<runtime::u64>& now() const noexcept { return *now_; }
    // What programs learn of a direct region. They may store anything there.
    [[nodiscard]] runtime::Atomic<runtime::u32>& closed() noexcept {
        return *reinterpret_cast<runtime::Atomic<runtime::u32>*>(
            &reinterpret_cast<stm_clock*>(memory_of(page_))->closed);
    }
    [[nodiscard]] runtime::Atomic<runtime::u32>& sleepers() noexcept {
        return *reinterpret_cast<runtime::Atomic<runtime::u32>*>(
            &reinterpret_cast<stm_clock*>(memory_of(page_))->sleepers);
    }
    [[nodiscard]] stm_page* page() const noexcept { return page_; }

private:
    stm_page* page_ = nullptr;
    runtime::Atomic<runtime::u64>* now_ = nullptr;
};

static_assert(sizeof(runtime::Atomic<runtime::u64>) == sizeof(stm_clock::now));

} // namespace stm::kernel
