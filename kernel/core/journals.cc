// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/journals.hpp"

#include "kernel/core/handle.hpp"
#include "kernel/core/page_index.hpp"
#include "runtime/support/allocate.hpp"

namespace stm::kernel {

using protocol::Journal;
using protocol::JournalState;
using protocol::kNoStripe;
using protocol::Orec;
using protocol::StripePlace;
using protocol::StripeWrite;
using runtime::Error;
using runtime::kSuccess;
using runtime::Order;
using runtime::Result;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using runtime::u8;

static_assert(sizeof(Journal) == sizeof(stm_journal));
static_assert(sizeof(Journal) <= STM_JOURNAL_BYTES &&
              STM_JOURNAL_BYTES == Journal::kPages * kPageBytes);
static_assert(Journal::kMostWrites == STM_JOURNAL_WRITES);
static_assert(__builtin_offsetof(Journal, writes) == __builtin_offsetof(stm_journal, writes));
static_assert(__builtin_offsetof(Journal::Head, locked) == __builtin_offsetof(stm_journal, locked));
static_assert(JournalState::active().word() == STM_JOURNAL_ACTIVE);
static_assert(JournalState::committed(7).word() == STM_JOURNAL_COMMITTED(7));
static_assert(Orec::locked(9).word() == STM_RECORD_LOCKED(9));
static_assert(protocol::wait_bit(12345) == STM_WAKE_KEY(12345));

namespace {

// Contexts have small numbers, and never reach this one.
constexpr u64 kDirectOwner = u64{1} << 61;
constexpr u32 kSlotBits = 12;
static_assert(STM_MOST_JOURNALS == 1u << kSlotBits);

// An owner that has made no step for so long, with its journal in somebody's way, is not waited
// for. It may be stopped; or it waits for a processor, and begins its commit anew.
constexpr u64 kStandsStillNs = 20'000'000;

constexpr u64 kMostPatienceNs = 5 * kStandsStillNs;

constexpr u64 kFirstDelayNs = 20'000;
constexpr u64 kMostDelayNs = 1'000'000;

// All windows, as pages of a handle's file.
constexpr u64 kFirstWindow = STM_OFFSET_COMMITTED / kPageBytes;
constexpr u64 kWindows = STM_OFFSET_JOURNALS / kPageBytes + Journals::kPagesOfAll - kFirstWindow;

} // namespace

Status Journals::prepare() noexcept {
    auto pages = PageStore::create(kPagesOfAll);
    if (!pages.ok())
        return pages.error();
    pages_ = runtime::move(*pages);
    return kSuccess;
}

// ---- slots -------------------------------------------------------------------------------------

u64 Journals::number_of(const Slot& slot) const noexcept {
    return static_cast<u64>(&slot - slots_.data());
}

u64 Journals::next_owner(u64 slot) noexcept {
    return kDirectOwner | ++owners_ << kSlotBits | slot;
}

// The calling thread's.
Journals::Slot* Journals::find(const Handle& handle) noexcept {
    for (Slot& slot : slots_) {
        if (slot.handle == &handle && stm_linux_thread_is_current(slot.thread) != 0 &&
            slot.memory == stm_linux_memory_current() && slot.exec_id == stm_linux_exec_id())
            return &slot;
    }
    return nullptr;
}

Journals::Slot* Journals::owned_by(u64 owner) noexcept {
    const u64 number = owner & (STM_MOST_JOURNALS - 1);
    if (number >= slots_.size() || slots_[number].handle == nullptr ||
        slots_[number].owner != owner)
        return nullptr;
    return &slots_[number];
}

Journal::Head* Journals::head_of(const Slot& slot) noexcept {
    return reinterpret_cast<Journal::Head*>(pages_.find_memory(number_of(slot) * Journal::kPages));
}

bool Journals::is_idle(const Slot& slot) noexcept {
    const Journal::Head* const head = head_of(slot);
    return head == nullptr || JournalState{head->state.load(Order::acquire)}.is_idle();
}

Result<Journals::Slot*> Journals::free_slot() noexcept {
    for (Slot& slot : slots_) {
        if (slot.handle == nullptr)
            return &slot;
    }
    for (Slot& slot : slots_) {
        if (!slot.pinned && stm_linux_thread_runs(slot.thread, slot.exec_id) == 0) {
            (void)repair(slot);
            retire(slot);
            return &slot;
        }
    }
    const runtime::usize size = slots_.size();
    if (size == STM_MOST_JOURNALS)
        return Error::no_space;
    auto grown = runtime::make_array<Slot>(size == 0 ? 8 : size * 2);
    if (!grown.ok())
        return grown.error();
    for (runtime::usize i = 0; i < size; ++i)
        (*grown)[i] = slots_[i];
    slots_ = runtime::move(*grown);
    return &slots_[size];
}

void Journals::retire(Slot& slot) noexcept {
    const DirectCounts counted = counted_in(slot);
    past_.add(counted);
    slot.handle->ended_journals().add(counted);
    stm_linux_thread_put(slot.thread);
    stm_linux_memory_drop(slot.memory);
    slot = {};
}

// The owner executes nothing, or is kept from the pages.
protocol::Repair Journals::repair(Slot& slot) noexcept {
    Journal::Head* const head = head_of(slot);
    if (head == nullptr)
        return {};
    const u64 first_page = number_of(slot) * Journal::kPages;
    RegionStripes memory(region_);
    const protocol::Repair done =
        protocol::repair(memory, slot.owner, *head, [&](u32 i) noexcept -> const StripeWrite* {
            const u64 at = __builtin_offsetof(Journal, writes) + u64{i} * sizeof(StripeWrite);
            const u8* const page = pages_.find_memory(first_page + at / kPageBytes);
            return page == nullptr ? nullptr
                                   : reinterpret_cast<const StripeWrite*>(page + at % kPageBytes);
        });
    if (done.written != 0) {
        memory.wake(region_.versions().wait_filter.awaited(done.written));
        region_.versions().changed();
    }
    return done;
}

Result<Journals::Claim> Journals::claim(Handle& handle, u64 resume) noexcept {
    const Guard held(lock_);
    if (Slot* const own = find(handle)) {
        // Its thread makes this request, and so no commit. One that has left a commit by a jump has
        // not come to its end.
        own->resume = resume;
        Claim claim{own->owner, number_of(*own), own->outcome};
        const protocol::Repair done = repair(*own);
        const bool left = head_of(*own) != nullptr && done.finished;
        if (own->taken || left) {
            own->owner = next_owner(claim.slot);
            own->taken = false;
            own->outcome = 0;
            claim.owner = own->owner;
            claim.outcome |= left ? STM_JOURNAL_TAKEN | STM_JOURNAL_FINISHED : 0;
        }
        return claim;
    }
    const Result<Slot*> free = free_slot();
    if (!free.ok())
        return free.error();
    Slot& slot = **free;
    const u64 number = number_of(slot);
    for (u64 i = 0; i < Journal::kPages; ++i) {
        const auto page =
            pages_.obtain(number * Journal::kPages + i, region_.identity(), kJournalIndex);
        if (!page.ok())
            return page.error();
    }
    stm_memory* const memory = stm_linux_memory_current();
    if (memory == nullptr)
        return Error::invalid;
    stm_linux_memory_hold(memory);
    slot = {};
    slot.handle = &handle;
    slot.thread = stm_linux_thread_current();
    slot.memory = memory;
    slot.exec_id = stm_linux_exec_id();
    slot.owner = next_owner(number);
    slot.resume = resume;
    Journal::Head& head = *head_of(slot);
    head.commits.store(0, Order::relaxed);
    head.conflicts.store(0, Order::relaxed);
    head.locked.store(0, Order::relaxed);
    head.state.store(JournalState::idle().word(), Order::release);
    return Claim{slot.owner, number, 0};
}

Journals::Right Journals::right_to_store(const Handle& handle, const stm_memory* memory,
                                         u64& resume) noexcept {
    resume = 0;
    const Guard held(lock_);
    const Slot* const own = memory == stm_linux_memory_current() ? find(handle) : nullptr;
    if (own == nullptr)
        return Right::no;
    if (own->taken) {
        resume = own->resume;
        return resume == 0 ? Right::no : Right::elsewhere;
    }
    for (const Slot& slot : slots_) {
        if (slot.handle == &handle && slot.memory == memory && slot.taken &&
            stm_linux_thread_runs(slot.thread, slot.exec_id) != 0)
            return Right::later;
    }
    return Right::yes;
}

void Journals::forget(const Handle& handle, const stm_memory* memory) noexcept {
    for (bool pinned = true; pinned;) {
        pinned = false;
        {
            const Guard held(lock_);
            for (Slot& slot : slots_) {
                if (slot.handle != &handle || (memory != nullptr && slot.memory != memory))
                    continue;
                if (slot.pinned) {
                    // Whoever has pinned it for a handle that goes on sees to the rest: that one
                    // may be waiting for the mmap_lock that is held here.
                    if (memory != nullptr)
                        slot.ended = true;
                    else
                        pinned = true;
                    continue;
                }
                (void)repair(slot);
                retire(slot);
            }
        }
        if (pinned)
            stm_linux_delay(kFirstDelayNs);
    }
}

DirectCounts Journals::counted_in(const Slot& slot) noexcept {
    const Journal::Head* const head = head_of(slot);
    if (head == nullptr)
        return {};
    return {head->commits.load(Order::relaxed), head->conflicts.load(Order::relaxed),
            head->locked.load(Order::relaxed)};
}

DirectCounts Journals::counts() noexcept {
    const Guard held(lock_);
    DirectCounts sum = past_;
    for (const Slot& slot : slots_) {
        if (slot.handle != nullptr)
            sum.add(counted_in(slot));
    }
    return sum;
}

DirectCounts Journals::counts_of(Handle& handle) noexcept {
    const Guard held(lock_);
    DirectCounts sum = handle.ended_journals();
    for (const Slot& slot : slots_) {
        if (slot.handle == &handle)
            sum.add(counted_in(slot));
    }
    return sum;
}

// ---- who is in the way -------------------------------------------------------------------------

Journals::Owner Journals::look_at(Slot& slot) noexcept {
    if (stm_linux_thread_runs(slot.thread, slot.exec_id) == 0)
        return Owner::gone;
    const Journal::Head* const head = head_of(slot);
    if (head == nullptr || slot.pinned)
        return Owner::goes_on;
    // Each commit counts, so a thread that makes steps does not have the same sum for long.
    const u64 state = head->state.load(Order::acquire) ^
                      (head->commits.load(Order::relaxed) + head->conflicts.load(Order::relaxed))
                          << 32;
    const u64 now = stm_linux_monotonic_ns();
    if (slot.seen_ns == 0 || slot.seen_state != state) {
        slot.seen_state = state;
        slot.seen_ns = now;
        return Owner::goes_on;
    }
    return now - slot.seen_ns < kStandsStillNs ? Owner::goes_on : Owner::stands_still;
}

// The pages leave all mappings of the handle, so the owner's next store faults, and is refused. The
// address space is closed meanwhile: a fault that is being served may have been allowed before.
bool Journals::take(u64 owner, u64 stripe) noexcept {
    Handle* handle = nullptr;
    stm_memory* memory = nullptr;
    {
        const Guard held(lock_);
        Slot* const slot = owned_by(owner);
        if (slot == nullptr || slot->taken || slot->pinned)
            return slot == nullptr;
        slot->pinned = true; // so the handle and the slot stay
        handle = slot->handle;
        memory = slot->memory;
    }
    const int closed = stm_linux_view_try_close(handle->view().get(), memory);
    bool done = false;
    {
        const Guard held(lock_);
        Slot& slot = slots_[owner & (STM_MOST_JOURNALS - 1)];
        slot.pinned = false;
        if (slot.owner != owner) {
            done = true; // its thread has asked for a journal meanwhile, and so ended that commit
        } else if (closed > 0) {
            stm_linux_view_unmap(handle->view().get(), kFirstWindow, kWindows);
            // It may have gone on meanwhile. Then it keeps its journal: a thread is sent elsewhere
            // in the middle of a commit alone.
            if (!is_idle(slot)) {
                const protocol::Repair repaired = repair(slot);
                slot.taken = true;
                slot.outcome = STM_JOURNAL_TAKEN | (repaired.finished ? STM_JOURNAL_FINISHED : 0);
                done = true;
            } else if (stripe != kNoStripe) {
                // No commit of its own: whoever has locked that is not coming back to it.
                release_orphan(stripe, Orec::locked(owner).word());
            }
        }
        // With the lock: it keeps the slot, and so the object that is opened.
        if (closed > 0)
            stm_linux_view_open(memory);
        if (closed == 0 || slot.ended) {
            // Its address space has ended, and so has the thread.
            (void)repair(slot);
            retire(slot);
            done = true;
        }
    }
    return done;
}

// Nobody's lock. The bytes are what they are.
void Journals::release_orphan(u64 stripe, u64 word) noexcept {
    RegionStripes memory(region_);
    StripePlace place;
    if (!memory.find(stripe, place))
        return;
    const u64 version = protocol::clock_advance(memory.clock());
    (void)place.orec->compare_exchange(word, Orec::unlocked(version).word(), Order::acq_rel,
                                       Order::relaxed);
}

// As far as one can tell while others commit.
Status Journals::note_in_use(u64 stripe) noexcept {
    suspect_.store(stripe, Order::relaxed);
    return Error::again;
}

Status Journals::settle(u64 stripe) noexcept {
    RegionStripes memory(region_);
    if (stripe >= protocol::stripes_in(0, region_.size()))
        return Error::invalid;
    // A record may be locked where no byte has been stored yet.
    StripePlace place;
    if (region_.versions().orecs.find(stripe / kOrecsPerPage) == nullptr ||
        !memory.materialise(stripe).ok() || !memory.find(stripe, place))
        return kSuccess;
    const u64 word = place.orec->load(Order::acquire);
    const Orec now{word};
    if (!now.is_locked()) {
        // No commit has got a version that the clock has not reached. It would stop all who read.
        if (now.version() > protocol::clock_now(region_.versions().clock_page.now()))
            release_orphan(stripe, word);
        return kSuccess;
    }
    if ((now.owner() & kDirectOwner) == 0) {
        // A commit of the module's does not stop in the middle. A program may have stored it, too.
        if (now.owner() < region_.versions().next_owner.load(Order::relaxed))
            return note_in_use(stripe);
        release_orphan(stripe, word);
        return kSuccess;
    }
    bool stands_still = false;
    {
        const Guard held(lock_);
        Slot* const slot = owned_by(now.owner());
        // One that was taken has no locks any more.
        const bool is_nobodys = slot == nullptr || slot->taken;
        const Owner owner = is_nobodys ? Owner::gone : look_at(*slot);
        if (owner == Owner::goes_on)
            return note_in_use(stripe);
        stands_still = owner == Owner::stands_still;
        // It has ended while somebody takes its journal, who repairs.
        if (!is_nobodys && slot->pinned)
            return Error::again;
        if (!is_nobodys && !stands_still) {
            (void)repair(*slot);
            retire(*slot);
        }
    }
    if (stands_still && !take(now.owner(), stripe))
        return Error::again;
    if (place.orec->load(Order::acquire) == word)
        release_orphan(stripe, word);
    return kSuccess;
}

void Journals::mend(const Context& context) noexcept {
    if (suspect_.load(Order::relaxed) == kNoStripe) [[likely]]
        return;
    RegionStripes memory(region_);
    const u64 first = protocol::page_of_stripe(suspect_.exchange(kNoStripe, Order::relaxed)) *
                      protocol::kStripesPerPage;
    for (u64 stripe = first; stripe < first + protocol::kStripesPerPage; ++stripe) {
        StripePlace place;
        if (!memory.find(stripe, place))
            return;
        const u64 word = place.orec->load(Order::acquire);
        // Nobody commits as long as the token is there. It may be taken away, so this comes after
        // the load.
        if (!region_.versions().token.is_held_by(context))
            return;
        if (Orec{word}.is_locked())
            release_orphan(stripe, word);
    }
}

Status Journals::wait_until_idle(const Context& context, stm_wait_kind kind) noexcept {
    // With the gate closed a commit that has begun before ends soon. Whoever says otherwise for so
    // long is not waited for, whatever stands in the journal.
    const u64 patience_ends = stm_linux_monotonic_ns() + kMostPatienceNs;
    for (u64 delay = kFirstDelayNs;; delay = runtime::min(delay * 2, kMostDelayNs)) {
        bool busy = false;
        u64 standing = 0;
        {
            const Guard held(lock_);
            for (Slot& slot : slots_) {
                // One that was taken stores nothing.
                if (slot.handle == nullptr || slot.taken || is_idle(slot))
                    continue;
                const Owner owner = look_at(slot);
                if (owner == Owner::gone && !slot.pinned) {
                    (void)repair(slot);
                    retire(slot);
                    continue;
                }
                busy = true;
                if (owner == Owner::stands_still || stm_linux_monotonic_ns() > patience_ends)
                    standing = slot.owner;
            }
        }
        // Who lost the token has nothing to wait for.
        if (!busy || !region_.versions().token.is_held_by(context))
            return kSuccess;
        if (standing != 0 && take(standing, kNoStripe)) {
            // Programs may make them active as quickly again.
            if (stm_linux_dying() != 0)
                return Error::interrupted;
            continue;
        }
        const Status waited = waiting_.wait([]() noexcept { return false; }, delay, kind);
        if (!waited.ok() && waited.error() != Error::timed_out)
            return waited;
    }
}

Status wait_until_idle(Region& region, const Context& context, stm_wait_kind kind) noexcept {
    return region.journals()->wait_until_idle(context, kind);
}

} // namespace stm::kernel
