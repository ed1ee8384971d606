// SPDX-License-Identifier: GPL-2.0
// A handle: one open file, bound to one region for all its life.
//
// Every handle but one of device minor 0 counts as a user of its region from the start. Minor 0 is
// also the control device: a handle of it becomes a user of the region `default` at its first read,
// write or mmap.
#pragma once

#include "kernel/core/lock.hpp"
#include "kernel/core/process.hpp"
#include "kernel/core/statistics.hpp"
#include "kernel/interface/entry.h"
#include "kernel/interface/services.h"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/intrusive_list.hpp"
#include "runtime/support/reference.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"

namespace stm::kernel {

class Context;
class Region;

class Handle : public runtime::ListLink<Handle> {
public:
    // Error::no_memory.
    [[nodiscard]] static runtime::Result<runtime::Unique<Handle>>
    create(runtime::Ref<Region> region, runtime::u32 access) noexcept;
    Handle(runtime::Ref<Region> region, runtime::u32 access, stm_view* view) noexcept;
    // Its transactions are discarded.
    ~Handle();

    [[nodiscard]] Region& region() const noexcept { return *region_; }
    // STM_ACCESS_*
    [[nodiscard]] runtime::u32 access() const noexcept { return access_; }
    [[nodiscard]] stm_process* opener() const noexcept { return opener_.get(); }

    // The calling thread's context, or null if it never had a transaction on this handle. Stays
    // valid as long as the handle. What the thread began by an offer is there then; what it began
    // before it called exec is not any more.
    [[nodiscard]] Context* find_context() noexcept;
    // The same, made if need be. Error::no_memory; Error::no_space: max_contexts threads have one.
    [[nodiscard]] runtime::Result<Context*> obtain_context() noexcept;
    // The file position, of the calling thread's transaction: see Context.
    void note_position(long long position) noexcept;
    [[nodiscard]] bool take_position(long long& position) noexcept;
    // Discards all transactions: nobody has the handle any more, and it has no mapping.
    void discard_all() noexcept;
    // Discards the transactions of threads that have ended.
    void retire_ended_threads() noexcept;
    // A descriptor of the handle's file was closed in the calling process. If it has none left, its
    // threads can not end their transactions any more: these are over, and everything that their
    // threads, which may get the file again, do with the handle fails until they have been told so.
    void lose_descriptor(const stm_file* file) noexcept;
    // Whether the calling thread, whose transaction has just begun, still has a descriptor. If not,
    // it was closed while the start was waiting, perhaps too early for lose_descriptor() to find
    // the transaction.
    [[nodiscard]] bool keeps_descriptor(Context& context) noexcept;
    // From now on a transaction of this handle that can not succeed is found out, as long as one
    // runs.
    void watch() noexcept;
    // -- Starts without a system call --

    // The calling thread's cell is at that address; 0: it has none. Error::invalid: or the thread
    // has no context. Error::fault, Error::no_memory.
    [[nodiscard]] runtime::Status attach_cell(runtime::u64 address, int signal) noexcept;
    // The context's transaction has ended: offers the next start to its thread, if there would be
    // nothing to do at it.
    void offer_start(Context& context) noexcept;
    // A descriptor was closed: its number may be another file's from now on, so no thread may begin
    // a transaction by what it knows of this handle. Those that have begun go on.
    void forget_cells(const stm_file* file) noexcept;

    // Sums up what all contexts counted.
    void add_counters(TransactionCounters& sum) noexcept;
    // The thread of the context that committed last among those after `version`, which is raised; 0
    // if none.
    [[nodiscard]] runtime::i32 last_committer(runtime::u64& version) noexcept;

    // -- The view: transactions in mappings of this handle --

    [[nodiscard]] stm_view* view() const noexcept { return view_; }
    // It gets a mapping, in the calling address space, whose mmap_lock the caller holds for
    // writing. The transaction that runs there is part of it from now on. Error::busy: several
    // threads of the address space have one on the handle.
    [[nodiscard]] runtime::Status note_mapping() noexcept;
    // From now on a fault in the calling address space belongs to the context's transaction. Does
    // nothing when there is no mapping. Error::busy: another thread's transaction has the view.
    [[nodiscard]] runtime::Status enter_view(Context& context) noexcept;
    // After that, at the begin of a transaction: maps the pages that those before it, which began
    // at the same site, have touched.
    void predict(Context& context, runtime::u32 site) noexcept;
    // Whether the calling thread's transaction has read anything yet. What was mapped for it counts
    // once it is touched.
    [[nodiscard]] bool has_read(Context& context) noexcept;
    // The end of it; the pages that the transaction has there are in no mapping any more.
    void leave_view(Context& context) noexcept;
    [[nodiscard]] stm_fault_result serve_fault(stm_fault& fault) noexcept;
    [[nodiscard]] stm_fault_result make_writable(stm_fault& fault, stm_page* page) noexcept;

    // poll: what was committed until now is known.
    void look() noexcept;
    [[nodiscard]] bool has_news() const noexcept;

    // Whether it counts as a user of the region. Changes once, under the registry lock.
    [[nodiscard]] bool attached() const noexcept { return attached_.load(runtime::Order::acquire); }

private:
    friend class Registry;

    // Ends a transaction from outside, under the context's lock, with the view closed.
    using End = void (*)(Context& context) noexcept;
    // Whether it is to be ended. Asked under the context's lock, or the handle's and then again.
    using Condition = bool (*)(const Context& context) noexcept;

    void look_after_contexts() noexcept;
    // Whether another address space's mmap_lock is waited for.
    enum class Patience { waits, none };
    [[nodiscard]] bool end_from_outside(Context& context, Condition condition, End end,
                                        Patience patience) noexcept;
    void retire(Context& context) noexcept;
    [[nodiscard]] Context* next_context(const Context* after, Condition condition) noexcept;
    [[nodiscard]] runtime::Status take_view(Context& context, stm_memory* memory,
                                            Context*& in_the_way) noexcept;
    void settle(Context& context) noexcept;
    [[nodiscard]] Context* viewer(stm_memory* memory) noexcept;
    [[nodiscard]] Context* lock_viewer(stm_memory* memory) noexcept;
    [[nodiscard]] stm_fault_result serve_page(stm_fault& fault) noexcept;
    [[nodiscard]] stm_fault_result serve_private_page(Context& context, stm_fault& fault) noexcept;
    [[nodiscard]] stm_fault_result refuse(Context& context, protocol::AbortReason reason) noexcept;
    [[nodiscard]] Context* recent_context() const noexcept;

    runtime::Ref<Region> region_;
    const runtime::u32 access_;
    const Process opener_;
    runtime::Atomic<bool> attached_{false};
    runtime::Atomic<runtime::u64> seen_changes_{0};

    stm_view* const view_;
    // How many committed pages were put into mappings outside of transactions. A context that has
    // seen another number empties its mappings before its next transaction, so that each page
    // faults again.
    runtime::Atomic<runtime::u64> exposures_{0};

    Mutex contexts_lock_;
    // Under the lock; contexts are only added.
    runtime::IntrusiveList<Context> contexts_;
    runtime::u32 context_count_ = 0;
    // Has a mapping, or had one, in some address space. Changes under the lock.
    runtime::Atomic<bool> mapped_{false};
    runtime::Atomic<runtime::u64> closes_{0}; // of descriptors. Changes under the lock
    // The handle's own, known when the first descriptor was closed; only compared.
    runtime::Atomic<const stm_file*> file_{nullptr};
    // The one that was looked up last: programs of one thread need no lock to find it.
    runtime::Atomic<Context*> recent_{nullptr};
    runtime::Atomic<bool> watched_{false};
    stm_timer watchdog_;
};

} // namespace stm::kernel
