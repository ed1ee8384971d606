// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/transactional_fault.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::Order;
using runtime::Result;
using runtime::u64;

namespace {

// The page cannot be had. If its own thread wanted it, the transaction is over: the program gets a
// signal, and its commit the reason. But that there was no memory may have been for a moment only,
// so the program first tries again.
stm_fault_result refuse(Context& context, AbortReason reason) noexcept
    STM_REQUIRES(context.lock()) {
    if (context.is_current()) {
        if (reason == AbortReason::no_memory && context.may_try_again())
            return STM_FAULT_AGAIN;
        context.fail(reason);
    }
    return reason == AbortReason::no_memory ? STM_FAULT_NO_MEMORY : STM_FAULT_OUTSIDE;
}

// The context has the view, and its transaction has not been given up, and is not at its end.
stm_fault_result serve_private_page(Context& context, stm_fault& fault) noexcept
    STM_REQUIRES(context.lock()) {
    const Use use = fault.write != 0 ? Use::store : Use::load;
    const AbortReason reason = context.touch(fault.index, fault.address, use, fault.pages[0]);
    if (reason == AbortReason::none) {
        (use == Use::store ? context.counters().store_faults : context.counters().load_faults)
            .add(1);
        stm_linux_page_get(fault.pages[0]);
        return STM_FAULT_MAP;
    }
    if (!protocol::is_conflict(reason))
        return refuse(context, reason);
    context.tell_doomed();
    // A thread without a part in the transaction waits until that ends.
    return context.is_current() ? STM_FAULT_FORBIDDEN : STM_FAULT_WAIT;
}

bool has_written_to_page(Context& context, u64 index) noexcept STM_REQUIRES(context.lock()) {
    constexpr u64 kStripes = kPageBytes / protocol::kStripeBytes;
    for (u64 stripe = index * kStripes; stripe < (index + 1) * kStripes; ++stripe) {
        if (context.transaction().written_bytes(stripe) != 0)
            return true;
    }
    return false;
}

// For the core file of the transaction's own process: what the transaction has touched, and what it
// has written by calls. All else is shown as it is committed, since a file that needed a private
// copy of each page of the region would be no help. The transaction never goes on.
bool serve_dump(Context& context, stm_fault& fault) noexcept STM_REQUIRES(context.lock()) {
    if (!context.footprint().has(fault.index) && !has_written_to_page(context, fault.index))
        return false;
    if (context.touch(fault.index, fault.address, Use::load, fault.pages[0]) != AbortReason::none)
        return false;
    stm_linux_page_get(fault.pages[0]);
    return true;
}

stm_fault_result serve_committed_page(Region& region, stm_fault& fault) noexcept {
    if (fault.dump != 0 && region.pages().find(fault.index) == nullptr)
        return STM_FAULT_OUTSIDE;
    const Result<stm_page*> page = region.pages().obtain(fault.index, region.identity(), 0);
    if (!page.ok())
        return STM_FAULT_NO_MEMORY;
    fault.pages[0] = *page;
    stm_linux_page_get(fault.pages[0]);
    return STM_FAULT_MAP;
}

stm_fault_result serve(Region& region, View& view, stm_fault& fault) noexcept {
    fault.count = 1;
    for (bool exposed = false;; exposed = true) {
        if (Context* const context = view.lock_viewer(fault.memory)) {
            context->lock().is_held();
            const Context::Guard held(context->lock(), runtime::kAdoptLock);
            if (context->stage().has_faults()) {
                if (fault.dump == 0 || stm_linux_thread_is_of_process(context->thread()) == 0)
                    [[likely]]
                    return serve_private_page(*context, fault);
                if (serve_dump(*context, fault))
                    return STM_FAULT_MAP;
            }
        }
        if (fault.write != 0)
            return STM_FAULT_FORBIDDEN;
        if (exposed)
            return serve_committed_page(region, fault);
        view.count_exposure();
    }
}

} // namespace

stm_fault_result serve_transactional_fault(Region& region, View& view, stm_fault& fault) noexcept {
    if (fault.index >= region.size() / kPageBytes)
        return STM_FAULT_OUTSIDE;
    const stm_fault_result result = serve(region, view, fault);
    if (result == STM_FAULT_MAP)
        region.counters().faults.fetch_add(1, Order::relaxed);
    return result;
}

stm_fault_result make_writable(View& view, stm_fault& fault, stm_page* page) noexcept {
    Context* const context = view.lock_viewer(fault.memory);
    if (context == nullptr)
        return STM_FAULT_FORBIDDEN;
    context->lock().is_held();
    const Context::Guard held(context->lock(), runtime::kAdoptLock);
    if (!context->stage().has_faults())
        return STM_FAULT_FORBIDDEN;
    const bool upgraded = context->footprint().is_unstored(fault.index);
    stm_page* own = nullptr;
    // Another thread could not be told of a conflict here, nor wait for its end.
    const AbortReason reason = context->touch(fault.index, fault.address, Use::store, own,
                                              context->is_current() ? PrivatePages::kOwnerAndFault
                                                                    : PrivatePages::kAnyHolders);
    if (reason != AbortReason::none && !protocol::is_conflict(reason))
        return refuse(*context, reason);
    if (reason != AbortReason::none)
        context->tell_doomed();
    if (reason != AbortReason::none || own != page)
        return STM_FAULT_FORBIDDEN;
    // If not, it is the second half of a fault that was counted.
    if (upgraded)
        context->counters().store_faults.add(1);
    return STM_FAULT_MAP;
}

} // namespace stm::kernel
