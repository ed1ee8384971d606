// SPDX-License-Identifier: GPL-2.0
// The journals of a direct region, in which threads write down what they are about to commit by
// themselves (runtime/protocol/journal.hpp). What an owner leaves behind that has ended, or that
// does not go on, is finished or undone here.
//
// Invariants: a slot is its thread's until the thread ends, calls exec or loses its handle, and
// only a repair with the slot's lock held comes before the next owner. An owner's number never
// comes back. While a slot is `taken`, no store from its address space reaches the region, except
// through pages that its other threads get after the taken one has asked for a journal again.
#pragma once

#include "kernel/core/lock.hpp"
#include "kernel/core/page_store.hpp"
#include "kernel/core/region_stripes.hpp"
#include "kernel/core/statistics.hpp"
#include "kernel/interface/services.h"
#include "runtime/protocol/journal.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/lock_guard.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"

namespace stm::kernel {

class Context;
class Handle;

class Journals : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;

public:
    // The region outlives it.
    explicit Journals(Region& region) noexcept : region_(region), lock_(STM_RANK_JOURNALS) {}
    // Makes room. Error::no_memory.
    [[nodiscard]] runtime::Status prepare() noexcept;

    // The pages behind STM_OFFSET_JOURNALS.
    [[nodiscard]] PageStore& pages() noexcept { return pages_; }
    static constexpr u64 kPagesOfAll = u64{STM_MOST_JOURNALS} * protocol::Journal::kPages;

    struct Claim {
        u64 owner;
        u64 slot;
        u32 outcome; // STM_JOURNAL_TAKEN, STM_JOURNAL_FINISHED
    };
    // The calling thread's journal for this handle. `resume` is where the thread goes on if it is
    // taken, or 0. Error::no_memory, Error::no_space.
    [[nodiscard]] runtime::Result<Claim> claim(Handle& handle, u64 resume) noexcept
        STM_EXCLUDES(lock_);

    // Sees to the record of a stripe. Error::again: its owner goes on; Error::invalid: there is no
    // such stripe. No lock is held.
    [[nodiscard]] runtime::Status settle(u64 stripe) noexcept STM_EXCLUDES(lock_);

    // With the gate closed by the context, and no journal active: takes away locks that settle()
    // has found and could not tell from those of commits. A program has stored them.
    void mend(const Context& context) noexcept;

    // Whether the calling thread may store, in a mapping of the handle in that address space.
    enum class Right : runtime::u8 {
        yes,
        no,        // it has no journal, or that was taken
        elsewhere, // its journal was taken, and it goes on at `resume`
        later,     // another thread's was taken
    };
    [[nodiscard]] Right right_to_store(const Handle& handle, const stm_memory* memory,
                                       u64& resume) noexcept STM_EXCLUDES(lock_);

    // With the gate closed by the context: waits until no thread commits by itself, or the context
    // has lost the token. Error::interrupted: a signal of that kind. No lock is held.
    [[nodiscard]] runtime::Status wait_until_idle(const Context& context,
                                                  stm_wait_kind kind) noexcept STM_EXCLUDES(lock_);

    // The address space has ended, or the handle has (null: in all of them). Their threads execute
    // nothing any more. At the end of an address space the caller holds its mmap_lock, for which
    // take() may be waiting.
    void forget(const Handle& handle, const stm_memory* memory) noexcept STM_EXCLUDES(lock_);

    // What the owners have counted: all of them, or those of a handle.
    [[nodiscard]] DirectCounts counts() noexcept STM_EXCLUDES(lock_);
    [[nodiscard]] DirectCounts counts_of(Handle& handle) noexcept STM_EXCLUDES(lock_);

private:
    using Guard = runtime::LockGuard<Mutex>;

    struct Slot {
        Handle* handle; // null: nobody's
        stm_thread* thread;
        stm_memory* memory;
        u64 exec_id;
        u64 owner;
        u64 resume;
        u64 seen_state; // when it was in somebody's way, and since when it is in this one
        u64 seen_ns;
        u32 outcome;
        bool taken;
        bool pinned; // take() uses it, without the lock: it stays, and so does its handle
        bool ended;  // its address space has meanwhile: take() sees to what is left
    };

    [[nodiscard]] Slot* find(const Handle& handle) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] Slot* owned_by(u64 owner) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] runtime::Result<Slot*> free_slot() noexcept STM_REQUIRES(lock_);
    [[nodiscard]] u64 number_of(const Slot& slot) const noexcept STM_REQUIRES(lock_);
    [[nodiscard]] protocol::Journal::Head* head_of(const Slot& slot) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] bool is_idle(const Slot& slot) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] protocol::Repair repair(Slot& slot) noexcept STM_REQUIRES(lock_);
    void retire(Slot& slot) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] DirectCounts counted_in(const Slot& slot) noexcept STM_REQUIRES(lock_);
    [[nodiscard]] u64 next_owner(u64 slot) noexcept STM_REQUIRES(lock_);

    enum class Owner : runtime::u8 { gone, goes_on, stands_still };
    [[nodiscard]] Owner look_at(Slot& slot) noexcept STM_REQUIRES(lock_);
    // Takes the journal away from an owner that stands still, and with it the record of the stripe
    // (kNoStripe: of none). False: not now.
    [[nodiscard]] bool take(u64 owner, u64 stripe) noexcept STM_EXCLUDES(lock_);
    void release_orphan(u64 stripe, u64 word) noexcept;
    [[nodiscard]] runtime::Status note_in_use(u64 stripe) noexcept;

    Region& region_;
    PageStore pages_;
    runtime::Atomic<u64> suspect_{protocol::kNoStripe}; // for mend()
    WaitQueue waiting_;                                 // nobody wakes who sleeps here
    Mutex lock_;
    runtime::UniqueArray<Slot> slots_ STM_GUARDED_BY(lock_);
    u64 owners_ STM_GUARDED_BY(lock_) = 0;
    DirectCounts past_ STM_GUARDED_BY(lock_);
};

} // namespace stm::kernel
