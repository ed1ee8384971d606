// SPDX-License-Identifier: LGPL-2.1-or-later
// The owner's side of a direct commit: see journal.hpp, which has the protocol and its proof.
//
// It does what set_commit.hpp does for a part that is the only one. There the places of stripes are
// looked for before the first lock. Here they follow from their numbers, so a commit of a few
// stripes is some short loops over the writes. Most commits write one word in one or two stripes:
// for them there are no loops, and what is to be written stays in registers.
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

// `stripe` was in the way if a conflict is the reason.
struct DirectResult {
    AbortReason reason;
    u64 stripe;
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

// A memory that is a few pointers is copied, so that it may stay in registers.
template <typename M>
struct HeldMemory {
    using Type = M&;
};
template <runtime::trivially_copyable M>
struct HeldMemory<M> {
    using Type = M;
};

// What the steps of one commit need. The writes are visited from `first` to `last` by `stride`, in
// ascending order, which keeps two commits from waiting for each other.
template <DirectMemory M, CommitSets S>
struct DirectAttempt {
    typename HeldMemory<M>::Type memory;
    Journal& journal;
    const S& sets;
    const u64 owner;
    const StripeWrite* const first;
    const StripeWrite* const last;
    const runtime::i64 stride;
    u64* const replaced; // the words that it has locked over, by position
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

// Where the only word is that the write has bytes of, or kNoWord: there are others, or only a part.
inline constexpr u32 kNoWord = kStripeBytes;
[[gnu::always_inline]] inline u32 only_word(const StripeWrite& write) noexcept {
    const u32 at = static_cast<u32>(__builtin_ctzll(write.mask)) & ~u32{7};
    return write.mask >> at == 0xff ? at : kNoWord;
}

// The writes of a commit in ascending order, in the two forms that commit_in_order() takes. Each
// form has a type of writes with these functions:
//
// origin()             the write of the transaction
// stripe()             its stripe
// orec()               the record of that
// copy_to(place)       makes the page be there, and puts the write into the journal
// apply()              stores its bytes; false: it has done nothing
//
// and each(visit), as above, count(), and first(), last() and stride() in the transaction's array.

// Where records and bytes of a region begin.
struct Places {
    Atomic<u64>* records;
    u8* bytes;
};

// Any writes.
class AnyWrites {
public:
    class Write {
    public:
        Write(const StripeWrite& write, Places places) noexcept : write_(write), places_(places) {}
        [[nodiscard]] const StripeWrite* origin() const noexcept { return &write_; }
        [[nodiscard]] u64 stripe() const noexcept { return write_.stripe; }
        [[nodiscard]] Atomic<u64>& orec() const noexcept { return places_.records[write_.stripe]; }
        [[gnu::always_inline]] void copy_to(StripeWrite& place) const noexcept {
            static_cast<void>(runtime::load_shared_word(bytes()));
            place = write_;
        }
        [[nodiscard, gnu::always_inline]] bool apply() const noexcept {
            const u32 at = only_word(write_);
            if (at == kNoWord) [[unlikely]]
                return false;
            runtime::store_shared_word(bytes() + at, load_word(write_.bytes + at));
            return true;
        }

    private:
        [[nodiscard]] u8* bytes() const noexcept {
            return places_.bytes + write_.stripe * kStripeBytes;
        }

        const StripeWrite& write_;
        const Places places_;
    };

    AnyWrites(const StripeWrite* first, const StripeWrite* last, runtime::i64 stride, u64 count,
              Places places) noexcept
        : first_(first), last_(last), stride_(stride), count_(count), places_(places) {}
    [[nodiscard]] u64 count() const noexcept { return count_; }
    [[nodiscard]] const StripeWrite* first() const noexcept { return first_; }
    [[nodiscard]] const StripeWrite* last() const noexcept { return last_; }
    [[nodiscard]] runtime::i64 stride() const noexcept { return stride_; }
    template <typename Visit>
    [[gnu::always_inline]] const StripeWrite* each(Visit visit) const noexcept {
        return detail::each(first_, last_, stride_, [&](const StripeWrite& write) noexcept {
            return visit(Write(write, places_));
        });
    }

private:
    const StripeWrite* const first_;
    const StripeWrite* const last_;
    const runtime::i64 stride_;
    const u64 count_;
    const Places places_;
};

// One word in one stripe, or in each of two.
template <u32 kCount>
class FewWords {
    static_assert(kCount == 1 || kCount == 2);

public:
    class Write {
    public:
        Write(const StripeWrite& write, u32 at, Places places) noexcept
            : write_(write), at_(at), word_(load_word(write.bytes + at)),
              orec_(places.records + write.stripe),
              shared_(places.bytes + write.stripe * kStripeBytes + at) {}
        [[nodiscard]] const StripeWrite* origin() const noexcept { return &write_; }
        [[nodiscard]] u64 stripe() const noexcept { return write_.stripe; }
        [[nodiscard]] Atomic<u64>& orec() const noexcept { return *orec_; }
        [[gnu::always_inline]] void copy_to(StripeWrite& place) const noexcept {
            static_cast<void>(runtime::load_shared_word(shared_));
            place.stripe = write_.stripe;
            place.mask = write_.mask;
            __builtin_memcpy(place.bytes + at_, &word_, sizeof(word_));
        }
        [[nodiscard, gnu::always_inline]] bool apply() const noexcept {
            runtime::store_shared_word(shared_, word_);
            return true;
        }

    private:
        const StripeWrite& write_;
        const u32 at_;
        const u64 word_;
        Atomic<u64>* const orec_;
        u8* const shared_;
    };

    // The second one is not looked at if there is only one.
    FewWords(const Write& first, const Write& second) noexcept : first_(first), second_(second) {}
    [[nodiscard]] static u64 count() noexcept { return kCount; }
    [[nodiscard]] const StripeWrite* first() const noexcept { return first_.origin(); }
    [[nodiscard]] const StripeWrite* last() const noexcept {
        return (kCount == 1 ? first_ : second_).origin();
    }
    [[nodiscard]] runtime::i64 stride() const noexcept {
        return kCount == 1 ? 1 : last() - first();
    }
    template <typename Visit>
    [[gnu::always_inline]] const StripeWrite* each(Visit visit) const noexcept {
        if (!visit(first_))
            return first_.origin();
        if constexpr (kCount == 2) {
            if (!visit(second_))
                return second_.origin();
        }
        return nullptr;
    }

private:
    const Write first_;
    const Write second_;
};

// Everything below is for what is rare. These functions end the commit, so that its short loops
// need to keep nothing for them.

// F, A and R, behind the point of no return.
template <JournalMutation kMutation, DirectMemory M, CommitSets S>
[[gnu::noinline]] inline DirectResult finish(DirectAttempt<M, S> attempt, u64 version) noexcept {
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
    return {AbortReason::none, 0};
}

// Gives back the records of the writes before `stopped`, or of all. The data were not touched.
template <DirectMemory M, CommitSets S>
[[gnu::cold, gnu::noinline]] inline DirectResult give_up(DirectAttempt<M, S> attempt,
                                                         const StripeWrite* stopped,
                                                         AbortReason reason, u64 stripe) noexcept {
    M& memory = attempt.memory;
    const u64* replaced = attempt.replaced;
    each(attempt.first, attempt.last, attempt.stride, [&](const StripeWrite& write) noexcept {
        if (&write == stopped)
            return false;
        step(memory, Step::restore_orec, write.stripe);
        memory.orec(write.stripe)->store(*replaced++, Order::release);
        return true;
    });
    end_direct(memory, attempt.journal);
    return {reason, stripe};
}

// V, when another commit came between the snapshot and this one, and the rest.
template <JournalMutation kMutation, DirectMemory M, CommitSets S>
[[gnu::noinline]] inline DirectResult validate(DirectAttempt<M, S> attempt, u64 version) noexcept {
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
[[gnu::cold, gnu::noinline]] inline DirectResult
lock_rest(DirectAttempt<M, S> attempt, const StripeWrite* write, u64* replaced) noexcept {
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

// All steps. The functions above are for what is rare.
template <JournalMutation kMutation, DirectMemory M, CommitSets S, typename Writes>
[[gnu::always_inline]] inline DirectResult commit_in_order(M& memory, Journal& journal, u64 owner,
                                                           const S& sets,
                                                           const Writes& writes) noexcept {
    Atomic<u64>& clock = memory.clock();
    // Not initialised: as many are used as there are writes.
    __attribute__((uninitialized)) u64 replaced[Journal::kMostWrites];
    const auto attempt = [&]() __attribute__((always_inline))->DirectAttempt<M, S> {
        return DirectAttempt<M, S>{memory,        journal,         sets,    owner, writes.first(),
                                   writes.last(), writes.stride(), replaced};
    };
    const auto publish = [&](JournalState state) noexcept {
        journal.head.state.store(state.word(), Order::release);
    };

    const auto describe = [&]() noexcept {
        StripeWrite* place = journal.writes;
        writes.each([&](const auto& write) noexcept {
            write.copy_to(*place++); // its page is there when a repair looks for it
            return true;
        });
        journal.head.count.store(writes.count(), Order::relaxed);
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
        return give_up(attempt(), writes.first(), AbortReason::serial_wait, 0);

    u64* over = replaced;
    const StripeWrite* const stopped = writes.each([&](const auto& write) noexcept {
        step(memory, Step::lock_orec, write.stripe());
        Atomic<u64>& orec = write.orec();
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
        return lock_rest<kMutation>(attempt(), stopped, over);

    step(memory, Step::advance_clock, 0);
    const u64 version = clock_advance(clock);
    if constexpr (kMutation == JournalMutation::published_early)
        publish(JournalState::committed(version));
    if (version != sets.snapshot() + 1) [[unlikely]]
        return validate<kMutation>(attempt(), version);
    step(memory, Step::publish, 0);
    publish(JournalState::committed(version));
    if constexpr (SteppedMemory<M>)
        return finish<kMutation>(attempt(), version);

    runtime::fence(Order::release); // F: see transaction.hpp
    const StripeWrite* const applied =
        writes.each([](const auto& write) noexcept { return write.apply(); });
    // To store a word twice does no harm.
    if (applied != nullptr) [[unlikely]]
        return finish<kMutation>(attempt(), version);
    writes.each([&](const auto& write) noexcept {
        write.orec().store(Orec::unlocked(version).word(), Order::release);
        return true;
    });
    return {AbortReason::none, 0};
}

// The same for any writes. A function of its own: what is below has the registers for itself.
template <JournalMutation kMutation, DirectMemory M, CommitSets S>
[[gnu::noinline]] inline DirectResult
commit_any(typename HeldMemory<M>::Type held, Journal& journal, u64 owner, const S& sets,
           const StripeWrite* first, const StripeWrite* last, runtime::i64 stride) noexcept {
    M& memory = held;
    return commit_in_order<kMutation>(memory, journal, owner, sets,
                                      AnyWrites(first, last, stride, sets.stripes_written().size(),
                                                {memory.orec(0), memory.data(0)}));
}

} // namespace detail

// Commits: at least one write, at most Journal::kMostWrites, in ascending order; two may be in any.
// `journal` is that of the calling thread, and idle. none: the caller wakes those that wait, and
// then calls end_direct(). serial_wait: the gate is closed, and the kernel has to commit. One
// thread, no signal handler; no lock of the process is taken.
template <JournalMutation kMutation = JournalMutation::none, DirectMemory M, CommitSets S>
[[gnu::always_inline]] inline DirectResult commit_directly(M& memory, Journal& journal, u64 owner,
                                                           const S& sets) noexcept {
    const StripeWrite* first = sets.stripes_written().data();
    const u64 count = sets.stripes_written().size();
    const StripeWrite* last = first + (count - 1);
    if (count > 2)
        return detail::commit_any<kMutation, M, S>(memory, journal, owner, sets, first, last, 1);
    runtime::i64 stride = 1;
    if (last->stripe < first->stripe) {
        runtime::swap(first, last);
        stride = -1;
    }
    const u32 at = detail::only_word(*first);
    const u32 last_at = detail::only_word(*last);
    if (at == detail::kNoWord || last_at == detail::kNoWord) [[unlikely]]
        return detail::commit_any<kMutation, M, S>(memory, journal, owner, sets, first, last,
                                                   stride);
    const detail::Places places{memory.orec(0), memory.data(0)};
    if (count == 1) {
        using Words = detail::FewWords<1>;
        const Words::Write word(*first, at, places);
        return detail::commit_in_order<kMutation>(memory, journal, owner, sets, Words(word, word));
    }
    using Words = detail::FewWords<2>;
    return detail::commit_in_order<kMutation>(
        memory, journal, owner, sets,
        Words(Words::Write(*first, at, places), Words::Write(*last, last_at, places)));
}

} // namespace stm::protocol
