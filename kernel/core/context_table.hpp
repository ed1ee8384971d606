// SPDX-License-Identifier: GPL-2.0
// The contexts of a handle, one for each thread that had a transaction on it.
//
// Invariants: contexts are only added, so a context that was found stays valid as long as the
// table. The table's lock protects the list, and which thread each context belongs to. Looking one
// up has no side effect.
#pragma once

#include "kernel/core/context.hpp"
#include "kernel/core/lock.hpp"
#include "kernel/core/region.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/intrusive_list.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// A ContextTable::Condition: its program is not there any more.
[[nodiscard]] inline bool is_orphan(const Context& context) noexcept {
    return context.is_orphan();
}

class ContextTable : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    using Contexts = runtime::IntrusiveList<Context>;

public:
    using Guard = runtime::LockGuard<Mutex>;
    // Evaluated with the table's lock or the context's held, and again under the context's where
    // that matters.
    using Condition = bool (*)(const Context& context) noexcept;

    explicit ContextTable(Region& region) noexcept : region_(region), lock_(STM_RANK_CONTEXTS) {}
    ~ContextTable() { clear(); }
    // Discards their transactions. No thread uses them any more.
    void clear() noexcept STM_NO_LOCK_ANALYSIS;

    [[nodiscard]] Mutex& lock() noexcept STM_RETURNS_LOCK(lock_) { return lock_; }

    // The calling thread's context, or null.
    [[nodiscard]] Context* find_current() noexcept STM_EXCLUDES(lock_) {
        Context* const recent = recent_.load(runtime::Order::acquire);
        return recent != nullptr && recent->is_current() ? recent : search_current();
    }
    // The first context behind `after` (null: of all) for which the condition holds, or null.
    [[nodiscard]] Context* find_next(const Context* after, Condition condition) noexcept
        STM_EXCLUDES(lock_);
    // The context that a fault there may belong to (ViewStage::may_view), or null.
    [[nodiscard]] Context* find_viewer(const stm_memory* memory) noexcept STM_EXCLUDES(lock_) {
        Context* const recent = recent_.load(runtime::Order::acquire);
        return recent != nullptr && recent->stage().may_view(memory) ? recent
                                                                     : search_viewer(memory);
    }

    // Adds a context for the calling thread, which has none. Error::no_memory; Error::no_space:
    // max_contexts threads have one.
    [[nodiscard]] runtime::Result<Context*> add() noexcept STM_EXCLUDES(lock_);
    // Takes the context of a thread that has ended instead of a new one. Null: there is none, or it
    // has the view; then it is `in_view`.
    [[nodiscard]] Context* reuse(Context*& in_view) noexcept STM_EXCLUDES(lock_);

    // All contexts, in the order in which they were made.
    [[nodiscard]] Contexts& all() noexcept STM_REQUIRES(lock_) { return contexts_; }

    // Sums up what all contexts counted.
    void add_counters(TransactionCounters& sum) noexcept STM_EXCLUDES(lock_);
    // The thread of the context that committed last, after `version`; 0 if none. Raises `version`.
    [[nodiscard]] runtime::i32 last_committer(u64& version) noexcept STM_EXCLUDES(lock_);

private:
    [[nodiscard]] bool is_full() noexcept STM_EXCLUDES(lock_);
    [[nodiscard]] Context* search_current() noexcept STM_EXCLUDES(lock_);
    [[nodiscard]] Context* search_viewer(const stm_memory* memory) noexcept STM_EXCLUDES(lock_);

    Region& region_;
    Mutex lock_;
    Contexts contexts_ STM_GUARDED_BY(lock_);
    u32 count_ STM_GUARDED_BY(lock_) = 0;
    // The context that was looked up last: programs of one thread need no lock to find it.
    runtime::Atomic<Context*> recent_{nullptr};
};

} // namespace stm::kernel
