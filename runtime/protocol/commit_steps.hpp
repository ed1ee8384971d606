// SPDX-License-Identifier: LGPL-2.1-or-later
// The steps of a commit that change a region: L, A and R of the proof in transaction.hpp, P of
// page_changes.hpp, K of old_versions.hpp, and what a commit does that gives up. Whoever commits
// puts the clock and the validation between them.
#pragma once

#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/growing_array.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/old_versions.hpp"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/page_changes.hpp"
#include "runtime/protocol/shared_stripe.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

enum class Path : runtime::u8 { concurrent, serial };

// One commit to one region. The log has size() stripes, and in_order(i) gives the i-th in ascending
// order: its `stripe`, `mask` and `bytes`, and `replaced`, where the commit keeps the word of the
// record that it locks over. Log may be a reference; a small one is better copied, so that the
// compiler need not look at it again after each access to shared memory.
template <StripeMemory M, typename Log, Mutation kMutation = Mutation::none>
class CommitSteps {
public:
    CommitSteps(M& memory, u64 owner, Log log, Path path) noexcept
        : memory_(memory), owner_(owner), log_(log), path_(path) {}

    // Makes room for the old versions that it will have to keep: inside the gate, or with the
    // token, before the first lock. Behind the last release, or when it has given up,
    // free_spare_old_stripes() follows. Where there is no room, fixed snapshots end early.
    [[gnu::always_inline]] void make_old_stripes() noexcept {
        if (wants_old_versions(memory_)) [[unlikely]]
            make_old_stripes_wanted();
    }

    // Locks all stripes, and counts each page as changed when its first one is; or locks none.
    // accepts(write, now) tells whether the commit may still succeed with that record, which is
    // unlocked: otherwise commit_validation. commit_locked: another commit kept one locked for all
    // of `spins`, the turns that are left for this commit's waits.
    //
    // In ascending order, so two commits that want the same stripes do not each hold what the other
    // one waits for. The wait is bounded, so this is for speed alone.
    template <typename Accepts>
    [[gnu::always_inline]] AbortReason lock_all(u32& spins, Accepts accepts) noexcept {
        const u32 count = log_.size();
        PageChanges* const changes = counters_of(memory_);
        u64 page = kNoPage; // that was counted last
        for (u32 i = 0; i < count; ++i) {
            auto&& write = log_.in_order(i);
            const AbortReason reason = lock(write, spins, accepts);
            if (reason != AbortReason::none) {
                in_the_way_ = write.stripe;
                restore(i);
                return reason;
            }
            if (changes != nullptr && page_of_stripe(write.stripe) != page) {
                page = page_of_stripe(write.stripe);
                count_change(*changes, page);
            }
            batch_done(i);
        }
        return AbortReason::none;
    }
    // After lock_all() has failed: the stripe that it could not lock.
    [[nodiscard]] u64 in_the_way() const noexcept { return in_the_way_; }

    // K: keeps what fixed snapshots may need of the stripes, which are locked and not yet written
    // to. `version`: of this commit, which has validated.
    [[gnu::always_inline]] void keep_all(u64 version) noexcept {
        if (kMutation != Mutation::keeps_no_old_versions && wants_old_versions(memory_))
            [[unlikely]]
            keep_wanted(version);
    }

    [[gnu::always_inline]] void apply_all() noexcept {
        // F of the proof: a thread that sees a store of data must see the locks.
        runtime::fence(Order::release);
        const u32 count = log_.size();
        for (u32 i = 0; i < count; ++i) {
            auto&& write = log_.in_order(i);
            store_masked(memory_, write.stripe, data_of(write), write.mask, write.bytes);
            batch_done(i);
        }
    }

    [[gnu::always_inline]] void release_all(u64 version) noexcept {
        const u32 count = log_.size();
        for (u32 i = 0; i < count; ++i) {
            auto&& write = log_.in_order(i);
            step(memory_, Step::release_orec, write.stripe);
            const u64 word = kMutation == Mutation::old_version ? write.replaced
                                                                : Orec::unlocked(version).word();
            orec_of(write).store(word, Order::release);
            batch_done(i);
        }
    }

    // Gives back all locks. The data were not touched.
    void restore_all() noexcept { restore(log_.size()); }

    // After each stripe or record that was looked at.
    [[gnu::always_inline]] void batch_done(u32 index) const noexcept {
        if (path_ == Path::serial && (index + 1) % kMaxConcurrentStripes == 0) [[unlikely]]
            memory_.serial_batch();
    }

private:
    // A log may know the places already.
    template <typename Write>
    [[nodiscard, gnu::always_inline]] Atomic<u64>& orec_of(Write& write) const noexcept {
        if constexpr (requires { write.place.orec; })
            return *write.place.orec;
        else
            return *memory_.orec(write.stripe);
    }
    template <typename Write>
    [[nodiscard, gnu::always_inline]] u8* data_of(Write& write) const noexcept {
        if constexpr (requires { write.place.data; })
            return write.place.data;
        else
            return memory_.data(write.stripe);
    }

    template <typename Write, typename Accepts>
    [[gnu::always_inline]] AbortReason lock(Write&& write, u32& spins, Accepts& accepts) noexcept {
        Atomic<u64>& orec = orec_of(write);
        const Orec mine = Orec::locked(owner_);
        for (;;) {
            step(memory_, Step::lock_orec, write.stripe);
            u64 word = orec.load(Order::relaxed);
            if (!Orec{word}.is_locked()) {
                if (!accepts(write, Orec{word}))
                    return AbortReason::commit_validation;
                // Before the lock, because validate() in a signal handler, or a repair, looks for
                // it.
                write.replaced = word;
                signal_fence();
                if (orec.compare_exchange(word, mine.word(), Order::acquire, Order::relaxed))
                    return AbortReason::none;
            }
            if (spins == 0)
                return AbortReason::commit_locked;
            --spins;
            memory_.pause();
        }
    }

    [[gnu::always_inline]] void count_change(PageChanges& changes, u64 page) noexcept {
        step(memory_, Step::count_change, page * kStripesPerPage);
        changes.count(page);
    }

    // Whether a version from that record on is wanted. A record that another commit has locked may
    // get its old version back.
    [[nodiscard]] static bool is_wanted(Orec record, u64 below) noexcept {
        return record.is_locked() || record.version() < below;
    }

    [[gnu::noinline]] void make_old_stripes_wanted() noexcept {
        if constexpr (KeepsOldVersions<M>) {
            const u64 below = memory_.old_versions().wanted_below();
            OldStripe*& spare = memory_.spare_old_stripe();
            for (u32 i = 0; i < log_.size(); ++i) {
                auto&& write = log_.in_order(i);
                batch_done(i);
                if (!is_wanted(Orec{orec_of(write).load(Order::relaxed)}, below))
                    continue;
                OldStripe* const made = memory_.make_old_stripe(path_ == Path::serial);
                if (made == nullptr)
                    return;
                made->next = spare;
                spare = made;
            }
        }
    }

    [[gnu::noinline]] void keep_wanted([[maybe_unused]] u64 version) noexcept {
        if constexpr (KeepsOldVersions<M>) {
            OldVersions& old_versions = memory_.old_versions();
            const u64 below = old_versions.wanted_below();
            OldStripe*& spare = memory_.spare_old_stripe();
            for (u32 i = 0; i < log_.size() && spare != nullptr; ++i) {
                auto&& write = log_.in_order(i);
                const u64 from = Orec{write.replaced}.version();
                if (from < below) {
                    OldStripe* const old = spare;
                    spare = old->next;
                    old->stripe = write.stripe;
                    old->from = from;
                    old->until = version;
                    runtime::copy_from_shared(old->bytes, data_of(write), kStripeBytes);
                    step(memory_, Step::keep_old, write.stripe);
                    old_versions.keep(*old);
                }
                batch_done(i);
            }
        }
    }

    // Gives back the first `count` locks.
    void restore(u32 count) noexcept {
        for (u32 i = 0; i < count; ++i) {
            auto&& write = log_.in_order(i);
            step(memory_, Step::restore_orec, write.stripe);
            orec_of(write).store(write.replaced, Order::release);
        }
    }

    static constexpr u64 kNoPage = ~u64{0};

    M& memory_;
    const u64 owner_;
    Log log_;
    const Path path_;
    u64 in_the_way_ = 0;
};

// Frees what a commit has made for old versions and not kept.
template <typename M>
[[gnu::always_inline]] inline void free_spare_old_stripes([[maybe_unused]] M& memory) noexcept {
    if constexpr (KeepsOldVersions<M>) {
        for (OldStripe*& spare = memory.spare_old_stripe(); spare != nullptr;)
            [[unlikely]] {
                OldStripe* const old = spare;
                spare = old->next;
                memory.free_old_stripe(old);
            }
    }
}

} // namespace stm::protocol
