// SPDX-License-Identifier: GPL-2.0
// The words in a thread's own memory through which it begins transactions without a system call:
// struct stm_start_cell of <stm/ioctl.h>.
//
// The module offers a start there when it would have nothing to do. The thread takes the offer by a
// store, and then looks whether it is still there; the module takes the offer back, and then looks
// whether it was taken. Both are sequentially consistent, so at least one of them sees the other.
// Where both do, the exchange in withdraw() is what counts: the thread finds 0 where it had stored.
//
// Invariants: all of it is under the context's lock, but what any thread may ask. Whether an offer
// stands is the context's stage (view_stage.hpp). The words are the program's: any value may stand
// there at any time, and is believed only while an offer stands, where the worst is a transaction
// of that thread that it did not mean to begin.
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

    // By the calling thread, in whose memory the words are, in place of those it had. `closes`: of
    // the handle's descriptors, so far.
    void attach(stm_pin* pin, void* words, int signal, u64 closes) noexcept {
        detach();
        closes_ = closes;
        pin_ = pin;
        words_ = static_cast<Words*>(words);
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
    void offer(u32 site) noexcept { words_->offer.store(STM_CELL_OFFER(site), Order::release); }
    // While an offer stands. From now on it cannot be taken. Whether it was, and for which site.
    [[nodiscard]] bool withdraw(u32& site) noexcept {
        words_->offer.store(STM_CELL_ATTACHED, Order::seq_cst);
        runtime::fence(Order::seq_cst);
        const u64 begun = words_->begun.exchange(0, Order::seq_cst);
        site = static_cast<u32>(begun);
        return begun != 0;
    }

    // Of the program that attached it: for an offer, and the transaction that begins by one.
    [[nodiscard]] stm_memory* memory() const noexcept { return memory_; }
    [[nodiscard]] u64 exec_id() const noexcept { return exec_id_; }
    [[nodiscard]] int signal() const noexcept { return signal_; }

private:
    struct Words {
        runtime::Atomic<u64> offer;
        runtime::Atomic<u64> begun;
    };
    static_assert(sizeof(Words) == sizeof(stm_start_cell));
    static_assert(__builtin_offsetof(Words, begun) == __builtin_offsetof(stm_start_cell, begun));

    stm_pin* pin_ = nullptr; // null: there are none, and nothing below counts
    Words* words_ = nullptr;
    stm_memory* memory_ = nullptr; // held
    u64 exec_id_ = 0;
    u64 closes_ = 0;
    int signal_ = 0;
    runtime::Atomic<bool> attached_{false};
};

} // namespace stm::kernel
