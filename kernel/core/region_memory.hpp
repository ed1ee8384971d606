// SPDX-License-Identifier: GPL-2.0
// A region as the transaction engine sees it (runtime/protocol/memory.hpp), from one thread's
// context.
//
// Invariants: the region's size is settled. A page has no ownership records if it has no data yet,
// or if no transaction has written to it or its neighbours. It counts as zeros at version 0 then,
// which is right.
#pragma once

#include "kernel/core/region.hpp"
#include "kernel/core/versions.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class RegionMemory : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    using u8 = runtime::u8;

public:
    RegionMemory(Region& region, const Context& context, stm_thread* thread) noexcept
        : region_(region), versions_(region.versions()), context_(context), thread_(thread) {}

    // Sets the signals that end a wait for the token from now on, and how long others may have to
    // wait for the token.
    void set_wait(stm_wait_kind kind, const Lease& lease) noexcept { terms_ = {kind, lease}; }
    // The context serves another thread now.
    void set_thread(stm_thread* thread) noexcept {
        thread_ = thread;
        losses_ = 0;
    }
    // Whether the context has the token at this moment.
    [[nodiscard]] bool holds_token() const noexcept { return versions_.token.is_held_by(context_); }

    // -- The concept Memory --

    [[nodiscard]] runtime::Atomic<u64>& clock() noexcept { return versions_.clock; }

    [[nodiscard]] runtime::Atomic<u64>* orec(u64 stripe) noexcept {
        stm_page* orecs = versions_.orecs.find(stripe / kOrecsPerPage);
        if (orecs == nullptr || region_.pages().find(protocol::page_of_stripe(stripe)) == nullptr)
            return nullptr;
        return static_cast<runtime::Atomic<u64>*>(stm_linux_page_memory(orecs)) +
               stripe % kOrecsPerPage;
    }

    [[nodiscard]] u8* data(u64 stripe) noexcept {
        return static_cast<u8*>(
                   stm_linux_page_memory(region_.pages().find(protocol::page_of_stripe(stripe)))) +
               stripe % protocol::kStripesPerPage * protocol::kStripeBytes;
    }

    // Records come first: if a page has data and records, both are complete.
    [[nodiscard]] runtime::Status materialise(u64 stripe) noexcept {
        const auto orecs =
            versions_.orecs.obtain(stripe / kOrecsPerPage, region_.identity(), kOrecIndex);
        if (!orecs.ok())
            return orecs.error();
        const auto data =
            region_.pages().obtain(protocol::page_of_stripe(stripe), region_.identity(), 0);
        if (!data.ok())
            return data.error();
        return runtime::kSuccess;
    }

    [[nodiscard]] u64 size() const noexcept { return region_.size(); }

    void pause() noexcept { stm_linux_pause(); }
    [[nodiscard]] u32 spin_limit() const noexcept { return 2000; }

    [[nodiscard]] runtime::Status enter_commit() noexcept { return versions_.token.enter(terms_); }
    // The same without waiting.
    [[nodiscard]] bool try_enter_commit() noexcept { return versions_.token.try_enter(); }
    void leave_commit() noexcept { versions_.token.leave(); }
    [[nodiscard]] runtime::Status acquire_serial() noexcept {
        return versions_.token.acquire(context_, thread_, terms_, losses_);
    }
    [[nodiscard]] bool keep_serial() noexcept {
        if (versions_.token.keep(context_))
            return true;
        release_serial();
        return false;
    }
    void release_serial() noexcept {
        losses_ = versions_.token.release(context_, terms_.lease, losses_);
    }

    void begin_critical() noexcept { stm_linux_stay_on_processor(); }
    void end_critical() noexcept { stm_linux_leave_processor(); }
    void serial_batch() noexcept { stm_linux_breathe(); }

    [[nodiscard]] protocol::WaitFilter& wait_filter() noexcept { return versions_.wait_filter; }
    void wake(protocol::WaitMask) noexcept { versions_.readers.wake(); }

    void death_point() noexcept { stm_linux_death_point(); }

private:
    static constexpr u64 kOrecsPerPage = kPageBytes / sizeof(u64);
    // The indices of records' pages are above those of all data pages.
    static constexpr u64 kOrecIndex = u64{1} << 40;

    Region& region_;
    Versions& versions_;
    const Context& context_;
    stm_thread* thread_;
    SerialToken::Terms terms_;
    u32 losses_ = 0; // of the token, by its lease, in transactions of this context
};

static_assert(protocol::Memory<RegionMemory>);

} // namespace stm::kernel
