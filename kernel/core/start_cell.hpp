// SPDX-License-Identifier: GPL-2.0
// The words in a thread's own memory through which it begins transactions without a system call:
// struct stm_start_cell of <stm/ioctl.h>, or the beginning of a struct stm_warm_cell.
//
// The module offers a start there when the start would have nothing to do. The thread takes the
// offer by a store, and then checks that it is still there. The module takes the offer back, and
// then checks whether it was taken. Both are sequentially consistent, so at least one of them sees
// the other. If both do, the exchange in withdraw() decides: the thread finds 0 where it had
// stored.
//
// Invariants: the context's lock protects all of it, except what any thread may ask. The context's
// stage tells whether an offer stands (view_stage.hpp). The words belong to the program and may
// have any value at any time. A value is believed only while an offer stands; then the worst is
// that a transaction of that thread begins which it did not mean to begin.
#pragma once

#include "kernel/core/uapi.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class StartCell : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    using Order = runtime::Order;

public:
    StartCell() noexcept = default;
    ~StartCell() { detach(); }

    enum class Kind { start, warm };

    // Attaches words in the calling thread's memory, in place of those it had. `closes`: closes of
    // the handle's descriptors so far.
    void attach(stm_pin* pin, void* words, Kind kind, int signal, u64 closes) noexcept {
        detach();
        closes_ = closes;
        pin_ = pin;
        words_ = static_cast<Words*>(words);
        warm_ = kind == Kind::warm ? static_cast<WarmWords*>(words) : nullptr;
        ended_ = warm_ != nullptr ? warm_->ended.load(Order::relaxed) : 0;
        signal_ = signal;
        exec_id_ = stm_linux_exec_id();
        memory_ = stm_linux_memory_current();
        stm_linux_memory_hold(memory_);
        words_->begun.store(0, Order::relaxed);
        words_->offer.store(STM_CELL_ATTACHED, Order::release);
        attached_.store(true, Order::release);
    }
    // Any thread may ask.
    [[nodiscard]] bool attached() const noexcept { return attached_.load(Order::acquire); }
    // The words are the program's alone from now on.
    void detach() noexcept {
        if (pin_ == nullptr)
            return;
        attached_.store(false, Order::release);
        warm_ = nullptr;
        words_->offer.store(0, Order::relaxed);
        stm_linux_unpin(runtime::exchange(pin_, nullptr));
        stm_linux_memory_drop(memory_);
    }

    // Whether the words are still those of the program that the calling thread runs, and of the
    // descriptor that they were attached through.
    [[nodiscard]] bool is_current(u64 closes) const noexcept {
        return closes_ == closes && memory_ == stm_linux_memory_current() &&
               exec_id_ == stm_linux_exec_id();
    }
    // Whether the thread may take the offer, or has it taken in its place by the start that makes
    // it.
    enum class Offer { open, taken };
    // The snapshot is that of the pages in the mappings, or STM_NO_SNAPSHOT.
    void offer(u32 site, u64 snapshot, Offer offer) noexcept {
        if (warm_ != nullptr)
            warm_->snapshot.store(snapshot, Order::relaxed);
        if (offer == Offer::taken)
            words_->begun.store(STM_CELL_OFFER(site), Order::relaxed);
        words_->offer.store(STM_CELL_OFFER(site), Order::release);
    }
    // Whether an offer that stands has been taken, and not ended.
    [[nodiscard]] bool is_taken() const noexcept { return words_->begun.load(Order::relaxed) != 0; }
    // How many transactions the thread says that it has ended by itself since the last call.
    [[nodiscard]] u32 take_ended() noexcept {
        if (warm_ == nullptr)
            return 0;
        const u64 before = runtime::exchange(ended_, warm_->ended.load(Order::relaxed));
        return static_cast<u32>(ended_ - before);
    }
    // Takes back an offer that stands: it cannot be taken any more. Returns whether it was taken,
    // and for which site.
    [[nodiscard]] bool withdraw(u32& site) noexcept {
        words_->offer.store(STM_CELL_ATTACHED, Order::seq_cst);
        runtime::fence(Order::seq_cst);
        const u64 begun = words_->begun.exchange(0, Order::seq_cst);
        site = static_cast<u32>(begun);
        return begun != 0;
    }

    // The address space of the program that attached it, for an offer and the transaction that
    // begins by one.
    [[nodiscard]] stm_memory* memory() const noexcept { return memory_; }
    [[nodiscard]] u64 exec_id() const noexcept { return exec_id_; }
    [[nodiscard]] int signal() const noexcept { return signal_; }

private:
    struct Words {
        runtime::Atomic<u64> offer;
        runtime::Atomic<u64> begun;
    };
    struct WarmWords {
        Words start;
        runtime::Atomic<u64> snapshot;
        runtime::Atomic<u64> ended;
    };
    static_assert(sizeof(WarmWords) == sizeof(stm_warm_cell));
    static_assert(__builtin_offsetof(WarmWords, snapshot) ==
                  __builtin_offsetof(stm_warm_cell, snapshot));
    static_assert(sizeof(Words) == sizeof(stm_start_cell));
    static_assert(__builtin_offsetof(Words, begun) == __builtin_offsetof(stm_start_cell, begun));

    stm_pin* pin_ = nullptr; // null: there are none, and nothing below counts
    Words* words_ = nullptr;
    WarmWords* warm_ = nullptr;    // the same, if it is a warm cell
    u64 ended_ = 0;                // as it was when it was last looked at
    stm_memory* memory_ = nullptr; // held
    u64 exec_id_ = 0;
    u64 closes_ = 0;
    int signal_ = 0;
    runtime::Atomic<bool> attached_{false};
};

} // namespace stm::kernel
