// SPDX-License-Identifier: GPL-2.0
// The view: all mappings of a handle, and which transaction has them in each address space.
// view_stage.hpp has the stages of a context.
//
// Which side comes first
// ----------------------
// A fault outside of every transaction exposes the committed page, which stays mapped. A
// transaction that gets the view afterwards empties the mappings, unless it has seen everything
// that was exposed. The fault counts the page as exposed, and only then looks for a transaction the
// second time. The transaction gets the view, and only then looks at the count. Each has a full
// fence in between, so at least one of them sees the other.
//
// Warm mappings
// -------------
// A context whose mappings stay warm keeps the view between its transactions, and with it the pages
// that it has loaded, until somebody cools it down. So what another transaction of the address
// space would have to know of is still known. A fault between transactions is one outside: it
// exposes the committed page, and the next start empties the mappings as any other would.
//
// Closing the view keeps every fault out of the mappings in one address space, and waits for those
// in progress. It takes the mmap_lock, so it comes before all locks of the core.
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
    // Owns Linux's view from now on. The other arguments outlive it.
    View(stm_view* view, Region& region, ContextTable& contexts, News& news,
         Watchdog& watchdog) noexcept
        : view_(view), region_(region), contexts_(contexts), news_(news), watchdog_(watchdog) {}
    ~View() { stm_linux_view_destroy(view_); }

    // What Linux calls it.
    [[nodiscard]] stm_view* get() const noexcept { return view_; }

    // The handle gets a mapping in the calling address space; the caller holds its mmap_lock for
    // writing. From now on the transaction that runs there includes the mapping. Error::busy:
    // several threads of the address space have one on the handle.
    [[nodiscard]] runtime::Status note_mapping() noexcept;

    // -- By the thread of a transaction --

    // Called at the end of a start: from now on a fault in the calling address space belongs to the
    // transaction. Does nothing if there is no mapping. Error::busy: another thread's transaction
    // has the view.
    [[nodiscard]] runtime::Status enter(Context& context) noexcept;
    // After that: maps the pages that earlier transactions from the same site have touched.
    void predict(Context& context, u32 site) noexcept;
    // Whether the transaction has read anything yet. A page that was mapped for it counts once it
    // is touched.
    [[nodiscard]] bool has_read(Context& context) noexcept;
    // Whether it has written anything yet, in the same sense.
    [[nodiscard]] bool has_written(Context& context) noexcept;
    // Called at the beginning of its end: takes its pages out of all mappings. With `loaded_pages`
    // those may stay that were only loaded, if the context's mappings stay warm. With `all_pages`
    // those may stay, too, to which nobody can store any more: then it is to be committed, and if
    // that fails the context cools down.
    void leave(Context& context, Context::Stays most = Context::Stays::nothing) noexcept;

    // -- By any thread --

    // Takes back an offer that stands. If the thread has taken it, its transaction begins here.
    // Nothing in its mappings has to be unmapped: each fault there calls this before it maps a
    // committed page.
    void settle(Context& context) noexcept STM_REQUIRES(context.lock()) {
        if (context.stage().is_offered())
            settle_offer(context);
    }

    // The context that a fault belongs to: the one that has the view there. Its lock is held, and
    // the caller adopts it; no offer stands there then. Null: none has the view. A program that is
    // gone has no view. What it left in the mappings cannot be taken out here, because the caller
    // keeps the view open: the watchdog does it at once, or the next start.
    [[nodiscard]] Context* lock_viewer(stm_memory* memory) noexcept;
    // Called before a fault maps a committed page. The fault has to look for a transaction again
    // afterwards.
    void count_exposure() noexcept;
    // Whether a transaction may get the view without emptying the mappings first.
    [[nodiscard]] bool is_unexposed_for(const Context& context) const noexcept {
        return exposures_.load(Order::seq_cst) == context.exposures_seen();
    }
    // Whether another context of that address space has the view, or would have it if it began by
    // an offer.
    [[nodiscard]] bool is_taken(const ContextTable::Guard& held, const stm_memory* memory) noexcept;

    // Ends a transaction under the context's lock, when its pages are in no mapping.
    using End = void (*)(Context& context) noexcept;
    // Whether to wait for another address space's mmap_lock.
    enum class Patience { waits, none };
    // Ends the context's transaction from outside its thread, if the condition holds. Its pages are
    // taken out of mappings, and a fault that has found one of them must not map it afterwards. So
    // the view is closed in the context's address space. No lock is held. False: the transaction is
    // still there, because another thread holds that address space's mmap_lock, perhaps the kernel
    // on behalf of a stranger, and the caller does not wait for that.
    [[nodiscard]] bool end_from_outside(Context& context, ContextTable::Condition condition,
                                        End end, Patience patience) noexcept;
    // Discards the transaction of a program that is gone.
    // False: as end_from_outside() says it.
    [[nodiscard]] bool retire(Context& context, Patience patience) noexcept;
    void retire(Context& context) noexcept { (void)retire(context, Patience::waits); }
    // Takes the pages of a context out of the mappings that is warm, as far as the condition holds,
    // and the view away from it. A transaction that its thread has begun by an offer goes on, and
    // nothing changes.
    void cool(Context& context, ContextTable::Condition condition, Patience patience) noexcept;
    void cool(Context& context) noexcept { cool(context, is_warm, Patience::waits); }
    // A ContextTable::Condition.
    [[nodiscard]] static bool is_warm(const Context& context) noexcept {
        return context.stage().is_warm();
    }

private:
    template <typename Question>
    [[nodiscard]] bool ask(Context& context, Question question) noexcept;
    void settle_offer(Context& context) noexcept STM_REQUIRES(context.lock());
    [[nodiscard]] runtime::Status take(Context& context, stm_memory* memory,
                                       Context*& in_the_way) noexcept;
    void empty() noexcept { stm_linux_view_unmap(view_, 0, region_.size() / kPageBytes); }

    stm_view* const view_;
    Region& region_;
    ContextTable& contexts_;
    News& news_;
    Watchdog& watchdog_;
    // The number of committed pages that were put into mappings outside of transactions.
    runtime::Atomic<u64> exposures_{0};
    // Has a mapping, or had one, in some address space. Changes under the CONTEXTS lock.
    runtime::Atomic<bool> mapped_{false};
};

} // namespace stm::kernel
