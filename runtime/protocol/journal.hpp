// SPDX-License-Identifier: LGPL-2.1-or-later
// The commit of a thread that may die at any instruction, and its repair.
//
// A thread of a direct region commits in user space. What it is about to do stands in its journal,
// in memory that outlives it. The steps and their order are those of set_commit.hpp; the journal
// adds three stores: "active" before L, "committed" between V and F, and "idle" behind R. The
// owner's side is in direct_commit.hpp.
//
// Why it is right
// ---------------
// Let a repair run when the owner executes no instruction any more, and one repair of a journal at
// a time. It looks at each stripe of the journal, and touches none whose record the owner has not
// locked.
//
// 1. The journal names every stripe that the owner has locked, as long as it has locked one: the
//    writes and the count are stored before the first lock, and stay until "idle", which comes
//    behind the last release.
// 2. Died before "committed": no byte was stored. The repair gives the records back with a version
//    of its own. That is right as in transaction.hpp: bytes that did not change may get a newer
//    version, which costs others a validation. So the words that were locked over need not be kept.
// 3. Died behind "committed": the owner had locked all stripes and found all that it read valid, so
//    the commit took effect at its version. The repair stores the bytes of each stripe that is
//    still locked, and releases it with that version. To store the same bytes twice does no harm
//    while the record is locked. A stripe that the owner has released is somebody else's by now,
//    and is not touched.
// 4. The owner's number never comes back, so a record that it has locked is not taken for one of
//    the next thread that gets the journal.
//
// The repair relies on nothing that it finds. A journal with anything else in it makes it store
// within the region, or release what that owner seems to have locked, and end after
// Journal::kMostWrites steps.
//
// The gate
// --------
// A transaction with the serial token must meet no commit. Commits in the kernel enter the gate. A
// direct one stores "active", does a full barrier, and looks whether the gate is closed; if so it
// gives up before it has locked anything, and the kernel makes its commit. Who closes the gate
// stores that, does a full barrier, and then waits until no journal is active. One of the two sees
// the other.
#pragma once

#include "runtime/protocol/clock.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/shared_stripe.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/stripe_sets.hpp"
#include "runtime/protocol/wait_filter.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

// The value of a journal's state at one moment.
class JournalState {
public:
    constexpr explicit JournalState(u64 word) noexcept : word_(word) {}
    [[nodiscard]] static constexpr JournalState idle() noexcept { return JournalState(0); }
    [[nodiscard]] static constexpr JournalState active() noexcept { return JournalState(1); }
    [[nodiscard]] static constexpr JournalState committed(u64 version) noexcept {
        return JournalState(version << 2 | 2);
    }

    [[nodiscard]] constexpr u64 word() const noexcept { return word_; }
    [[nodiscard]] constexpr bool is_idle() const noexcept { return word_ == 0; }
    [[nodiscard]] constexpr bool is_committed() const noexcept { return (word_ & 3) == 2; }
    // Only of one that is committed.
    [[nodiscard]] constexpr u64 version() const noexcept { return word_ >> 2; }

private:
    u64 word_;
};

// A journal as it lies in memory (struct stm_journal). No write crosses a page.
struct Journal {
    static constexpr u32 kMostWrites = 101;
    static constexpr u32 kPages = 2;
    static constexpr u32 kWritesInFirstPage = 50;

    struct Head {
        Atomic<u64> state;
        Atomic<u64> count;
        // Counted by the owner, looked at by others.
        Atomic<u64> commits;
        Atomic<u64> conflicts;
        Atomic<u64> locked;
        u64 reserved[7];
    };

    Head head;
    StripeWrite writes[kMostWrites];
};
static_assert(sizeof(Journal::Head) + Journal::kWritesInFirstPage * sizeof(StripeWrite) ==
              kPageBytes);
static_assert(sizeof(Journal) <= Journal::kPages * kPageBytes);

// Defects that tests plant, one at a time, to show that tests find them.
enum class JournalMutation : runtime::u8 {
    none,
    published_early,    // "committed" before the validation
    idle_early,         // "idle" before the last release
    locked_first,       // the first lock before the journal says what it is for
    gate_ignored,       // a commit goes on although the gate is closed
    repair_forgets,     // a repair releases without storing what was committed
    repair_applies_all, // a repair also stores what the owner has released
    repair_keeps_locks, // a repair of a commit that had not happened releases nothing
    repair_old_version, // a repair releases with version 0
};

// What a repair has done.
struct Repair {
    bool finished = false; // the commit had happened
    WaitMask written = 0;  // those who wait for these stripes are to be woken
};

// Finishes or undoes the commit of an owner that executes nothing any more: see the top. `head` and
// `write_at(i)`, which gives the i-th write, or nullptr, are in memory that anybody may change.
template <StripeMemory M, JournalMutation kMutation = JournalMutation::none, typename WriteAt>
Repair repair(M& memory, u64 owner, Journal::Head& head, WriteAt write_at) noexcept {
    const JournalState state{head.state.load(Order::acquire)};
    Repair result;
    if (state.is_idle())
        return result;
    const u64 count = runtime::min<u64>(head.count.load(Order::acquire), Journal::kMostWrites);
    const u64 stripes = stripes_in(0, memory.size());
    // A version that the clock has not given would stop all who read it.
    const bool happened = state.is_committed() && state.version() <= clock_now(memory.clock());
    const u64 version = happened ? state.version() : clock_advance(memory.clock());
    result.finished = happened;
    for (u64 i = 0; i < count; ++i) {
        const StripeWrite* const shared = write_at(static_cast<u32>(i));
        if (shared == nullptr)
            continue;
        StripeWrite write;
        runtime::copy_from_shared(reinterpret_cast<u8*>(&write),
                                  reinterpret_cast<const u8*>(shared), sizeof(write));
        StripePlace place;
        if (write.stripe >= stripes || !find_at(memory, write.stripe, place))
            continue;
        step(memory, Step::lock_orec, write.stripe);
        const bool held = place.orec->load(Order::acquire) == Orec::locked(owner).word();
        // Also for one that it has released: it wakes the waiters later.
        if (happened)
            result.written |= wait_bit(write.stripe);
        if (!held && kMutation != JournalMutation::repair_applies_all)
            continue;
        if (happened && write.mask != 0 && kMutation != JournalMutation::repair_forgets) {
            runtime::fence(Order::release);
            store_masked(memory, write.stripe, place.data, write.mask, write.bytes);
        }
        if (!happened && kMutation == JournalMutation::repair_keeps_locks)
            continue;
        step(memory, Step::release_orec, write.stripe);
        if (held)
            place.orec->store(
                Orec::unlocked(kMutation == JournalMutation::repair_old_version ? 0 : version)
                    .word(),
                Order::release);
    }
    step(memory, Step::journal_idle, 0);
    head.state.store(JournalState::idle().word(), Order::release);
    return result;
}

} // namespace stm::protocol
