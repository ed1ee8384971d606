// SPDX-License-Identifier: LGPL-2.1-or-later
// The owner's side of a direct commit: see journal.hpp, which has the protocol and its proof.
//
// It does what set_commit.hpp does for a part that is the only one. There the places of stripes are
// looked for before the first lock. Here they follow from their numbers, so a commit of a few words
// is some short loops over the writes.
#pragma once

#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/clock.hpp"
#include "runtime/protocol/journal.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/orec.hpp"
#include "runtime/protocol/set_commit.hpp"
#include "runtime/protocol/shared_stripe.hpp"
#include "runtime/protocol/stripe_sets.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/utility.hpp"

namespace stm::protocol {

// The user-space side of a region: its records are adjacent, and so are its bytes. closed() tells
// whether the gate is closed.
template <typename M>
concept DirectMemory = StripeMemory<M> && requires(M& memory) {
    { memory.closed() } -> runtime::same_as<bool>;
};

// What is to be committed: a part of a typed transaction.
template <typename S>
concept CommitSets = requires(const S& sets) {
    { sets.snapshot() } -> runtime::same_as<u64>;
    { sets.stripes_read() } -> runtime::same_as<runtime::Span<const u64>>;
    { sets.stripes_written() } -> runtime::same_as<runtime::Span<const StripeWrite>>;
};

// Behind a commit, when those that wait were woken.
template <typename M>
[[gnu::always_inline]] inline void end_direct(M& memory, Journal& journal) noexcept {
    step(memory, Step::journal_idle, 0);
    journal.head.state.store(JournalState::idle().word(), Order::release);
}

// A full barrier behind an exchange, which is one on x86.
[[gnu::always_inline]] inline void fence_behind_exchange() noexcept {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
    asm volatile("" : : : "memory");
#else
    runtime::fence(Order::seq_cst);
#endif
}

namespace detail {

// What the steps of one commit need. The writes are visited from `first` to `last` by `stride`, in
// ascending order, which keeps two commits from waiting for each other.
template <DirectMemory M, CommitSets S>
struct DirectAttempt {
    M& memory;
    Journal& journal;
    const S& sets;
    const u64 owner;
    const StripeWrite* const first;
    const StripeWrite* const last;
    const runtime::i64 stride;
    u64* const replaced; // the words that it has locked over, by position
    u64& conflicting;
};

// Calls visit(write) for each until it returns false. Returns the one for which it did, or nullptr.
template <typename Visit>
[[gnu::always_inline]] inline const StripeWrite*
each(const StripeWrite* write, const StripeWrite* last, runtime::i64 stride, Visit visit) noexcept {
    for (;; write += stride) {
        if (!visit(*write))
            return write;
        if (write == last)
            return nullptr;
    }
}

// Everything below is for what is rare. These functions end the commit, so that its short loops
// need to keep nothing for them.

// F, A and R, behind the point of no return.
template <JournalMutation kMutation, DirectMemory M, CommitSets S>
[[gnu::noinline]] inline AbortReason finish(const DirectAttempt<M, S> attempt,
                                            u64 version) noexcept {
    M& memory = attempt.memory;
    runtime::fence(Order::release); // F: see transaction.hpp
    each(attempt.first, attempt.last, attempt.stride, [&](const StripeWrite& write) noexcept {
        store_masked(memory, write.stripe, memory.data(write.stripe), write.mask, write.bytes);
        return true;
    });
    if constexpr (kMutation == JournalMutation::idle_early)
        attempt.journal.head.state.store(JournalState::idle().word(), Order::release);
    each(attempt.first, attempt.last, attempt.stride, [&](const StripeWrite& write) noexcept {
        step(memory, Step::release_orec, write.stripe);
        memory.orec(write.stripe)->store(Orec::unlocked(version).word(), Order::release);
        return true;
    });
    return AbortReason::none;
}

// Gives back the records of the writes before `stopped`, or of all. The data were not touched.
template <DirectMemory M, CommitSets S>
[[gnu::cold, gnu::noinline]] inline AbortReason give_up(const DirectAttempt<M, S> attempt,
                                                        const StripeWrite* stopped,
                                                        AbortReason reason, u64 stripe) noexcept {
    M& memory = attempt.memory;
    attempt.conflicting = stripe;
    const u64* replaced = attempt.replaced;
    each(attempt.first, attempt.last, attempt.stride, [&](const StripeWrite& write) noexcept {
        if (&write == stopped)
            return false;
        step(memory, Step::restore_orec, write.stripe);
        memory.orec(write.stripe)->store(*replaced++, Order::release);
        return true;
    });
    end_direct(memory, attempt.journal);
    return reason;
}

// V, when another commit came between the snapshot and this one, and the rest.
template <JournalMutation kMutation, DirectMemory M, CommitSets S>
[[gnu::noinline]] inline AbortReason validate(const DirectAttempt<M, S> attempt,
                                              u64 version) noexcept {
    M& memory = attempt.memory;
    Journal& journal = attempt.journal;
    const u64 count = attempt.sets.stripes_written().size();
    // Not initialised: filled as far as it is used.
    __attribute__((uninitialized)) WritePlace places[Journal::kMostWrites];
    for (u64 i = 0; i < count; ++i)
        places[i].replaced = attempt.replaced[i];
    // The journal has the writes in ascending order.
    SetCommit<M> commit(memory, attempt.owner, attempt.sets.snapshot(), attempt.sets.stripes_read(),
                        {journal.writes, count}, places);
    if (commit.validate(Path::concurrent) != AbortReason::none)
        return give_up(attempt, nullptr, AbortReason::commit_validation, commit.in_the_way());
    step(memory, Step::publish, 0);
    journal.head.state.store(JournalState::committed(version).word(), Order::release);
    return finish<kMutation>(attempt, version);
}

// L from a record on that another commit holds, or has just changed, and the rest. The wait is
// bounded.
template <JournalMutation kMutation, DirectMemory M, CommitSets S>
[[gnu::cold, gnu::noinline]] inline AbortReason
lock_rest(const DirectAttempt<M, S> attempt, const StripeWrite* write, u64* replaced) noexcept {
    M& memory = attempt.memory;
    u32 spins = memory.spin_limit();
    const u64 mine = Orec::locked(attempt.owner).word();
    const StripeWrite* const stopped =
        each(write, attempt.last, attempt.stride, [&](const StripeWrite& next) noexcept {
            Atomic<u64>& orec = *memory.orec(next.stripe);
            for (;; --spins, memory.pause()) {
                step(memory, Step::lock_orec, next.stripe);
                u64 word = orec.load(Order::relaxed);
                *replaced = word;
                if (!Orec{word}.is_locked() &&
                    orec.compare_exchange(word, mine, Order::acquire, Order::relaxed)) {
                    ++replaced;
                    return true;
                }
                if (spins == 0)
                    return false;
            }
        });
    if (stopped != nullptr)
        return give_up(attempt, stopped, AbortReason::commit_locked, stopped->stripe);
    step(memory, Step::advance_clock, 0);
    const u64 version = clock_advance(memory.clock());
    if constexpr (kMutation == JournalMutation::published_early)
        attempt.journal.head.state.store(JournalState::committed(version).word(), Order::release);
    return validate<kMutation>(attempt, version);
}

} // namespace detail

// Commits: at least one write, at most Journal::kMostWrites, in ascending order; two may be in any.
// `journal` is that of the calling thread, and idle. none: the caller wakes those that wait, and
// then calls end_direct(). A conflict sets `conflicting`, the stripe that was in the way.
// serial_wait: the gate is closed, and the kernel has to commit. One thread, no signal handler; no
// lock of the process is taken.
template <JournalMutation kMutation = JournalMutation::none, DirectMemory M, CommitSets S>
[[gnu::always_inline]] inline AbortReason
commit_directly(M& memory, Journal& journal, u64 owner, const S& sets, u64& conflicting) noexcept {
    const StripeWrite* first = sets.stripes_written().data();
    const u64 count = sets.stripes_written().size();
    const StripeWrite* last = first + (count - 1);
    runtime::i64 stride = 1;
    if (count == 2 && last->stripe < first->stripe) {
        runtime::swap(first, last);
        stride = -1;
    }
    Atomic<u64>* const records = memory.orec(0);
    u8* const bytes = memory.data(0);
    // Not initialised: as many are used as there are writes.
    __attribute__((uninitialized)) u64 replaced[Journal::kMostWrites];
    const auto attempt = [&]() noexcept {
        return detail::DirectAttempt<M, S>{memory, journal, sets,     owner,      first,
                                           last,   stride,  replaced, conflicting};
    };
    const auto publish = [&](JournalState state) noexcept {
        journal.head.state.store(state.word(), Order::release);
    };

    const auto describe = [&]() noexcept {
        StripeWrite* place = journal.writes;
        detail::each(first, last, stride, [&](const StripeWrite& write) noexcept {
            // Its page is there when a repair looks for it.
            static_cast<void>(runtime::load_shared_word(bytes + write.stripe * kStripeBytes));
            *place++ = write;
            return true;
        });
        journal.head.count.store(count, Order::relaxed);
        step(memory, Step::journal_active, 0);
        static_cast<void>(
            journal.head.state.exchange(JournalState::active().word(), Order::seq_cst));
        fence_behind_exchange();
        if constexpr (requires { memory.described(); })
            memory.described();
    };
    if constexpr (kMutation != JournalMutation::locked_first)
        describe();
    step(memory, Step::read_gate, 0);
    if (kMutation != JournalMutation::gate_ignored && memory.closed()) [[unlikely]]
        return detail::give_up(attempt(), first, AbortReason::serial_wait, 0);

    u64* over = replaced;
    const StripeWrite* const stopped =
        detail::each(first, last, stride, [&](const StripeWrite& write) noexcept {
            step(memory, Step::lock_orec, write.stripe);
            Atomic<u64>& orec = records[write.stripe];
            u64 word = orec.load(Order::relaxed);
            *over = word;
            if (Orec{word}.is_locked() || !orec.compare_exchange(word, Orec::locked(owner).word(),
                                                                 Order::acquire, Order::relaxed))
                [[unlikely]]
                return false;
            ++over;
            return true;
        });
    if constexpr (kMutation == JournalMutation::locked_first)
        describe();
    if (stopped != nullptr) [[unlikely]]
        return detail::lock_rest<kMutation>(attempt(), stopped, over);

    step(memory, Step::advance_clock, 0);
    const u64 version = clock_advance(memory.clock());
    if constexpr (kMutation == JournalMutation::published_early)
        publish(JournalState::committed(version));
    if (version != sets.snapshot() + 1) [[unlikely]]
        return detail::validate<kMutation>(attempt(), version);
    step(memory, Step::publish, 0);
    publish(JournalState::committed(version));
    if constexpr (SteppedMemory<M>)
        return detail::finish<kMutation>(attempt(), version);

    runtime::fence(Order::release); // F: see transaction.hpp
    const StripeWrite* const applied =
        detail::each(first, last, stride, [&](const StripeWrite& write) noexcept {
            // One aligned word, as mostly.
            const u32 at = static_cast<u32>(__builtin_ctzll(write.mask));
            if (write.mask >> at != 0xff || at % 8 != 0) [[unlikely]]
                return false;
            runtime::store_shared_word(bytes + write.stripe * kStripeBytes + at,
                                       load_word(write.bytes + at));
            return true;
        });
    // To store a word twice does no harm.
    if (applied != nullptr) [[unlikely]]
        return detail::finish<kMutation>(attempt(), version);
    detail::each(first, last, stride, [&](const StripeWrite& write) noexcept {
        records[write.stripe].store(Orec::unlocked(version).word(), Order::release);
        return true;
    });
    return AbortReason::none;
}

} // namespace stm::protocol
