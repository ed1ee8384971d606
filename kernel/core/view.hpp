// SPDX-License-Identifier: GPL-2.0
// The view: all mappings of a handle, and which transaction has them in each address space. The
// stages that a context goes through are in view_stage.hpp.
//
// Who comes first
// ---------------
// A fault outside of every transaction exposes the committed page: it stays mapped. A transaction
// that gets the view afterwards empties the mappings, unless it has seen all that was exposed. The
// fault counts the page as exposed, and only then looks for a transaction the second time; the
// transaction gets the view, and only then looks at the count; each puts a full fence in between.
// So at least one of them sees the other.
//
// To close the view is to keep every fault out of the mappings in one address space, and to wait
// for those that are in progress. It takes the mmap_lock, so it comes before all locks of the core.
#pragma once

#include "kernel/core/context.hpp"
#include "kernel/core/context_table.hpp"
#include "kernel/core/news.hpp"
#include "kernel/core/region.hpp"
#include "kernel/core/watchdog.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/atomic.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class View : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    using Order = runtime::Order;

public:
    // Owns the view of Linux, from now on; the others outlive it.
    View(stm_view* view, Region& region, ContextTable& contexts, News& news,
         Watchdog& watchdog) noexcept
        : view_(view), region_(region), contexts_(contexts), news_(news), watchdog_(watchdog) {}
    ~View() { stm_linux_view_destroy(view_); }

    // What Linux calls it.
    [[nodiscard]] stm_view* get() const noexcept { return view_; }

    // The handle gets a mapping, in the calling address space, whose mmap_lock the caller holds for
    // writing. The transaction that runs there is part of it from now on. Error::busy: several
    // threads of the address space have one on the handle.
    [[nodiscard]] runtime::Status note_mapping() noexcept;

    // -- By the thread of a transaction --

    // At the end of its start: a fault in the calling address space belongs to it from now on. Does
    // nothing when there is no mapping. Error::busy: another thread's transaction has the view.
    [[nodiscard]] runtime::Status enter(Context& context) noexcept;
    // After that: maps the pages that the transactions before it, which began at the same site,
    // have touched.
    void predict(Context& context, u32 site) noexcept;
    // Whether the transaction has read anything yet. What was mapped for it counts once it is
    // touched.
    [[nodiscard]] bool has_read(Context& context) noexcept;
    // At the begin of its end: the pages that it has in mappings are in none any more.
    void leave(Context& context) noexcept;

    // -- By anybody --

    // If an offer stands it is taken back; and if the thread has taken it, its transaction begins
    // here. In its mappings there is nothing to be unmapped: each fault there that would have
    // mapped a committed page has come here before it.
    void settle(Context& context) noexcept STM_REQUIRES(context.lock()) {
        if (context.stage().stage() == Stage::offered)
            settle_offer(context);
    }

    // What a fault belongs to: the context that has the view there, with its lock held, which
    // the caller adopts; no offer stands there then. Null: none has it. A program that is not
    // there any more has no view either. What it left in the mappings cannot be taken out
    // here, where the caller keeps the view open: that is the watchdog's, at once, or the next
    // start's.
    [[nodiscard]] Context* lock_viewer(stm_memory* memory) noexcept;
    // A fault is about to map a committed page: look for a transaction again, after this.
    void count_exposure() noexcept;
    // Whether a transaction that gets the view need not empty the mappings first.
    [[nodiscard]] bool is_unexposed_for(const Context& context) const noexcept {
        return exposures_.load(Order::seq_cst) == context.exposures_seen();
    }
    // Whether another context of that address space has the view, or would have it if it began by
    // an offer.
    [[nodiscard]] bool is_taken(const ContextTable::Guard& held, const stm_memory* memory) noexcept;

    // Ends a transaction under the context's lock, when its pages are in no mapping.
    using End = void (*)(Context& context) noexcept;
    // Whether another address space's mmap_lock is waited for.
    enum class Patience { waits, none };
    // Ends the context's transaction from outside of its thread, if the condition holds. Pages that
    // it has in mappings are taken out, and no fault that has found one of them already maps it
    // afterwards: so the view is closed where it has the view. No lock is held. False: it is still
    // there, since somebody else has that address space's mmap_lock, be that the kernel at the
    // command of a stranger, and the caller does not wait for that.
    [[nodiscard]] bool end_from_outside(Context& context, ContextTable::Condition condition,
                                        End end, Patience patience) noexcept;
    // Discards the transaction of a program that is not there any more.
    void retire(Context& context) noexcept;

private:
    void settle_offer(Context& context) noexcept STM_REQUIRES(context.lock());
    [[nodiscard]] runtime::Status take(Context& context, stm_memory* memory,
                                       Context*& in_the_way) noexcept;
    void empty() noexcept { stm_linux_view_unmap(view_, 0, region_.size() / kPageBytes); }

    stm_view* const view_;
    Region& region_;
    ContextTable& contexts_;
    News& news_;
    Watchdog& watchdog_;
    // How many committed pages were put into mappings outside of transactions.
    runtime::Atomic<u64> exposures_{0};
    // Has a mapping, or had one, in some address space. Changes under the CONTEXTS lock.
    runtime::Atomic<bool> mapped_{false};
};

} // namespace stm::kernel
