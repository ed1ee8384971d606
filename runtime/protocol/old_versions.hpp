// SPDX-License-Identifier: LGPL-2.1-or-later
// Old versions of stripes, for transactions that read for long.
//
// Such a transaction fixes its snapshot. From then on it does not move it any more, but reads what
// the region had then, whatever is committed meanwhile. A commit that is about to overwrite a
// stripe keeps the old bytes if a fixed snapshot may need them.
//
// Why it is right
// ---------------
// The numbers and letters continue those of the proof in transaction.hpp.
//
// A snapshot is fixed while the gate is closed and no commit is inside: the reader loads the clock
// as S, and the snapshot is admitted. Then the gate opens, and the reader checks what it has read
// so far (3., with S for S'). A commit does K between V and F. For each stripe that it has locked
// over a version `from` below wanted_below(), which is the newest fixed snapshot and one more, it
// keeps the 64 bytes with `from` and with its own version as `until`.
//
// A reader with a fixed snapshot S accepts a stripe as by 1. and 2. Where that is not possible,
// because the stripe is newer than S or locked, it takes an old version with from <= S < until.
//
// 7. What it takes is right. The bytes were copied by a commit that had locked the stripe over
//    `from` and had not stored anything yet, so they are those of all snapshots from `from` to
//    until - 1. Two old versions of a stripe have no snapshot in common.
// 8. It finds what it needs, unless that was given up. Let w be the first version of the stripe
//    above S. The commit of w was not inside when S was loaded, or S would not be below w. So it
//    entered after the gate had opened again, and sees that versions up to S are wanted. It has
//    locked the stripe over a version not above S, since w is the first above it. So it does K for
//    it, before R. Who finds the record newer than S, and unlocked, finds what K has kept; who
//    finds it locked looks again.
// 9. Nothing else is kept: a stripe whose version is above all fixed snapshots is not, and so each
//    stripe is kept once at most between two moments at which a snapshot is fixed.
//
// Keeping may fail, for lack of memory or at a bound. Then the old version is missing, its reader
// finds none, and ends; it never takes a wrong one. So nothing depends on the order in which a
// snapshot ends, and commits still keep what nobody wants any more.
//
// A snapshot belongs to one region. A commit in several regions is inside the gates of all those
// that it writes to, and keeps in each what is wanted there, with the version that it has there in
// the end. So a fixed snapshot shows all of its stripes in a region, or none, as any other does.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/allocate.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/hash.hpp"
#include "runtime/support/intrusive_list.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::protocol {

// What a stripe had from one version on, until another one replaced it.
struct OldStripe {
    u64 stripe;
    u64 from;
    u64 until;
    OldStripe* next;
    u8 bytes[kStripeBytes];

    [[nodiscard]] bool is_of(u64 snapshot) const noexcept {
        return from <= snapshot && snapshot < until;
    }
};

// The snapshot of a transaction that has fixed it.
class FixedSnapshot : public runtime::ListLink<FixedSnapshot> {
public:
    [[nodiscard]] u64 time() const noexcept { return time_; }

private:
    friend class OldVersions;
    u64 time_ = 0;
};

// The old versions of one region, and the snapshots that want them. It owns neither.
//
// Commits call wanted_below() and keep(), many at a time. The caller has a lock for everything
// else, so one thread at a time does that.
class OldVersions : runtime::NonCopyable {
public:
    // Heads of lists, each of the old stripes of some pages.
    static constexpr u32 kBuckets = 4096;
    using Buckets = runtime::UniqueArray<runtime::Atomic<OldStripe*>>;
    // Error::no_memory.
    [[nodiscard]] static runtime::Result<Buckets> make_buckets() noexcept {
        return runtime::make_array<runtime::Atomic<OldStripe*>>(kBuckets);
    }

    // -- Of commits. Critical; any number of threads --

    // Versions from this one on are not wanted; 0: none is. It grows only while no commit is inside
    // the gate.
    [[nodiscard, gnu::always_inline]] u64 wanted_below() const noexcept {
        return wanted_below_.load(runtime::Order::relaxed);
    }
    // K for one stripe, whose record the caller has locked. Everything but `next` is set, and
    // nobody changes it any more.
    void keep(OldStripe& old) noexcept {
        runtime::Atomic<OldStripe*>& head = buckets_[bucket_of(old.stripe)];
        old.next = head.load(runtime::Order::relaxed);
        while (!head.compare_exchange(old.next, &old, runtime::Order::acq_rel,
                                      runtime::Order::relaxed)) {
        }
    }

    // -- Under the caller's lock --

    // Whether it has what the first snapshot needs, and every one after it uses; and that.
    [[nodiscard]] bool is_ready() const noexcept { return !buckets_.empty(); }
    void get_ready(Buckets&& buckets) noexcept {
        if (!is_ready())
            buckets_ = runtime::move(buckets);
    }

    // A snapshot of now is fixed: the clock stands at `time`, the gate is closed, and no commit is
    // inside. It is ready.
    void admit(FixedSnapshot& snapshot, u64 time) noexcept {
        snapshot.time_ = time;
        snapshots_.push_back(snapshot);
        wanted_below_.store(time + 1, runtime::Order::relaxed);
    }
    // It is not needed any more; collect() follows. Nothing happens if it was ended before.
    void dismiss(FixedSnapshot& snapshot) noexcept {
        if (!runtime::IntrusiveList<FixedSnapshot>::is_linked(snapshot))
            return;
        snapshots_.remove(snapshot);
        wanted_below_.store(snapshots_.empty() ? 0 : snapshots_.back()->time_ + 1,
                            runtime::Order::relaxed);
        // A commit that has kept something looks whether it was still wanted: one of the two finds
        // it. See was_for_nothing().
        runtime::fence(runtime::Order::seq_cst);
    }
    // Ends the oldest one, whose reader does not know yet. False: there is none.
    [[nodiscard]] bool end_oldest() noexcept {
        FixedSnapshot* const oldest = snapshots_.front();
        if (oldest != nullptr)
            dismiss(*oldest);
        return oldest != nullptr;
    }
    // What the snapshot needs of the stripe, or null: nobody has kept it, or it was not wanted.
    [[nodiscard]] const OldStripe* find(u64 stripe, u64 snapshot) const noexcept {
        const OldStripe* old = buckets_[bucket_of(stripe)].load(runtime::Order::acquire);
        while (old != nullptr && (old->stripe != stripe || !old->is_of(snapshot)))
            old = old->next;
        return old;
    }
    // Takes out what no snapshot needs, of kCollected lists from `first` on, and returns it as a
    // list: the caller frees it. Commits may go on meanwhile.
    static constexpr u32 kCollected = 64;
    [[nodiscard]] OldStripe* collect(u32 first) noexcept {
        OldStripe* taken = nullptr;
        for (u32 i = first; i < first + kCollected && i < buckets_.size(); ++i)
            collect_from(buckets_[i], taken);
        return taken;
    }

    // After a commit that has kept something, behind its last release; no lock. Whether nobody may
    // have collected that: no snapshot is left.
    [[nodiscard]] bool was_for_nothing() const noexcept {
        runtime::fence(runtime::Order::seq_cst);
        return wanted_below() == 0;
    }

private:
    // All stripes of a page are in one list, because most readers want a page. A program cannot
    // know which pages have the same one.
    [[nodiscard]] u32 bucket_of(u64 stripe) const noexcept {
        const u64 seed = reinterpret_cast<runtime::uptr>(buckets_.data());
        return static_cast<u32>(runtime::mix(page_of_stripe(stripe) + seed) % kBuckets);
    }

    [[nodiscard]] bool is_needed(const OldStripe& old) const noexcept {
        for (const FixedSnapshot& snapshot : snapshots_) {
            if (old.is_of(snapshot.time_))
                return true;
        }
        return false;
    }

    // Commits push to the head only, and this is the only one that takes out. So a link behind the
    // head changes here alone, and a head that is still the same can be taken out.
    void collect_from(runtime::Atomic<OldStripe*>& head, OldStripe*& taken) noexcept {
        const auto take = [&taken](OldStripe* old) noexcept {
            old->next = taken;
            taken = old;
        };
        OldStripe* first = head.load(runtime::Order::acquire);
        while (first != nullptr && !is_needed(*first)) {
            OldStripe* const next = first->next;
            if (!head.compare_exchange(first, next, runtime::Order::acq_rel,
                                       runtime::Order::acquire))
                continue;
            take(first);
            first = next;
        }
        if (first == nullptr)
            return;
        for (OldStripe** link = &first->next; *link != nullptr;) {
            OldStripe* const old = *link;
            if (is_needed(*old)) {
                link = &old->next;
            } else {
                *link = old->next;
                take(old);
            }
        }
    }

    // Every commit loads it; only snapshots change it.
    runtime::Atomic<u64> wanted_below_{0};
    Buckets buckets_;
    runtime::IntrusiveList<FixedSnapshot> snapshots_; // the oldest one first
};

// What a memory has whose commits keep old versions.
//
// old_versions()      Those of the region. Critical.
// make_old_stripe(p)  Room for one, or null: there is none, or a bound is reached. Called inside
//                     the gate, or with the token, before the first lock of a commit on that path.
//                     Does not sleep for long on the concurrent path, since others may wait for the
//                     gate.
// free_old_stripe(o)  Frees one that was not kept. Never critical.
// spare_old_stripe()  Where a commit has the ones that it has made and not kept: a list. One commit
//                     at a time uses it.
template <typename M>
concept KeepsOldVersions = requires(M& memory, OldStripe* old, bool may_sleep) {
    { memory.old_versions() } -> runtime::same_as<OldVersions&>;
    { memory.make_old_stripe(may_sleep) } -> runtime::same_as<OldStripe*>;
    { memory.free_old_stripe(old) } -> runtime::same_as<void>;
    { memory.spare_old_stripe() } -> runtime::same_as<OldStripe*&>;
};

// Whether a commit inside the gate has to keep anything.
template <typename M>
[[nodiscard, gnu::always_inline]] inline bool
wants_old_versions([[maybe_unused]] M& memory) noexcept {
    if constexpr (KeepsOldVersions<M>)
        return memory.old_versions().wanted_below() != 0;
    else
        return false;
}

// What it has beside that whose transactions fix snapshots.
//
// stop_commits()      Closes the gate for a moment, and takes the lock of old_versions(), which are
//                     ready. False: it cannot be done at once, and nothing has happened. Waits no
//                     longer than a concurrent commit takes.
// resume_commits()    The end of that.
// find_old(s, t, o)   Copies what the snapshot t needs of the stripe. False: there is nothing.
// dismiss(snapshot)   It is not needed any more.
template <typename M>
concept FixesSnapshots = KeepsOldVersions<M> &&
    requires(M& memory, u64 number, OldStripe& old, FixedSnapshot& snapshot) {
    { memory.stop_commits() } -> runtime::same_as<bool>;
    { memory.resume_commits() } -> runtime::same_as<void>;
    { memory.find_old(number, number, old) } -> runtime::same_as<bool>;
    { memory.dismiss(snapshot) } -> runtime::same_as<void>;
};

} // namespace stm::protocol
