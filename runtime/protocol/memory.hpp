// SPDX-License-Identifier: LGPL-2.1-or-later
// What the engine needs from the region that it runs on. The module and the tests each have a type
// of their own. The engine is a template over it, so none of this costs an indirect call.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/wait_filter.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/result.hpp"

namespace stm::protocol {

// The contract of each function. "Critical" means that it is called between the first lock of a
// stripe and the last release, where nothing allocates, sleeps, faults or looks at signals.
//
// clock()            The region's version clock. Starts at 0. On a cache line of its own. Critical.
// orec(stripe)       The stripe's ownership record, or nullptr while its page is not allocated;
//                    then the stripe reads as zeros at version 0. Another transaction may allocate
//                    the page at any time. It appears as zeros with all-zero records, is published
//                    with release and found with acquire order, and does not disappear again while
//                    a transaction runs. stripe < ceil(size() / 64). Critical.
// data(stripe)       The 64 bytes of a stripe whose orec() was not nullptr, aligned to 8. Stripes
//                    of one page are adjacent. Critical.
// materialise(s)     Allocates the page of the stripe, unless it is there. May sleep; may fail
//                    with no_memory, no_space, over_quota or interrupted. Never critical.
// size()             Bytes in the region; does not change while a transaction runs.
// pause()            One turn of a bounded spin. Critical.
// spin_limit()       The turns of such a spin. It is useless to spin for longer than a concurrent
//                    commit takes, because its committer is not preempted. Critical.
// enter_commit()     Enters the gate as one of many; sleeps while a serial transaction is in
//                    progress. May fail (interrupted: a signal, canceled: a fatal one, timed_out).
// leave_commit()     Leaves the gate. Does not sleep, cannot fail.
// acquire_serial()   Closes the gate and sleeps until no commit is inside. Fails like
//                    enter_commit(), and then holds nothing.
// keep_serial()      Called before the commit of a transaction that holds the token. True: it
//                    keeps the token from now on. False: the token was taken away, so it holds
//                    nothing.
// release_serial()   Opens the gate and wakes those that wait for it. Does not sleep, cannot fail.
// begin_critical()   From here to end_critical() the engine is critical. It does at most what
//                    kMaxConcurrentCost and kMaxConcurrentSpins allow. The module disables
//                    preemption. A serial commit does not call it, because no other transaction
//                    competes with it for locks.
// end_critical()     The end of that.
// serial_batch()     Called by a serial commit after each kMaxConcurrentStripes stripes. The
//                    module gives up the processor if another thread wants it. Must not do more.
// wait_filter()      The announcements of transactions that wait for a change.
// wake(mask)         Wakes the waiters that have a bit of the mask. Called after the last release
//                    and end_critical(); a serial commit still holds its token. Does not sleep,
//                    cannot fail.
template <typename M>
concept StripeMemory = requires(M& memory, const M& constant, u64 stripe) {
    { memory.clock() } -> runtime::same_as<runtime::Atomic<u64>&>;
    { memory.orec(stripe) } -> runtime::same_as<runtime::Atomic<u64>*>;
    { memory.data(stripe) } -> runtime::same_as<u8*>;
    { memory.materialise(stripe) } -> runtime::same_as<runtime::Status>;
    { constant.size() } -> runtime::same_as<u64>;
    { memory.pause() } -> runtime::same_as<void>;
    { constant.spin_limit() } -> runtime::same_as<u32>;
    { memory.begin_critical() } -> runtime::same_as<void>;
    { memory.end_critical() } -> runtime::same_as<void>;
    { memory.serial_batch() } -> runtime::same_as<void>;
};

template <typename M>
concept Memory = StripeMemory<M> && requires(M& memory, WaitMask mask) {
    { memory.enter_commit() } -> runtime::same_as<runtime::Status>;
    { memory.leave_commit() } -> runtime::same_as<void>;
    { memory.acquire_serial() } -> runtime::same_as<runtime::Status>;
    { memory.keep_serial() } -> runtime::same_as<bool>;
    { memory.release_serial() } -> runtime::same_as<void>;
    { memory.wait_filter() } -> runtime::same_as<WaitFilter&>;
    { memory.wake(mask) } -> runtime::same_as<void>;
};

// Where a stripe is.
struct StripePlace {
    runtime::Atomic<u64>* orec;
    u8* data;
};

// Finds the place of the stripe. False: it has no record, so it counts as zeros. A memory that does
// both at once has a function find(s, place).
template <StripeMemory M>
[[nodiscard, gnu::always_inline]] inline bool find_at(M& memory, u64 stripe,
                                                      StripePlace& place) noexcept {
    if constexpr (requires { memory.find(stripe, place); }) {
        return memory.find(stripe, place);
    } else {
        place.orec = memory.orec(stripe);
        if (place.orec == nullptr)
            return false;
        place.data = memory.data(stripe);
        return true;
    }
}

// Allocates the page of the stripe, unless it is there, and sets the stripe's place. A memory that
// does both at once has a function materialise(s, place).
template <StripeMemory M>
[[nodiscard, gnu::always_inline]] inline runtime::Status
materialise_at(M& memory, u64 stripe, StripePlace& place) noexcept {
    if constexpr (requires { memory.materialise(stripe, place); }) {
        return memory.materialise(stripe, place);
    } else {
        const runtime::Status status = memory.materialise(stripe);
        if (status.ok())
            place = {memory.orec(stripe), memory.data(stripe)};
        return status;
    }
}

// What a commit does at most with preemption disabled. The sum decides how long a thread of a
// higher priority waits for its processor: less than 100 us, with nothing in the processor's
// caches. It is counted in records to be validated. tests/bench/critical measures what each is
// worth. A commit that costs more takes the serial path.
inline constexpr u32 kMaxConcurrentCost = 1536;
inline constexpr u32 kCostOfStripe = 6; // written: its record and its data, found, locked, stored
inline constexpr u32 kCostOfPage = 10;  // read as a whole: eight cache lines of records
inline constexpr u32 kCostOfRecord = 1; // of a stripe that was read
inline constexpr u32 kCostOfOldStripe = 6; // beside that, if its old bytes are to be kept

// So a commit locks at most so many stripes with preemption disabled.
inline constexpr u32 kMaxConcurrentStripes = kMaxConcurrentCost / kCostOfStripe;

// The turns for which such a commit waits for locks, all of them together: some 10 to 20 us.
inline constexpr u32 kMaxConcurrentSpins = 500;

// The accesses to shared memory. If the Memory has a function step(Step, u64), it is called before
// each of them, with the number of the stripe (clock steps: 0; data steps: the number of the 8-byte
// word in the region). A test suspends the transaction there. A Memory without that function pays
// nothing.
enum class Step : runtime::u8 {
    read_clock,    // begin, and an extension
    sample_orec,   // before the data are read
    read_data,     // one word
    resample_orec, // after the data were read
    validate_orec, // extension, validate(), commit
    lock_orec,
    count_change, // of a page: see page_changes.hpp
    read_changes, // how often a page was changed
    advance_clock,
    publish, // the point of no return: locked and validated
    write_data,
    release_orec, // with the new version
    restore_orec, // with the old one
    keep_old,     // the bytes of a stripe that a fixed snapshot may need: see old_versions.hpp
    find_old,     // and their reader
    // Of a direct commit (journal.hpp):
    journal_active,
    read_gate,
    journal_idle,
};

template <typename M>
concept SteppedMemory = requires(M& memory, u64 where) {
    memory.step(Step::publish, where);
};

template <typename M>
[[gnu::always_inline]] inline void step([[maybe_unused]] M& memory, [[maybe_unused]] Step what,
                                        [[maybe_unused]] u64 where) noexcept {
    if constexpr (SteppedMemory<M>)
        memory.step(what, where);
    // The same moments except the words of the data, which are copied as without it.
    else if constexpr (requires { memory.death_point(); })
        memory.death_point();
}

// Defects that tests plant, one at a time, to show that tests find them. The product has none.
enum class Mutation : runtime::u8 {
    none,
    no_commit_validation,     // commit without looking at the read set
    no_second_sample,         // accept data without looking at the orec again
    early_release,            // the new version is visible before the data
    late_clock,               // the clock is advanced after the validation
    unchecked_extension,      // a newer snapshot is adopted without validation
    old_version,              // a successful commit releases with the old version
    stale_absent,             // an absent page is read without entering the read set
    no_gate,                  // a serial commit does not close the gate
    keep_cancelled_writes,    // a nested cancel does not restore the overwritten bytes
    validation_ignores_locks, // a locked stripe counts as valid
    keeps_too_late,           // old versions are copied after the data were written
    keeps_no_old_versions,    // commits keep nothing for fixed snapshots
    fixes_without_check,      // a snapshot is fixed without looking at what was read
    fixes_beside_commits,     // a snapshot is fixed while commits are inside the gate
};

} // namespace stm::protocol
