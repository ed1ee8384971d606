// SPDX-License-Identifier: LGPL-2.1-or-later
// The commit of a transaction that a program has run by itself, in one region or in several.
//
// Each part has what was read and what is to be written in one region, and the snapshot at which
// the reads were valid. Nothing of it is trusted. The commit does L, C, V, F, A and R of the proof
// in transaction.hpp, and K of old_versions.hpp, each of them for all parts before the next one:
//
// - V needs no versions. A stripe that is unlocked and not newer than the snapshot was read at the
//   version that it still has, by 2. there. If this commit has locked it, the same holds for the
//   word that it locked over.
// - In one region, V may be left out if no other commit came between snapshot and C. With several
//   regions it is always done, after C in all of them.
// - With several regions C has two rounds: each clock is advanced, and then each but the last one
//   again. The transaction takes effect when the last clock is advanced in the first round. Then
//   everything written is locked, and everything read is valid, because V finds it so later. See
//   "Several clocks".
// - Two commits that lock stripes in several regions may each hold what the other one wants. Each
//   gives up after a bounded wait.
//
// A commit that writes nothing has only V, which finds everything valid at the moment when V began.
//
// Several clocks
// --------------
// Let a commit in one region take effect at its C, a commit in several ones at the moment above,
// and a transaction that only reads when it loads its snapshot, or when its last V begins. Then
// whatever depends on another transaction takes effect after it, so the moments are one serial
// order, in which each transaction lies between its begin and its end. Say a commit W in several
// regions takes effect at M.
// - A snapshot that shows W in one region was loaded after the version of W there, so after M. One
//   that belongs to older bytes of W's stripes was loaded, and these bytes found unlocked after
//   that, before L of W: before M.
// - A commit that has validated read what W overwrites: its V, so its C, lies before L of W. It
//   read what W wrote: its C lies after R of W. The same holds for what W has read or overwritten.
// - A commit without V, whose snapshot is S, read what W overwrites. If W's first advance of that
//   clock comes before S was loaded, W's lock came before, too, and the stripe was not accepted. If
//   it comes between S and C, V is done. So it comes after C, and M comes later still.
//
// Both rounds are needed. With the second one alone W may show its version in one region, and a
// transaction that reads there sees W and then misses what another one commits; that one reads what
// a commit without V overwrites in the other region, where W's clock stands still, and that commit
// has read what W has locked: a circle. With the first one alone a snapshot shows W before M.
//
// The locks of one commit and the loads of another one's V may concern different regions, which
// have no clock in common. So with several regions V begins with a sequentially consistent fence:
// of two commits of which each reads what the other one writes, one sees the other's lock. On x86
// the advance of the clock is such a fence already.
#pragma once

#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/clock.hpp"
#include "runtime/protocol/commit_steps.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/records.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/stripe_sets.hpp"
#include "runtime/protocol/wait_filter.hpp"
#include "runtime/support/span.hpp"

namespace stm::protocol {

// Where a stripe to be written is, and the word of its record that the commit has locked over.
struct WritePlace {
    Atomic<u64>* orec;
    u8* data;
    u64 replaced;
};

// One region's part. The order of calls: is_well_formed(), materialise(), commit_sets().
template <StripeMemory M, Mutation kMutation = Mutation::none>
class SetCommit {
public:
    // No other transaction of the region has the owner. `places` has room for one for each
    // write. All of it is private memory that nobody changes meanwhile.
    SetCommit(M& memory, u64 owner, u64 snapshot, runtime::Span<const u64> reads,
              runtime::Span<const StripeWrite> writes, WritePlace* places) noexcept
        : memory_(memory), owner_(owner), snapshot_(snapshot),
          reads_(reads), log_{writes.data(), places, static_cast<u32>(writes.size())} {}

    // Whether the sets fit the region, and the writes are in ascending order. This comes first, and
    // everything else only if they do.
    [[nodiscard, gnu::always_inline]] bool is_well_formed() noexcept {
        // Copies: nothing tells the compiler that what is stored below is not part of them.
        const runtime::Span<const u64> reads = reads_;
        const runtime::Span<const StripeWrite> writes = this->writes();
        const u64 stripes = stripes_in(0, memory_.size());
        u64 count = 0;
        for (const u64 word : reads) {
            const ReadRun run = ReadRun::from_word(word);
            if (run.first + run.count > stripes) // both are far below 2^63
                return false;
            count += run.count;
        }
        stripes_read_ = count;
        u64 next = 0;
        for (const StripeWrite& write : writes) {
            if (write.stripe < next || write.stripe >= stripes || write.mask == 0)
                return false;
            next = write.stripe + 1;
        }
        return true;
    }

    // How many stripes it has read, at most.
    [[nodiscard]] u64 stripes_read() const noexcept { return stripes_read_; }
    [[nodiscard]] u32 stripes_written() const noexcept { return log_.size(); }
    // What it costs, as kMaxConcurrentCost counts.
    [[nodiscard]] u64 cost() const noexcept {
        const u64 of_stripe = kCostOfStripe + (wants_old_versions(memory_) ? kCostOfOldStripe : 0);
        return stripes_written() * of_stripe + stripes_read() * u64{kCostOfRecord};
    }

    // For a commit that was made without places; before materialise().
    void use(WritePlace* places) noexcept { log_.places = places; }

    // Allocates the pages that it writes. May sleep.
    [[nodiscard, gnu::always_inline]] runtime::Status materialise() noexcept {
        u64 before = ~u64{0};
        StripePlace found{};
        WritePlace* place = log_.places;
        for (const StripeWrite& write : writes()) {
            if (page_of_stripe(write.stripe) != page_of_stripe(before)) {
                const runtime::Status status = materialise_at(memory_, write.stripe, found);
                if (!status.ok())
                    return status;
            } else {
                found.orec += write.stripe - before;
                found.data += (write.stripe - before) * kStripeBytes;
            }
            before = write.stripe;
            place->orec = found.orec;
            place->data = found.data;
            ++place;
        }
        return runtime::kSuccess;
    }

    [[nodiscard]] M& memory() noexcept { return memory_; }
    // After a commit: its version, or 0 if it has written nothing here.
    [[nodiscard]] u64 version() const noexcept { return version_; }
    [[nodiscard]] u64 owner() const noexcept { return owner_; }
    [[nodiscard]] u64 snapshot() const noexcept { return snapshot_; }
    // What was read (ReadRun), and what is to be written.
    [[nodiscard]] runtime::Span<const u64> reads() const noexcept { return reads_; }
    [[nodiscard]] runtime::Span<const StripeWrite> writes() const noexcept {
        return {log_.writes, log_.count};
    }
    // After a conflict: the stripe that was in the way.
    [[nodiscard]] u64 in_the_way() const noexcept { return in_the_way_; }
    // After a commit: the waiters to wake.
    [[nodiscard]] WaitMask waiters() noexcept {
        WaitFilter& filter = memory_.wait_filter();
        if (version_ == 0 || filter.idle()) [[likely]]
            return 0;
        WaitMask mask = 0;
        for (const StripeWrite& write : writes())
            mask |= wait_bit(write.stripe);
        return filter.awaited(mask);
    }

    // The keys of a wait until something that was read changes; 0: nothing was read.
    [[nodiscard]] WaitMask wait_mask() const noexcept {
        WaitMask mask = 0;
        for (const u64 word : reads_) {
            const ReadRun run = ReadRun::from_word(word);
            for (u64 i = 0; i < run.count && mask != ~WaitMask{0}; ++i)
                mask |= wait_bit(run.first + i);
        }
        return mask;
    }

    // Whether everything read is valid. Any thread may ask, while nothing is committed.
    [[nodiscard]] bool is_unchanged() const noexcept {
        for (const u64 word : reads_) {
            const ReadRun run = ReadRun::from_word(word);
            for (u64 i = 0; i < run.count; ++i) {
                const Atomic<u64>* const orec = memory_.orec(run.first + i);
                if (orec == nullptr)
                    continue;
                const Orec now{orec->load(Order::acquire)};
                if (now.is_locked() || now.version() > snapshot_)
                    return false;
            }
        }
        return true;
    }

    // -- The steps of commit_sets(); validate() also alone --

    [[gnu::always_inline]] AbortReason lock(Path path, u32& spins) noexcept {
        Steps steps = this->steps(path);
        // What was not read may have any version.
        const AbortReason reason =
            steps.lock_all(spins, [](const auto&, Orec) noexcept { return true; });
        in_the_way_ = steps.in_the_way();
        return reason;
    }
    // Whether there is something to be written. A second time makes the version a newer one.
    bool advance() noexcept {
        if (log_.size() == 0)
            return false;
        step(memory_, Step::advance_clock, 0);
        version_ = clock_advance(memory_.clock());
        return true;
    }
    // Whether no other commit came between the snapshot and this one.
    [[nodiscard]] bool follows_its_snapshot() const noexcept { return version_ == snapshot_ + 1; }
    [[gnu::always_inline]] AbortReason validate(Path path) noexcept {
        if constexpr (kMutation == Mutation::no_commit_validation)
            return AbortReason::none;
        return has_read_what_it_writes() ? AbortReason::none : validate_all(path);
    }
    [[gnu::noinline]] AbortReason validate_all(Path path) noexcept {
        const Steps steps = this->steps(path);
        u32 index = 0;
        for (const u64 word : reads_) {
            const ReadRun run = ReadRun::from_word(word);
            for (u64 stripe = run.first; stripe < run.first + run.count;) {
                const u64 rest = run.first + run.count - stripe;
                const u32 count = static_cast<u32>(
                    runtime::min(rest, kStripesPerPage - stripe % kStripesPerPage));
                if (!(count == 1 ? is_valid(stripe) : are_valid(stripe, count)))
                    return AbortReason::commit_validation;
                stripe += count;
                steps.batch_done(index++);
            }
        }
        return AbortReason::none;
    }
    // All steps of commit_sets(), for a part that is the only one.
    [[gnu::always_inline]] AbortReason commit_alone(Path path, u32 spins) noexcept {
        Steps steps = this->steps(path); // a copy: see CommitSteps
        const AbortReason locked =
            steps.lock_all(spins, [](const auto&, Orec) noexcept { return true; });
        if (locked != AbortReason::none) [[unlikely]] {
            in_the_way_ = steps.in_the_way();
            return locked;
        }
        advance();
        const AbortReason reason = follows_its_snapshot() ? AbortReason::none : validate(path);
        if (reason != AbortReason::none) [[unlikely]] {
            restore(path);
            return reason;
        }
        step(memory_, Step::publish, 0);
        if (wants_old_versions(memory_)) [[unlikely]]
            this->steps(path).keep_all(version_); // of its own, or the copy would be in memory
        steps.apply_all();
        steps.release_all(version_);
        return AbortReason::none;
    }

    [[gnu::always_inline]] void make_old_stripes(Path path) noexcept {
        if (wants_old_versions(memory_)) [[unlikely]]
            steps(path).make_old_stripes();
    }
    [[gnu::always_inline]] void keep(Path path) noexcept {
        if (wants_old_versions(memory_)) [[unlikely]]
            steps(path).keep_all(version_);
    }
    [[gnu::always_inline]] void apply(Path path) noexcept { steps(path).apply_all(); }
    [[gnu::always_inline]] void release(Path path) noexcept { steps(path).release_all(version_); }
    void restore(Path path) noexcept {
        steps(path).restore_all();
        version_ = 0;
    }

private:
    static constexpr u32 kFewReads = 16;

    struct Entry {
        u64 stripe;
        ByteMask mask;
        const u8* bytes;
        WritePlace& place;
        u64& replaced;
    };
    struct Log {
        const StripeWrite* writes;
        WritePlace* places;
        u32 count;

        [[nodiscard]] u32 size() const noexcept { return count; }
        [[nodiscard, gnu::always_inline]] Entry in_order(u32 position) const noexcept {
            const StripeWrite& write = writes[position];
            WritePlace& place = places[position];
            return {write.stripe, write.mask, write.bytes, place, place.replaced};
        }
    };
    using Steps = CommitSteps<M, Log, kMutation>;
    [[nodiscard]] Steps steps(Path path) noexcept { return {memory_, owner_, log_, path}; }

    // Whether all that was read is among what it has locked, in the same order, and valid. That is
    // so with most small transactions, and looks at nothing that is shared.
    [[nodiscard, gnu::always_inline]] bool has_read_what_it_writes() const noexcept {
        const runtime::Span<const u64> reads = reads_;
        const u32 count = static_cast<u32>(reads.size());
        if (count > runtime::min(log_.size(), kFewReads))
            return false;
        for (u32 i = 0; i < count; ++i) {
            if (reads.data()[i] != log_.writes[i].stripe ||
                Orec{log_.places[i].replaced}.version() > snapshot_) [[unlikely]]
                return false;
        }
        return true;
    }

    // A commit that writes something here has locked it.
    [[nodiscard]] bool is_valid(u64 stripe) noexcept {
        step(memory_, Step::validate_orec, stripe);
        Orec now = Orec::unlocked(0);
        if (const WritePlace* const own = own_place(stripe); own != nullptr)
            now = Orec{own->replaced};
        else if (const Atomic<u64>* const orec = memory_.orec(stripe); orec != nullptr)
            now = Orec{orec->load(Order::acquire)};
        if constexpr (kMutation == Mutation::validation_ignores_locks) {
            if (now.is_locked())
                return true;
        }
        if (!now.is_locked() && now.version() <= snapshot_) [[likely]]
            return true;
        in_the_way_ = stripe;
        return false;
    }

    // The same for stripes of one page.
    [[nodiscard]] bool are_valid(u64 first, u32 count) noexcept {
        step(memory_, Step::validate_orec, first);
        const Atomic<u64>* const orecs = memory_.orec(first);
        if (orecs == nullptr || none_newer(orecs, count, snapshot_)) [[likely]]
            return true;
        for (u32 i = 0; i < count; ++i) {
            Orec now{orecs[i].load(Order::acquire)};
            if constexpr (kMutation == Mutation::validation_ignores_locks) {
                if (now.is_locked())
                    continue;
            }
            if (now == Orec::locked(owner_)) {
                // In a direct region anybody may store a record that looks like one of these locks.
                const WritePlace* const own = own_place(first + i);
                now = own == nullptr ? now : Orec{own->replaced};
            }
            if (now.is_locked() || now.version() > snapshot_) {
                in_the_way_ = first + i;
                return false;
            }
        }
        return true;
    }

    // The place of the stripe if it is to be written, or nullptr.
    [[nodiscard]] const WritePlace* own_place(u64 stripe) const noexcept {
        if (log_.size() == 0)
            return nullptr;
        u32 low = 0;
        for (u32 high = log_.size(); high - low > 1;) {
            const u32 middle = low + (high - low) / 2;
            (log_.writes[middle].stripe <= stripe ? low : high) = middle;
        }
        return log_.writes[low].stripe == stripe ? &log_.places[low] : nullptr;
    }

    M& memory_;
    const u64 owner_;
    const u64 snapshot_;
    const runtime::Span<const u64> reads_;
    Log log_;
    u64 stripes_read_ = 0;
    u64 version_ = 0;
    u64 in_the_way_ = 0;
};

// What commit_sets() answers: the reason, and in which part.
struct SetsResult {
    AbortReason reason;
    u32 part;
};

// C for all parts: see "Several clocks".
template <typename Part>
[[gnu::always_inline]] inline void advance_clocks(Part* const* parts, u32 count) noexcept {
    const Part* last = nullptr;
    for (u32 i = 0; i < count; ++i) {
        if (parts[i]->advance())
            last = parts[i];
    }
    for (u32 i = 0; i < count; ++i) {
        if (parts[i] != last)
            parts[i]->advance();
    }
    runtime::fence(Order::seq_cst);
}

// All steps for several parts. Sets `part` to the one that is in the way.
template <typename Part>
[[nodiscard, gnu::always_inline]] inline AbortReason
commit_together(Part* const* parts, u32 count, Path path, u32 spins, u32& part) noexcept {
    u32 locked = 0;
    AbortReason reason = AbortReason::none;
    while (locked < count && reason == AbortReason::none) {
        part = locked;
        reason = parts[part]->lock(path, spins); // all, or none
        if (reason == AbortReason::none)
            ++locked;
    }
    if (reason == AbortReason::none)
        advance_clocks(parts, count);
    for (u32 i = 0; i < count && reason == AbortReason::none; ++i) {
        part = i;
        reason = parts[part]->validate(path);
    }
    if (reason == AbortReason::none) [[likely]] {
        step(parts[0]->memory(), Step::publish, 0);
        for (u32 i = 0; i < count; ++i)
            parts[i]->keep(path);
        for (u32 i = 0; i < count; ++i)
            parts[i]->apply(path);
        for (u32 i = 0; i < count; ++i)
            parts[i]->release(path);
    } else {
        for (u32 i = 0; i < locked; ++i)
            parts[i]->restore(path);
    }
    return reason;
}

// Commits all parts together, or none. On the serial path each of the regions is this transaction's
// alone; otherwise it has entered the gate of each one that it writes to, and all of them together
// cost at most kMaxConcurrentCost. Inlined, so that a caller with one region has no loops.
template <typename Part>
[[nodiscard, gnu::always_inline]] inline SetsResult commit_sets(Part* const* parts, const u32 count,
                                                                const Path path) noexcept {
    auto& memory = parts[0]->memory();
    for (u32 i = 0; i < count; ++i)
        parts[i]->make_old_stripes(path);
    if (path == Path::concurrent)
        memory.begin_critical();
    u32 spins = runtime::min(memory.spin_limit(), kMaxConcurrentSpins);
    AbortReason reason = AbortReason::none;
    u32 part = 0; // the one that is in the way
    if (count == 1)
        reason = parts[0]->commit_alone(path, spins);
    else
        reason = commit_together(parts, count, path, spins, part);
    if (path == Path::concurrent)
        memory.end_critical();
    for (u32 i = 0; i < count; ++i)
        free_spare_old_stripes(parts[i]->memory());
    return {reason, part};
}

} // namespace stm::protocol
