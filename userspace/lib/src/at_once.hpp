// SPDX-License-Identifier: LGPL-2.1-or-later
// The shortest way through stm_start and stm_commit: for a transaction in a warm mapping that
// begins and ends without a system call, of a thread that has no other one, where nothing is out of
// the ordinary. It does what the long way does then, and nothing else; whatever it finds that may
// need more is left to the long way.
#pragma once

#include "futile.hpp"
#include "handlers.hpp"
#include "mask.hpp"
#include "offer.hpp"
#include "thread_state.hpp"

#include <atomic>
#include <cstdint>
#include <stm/ioctl.h>

namespace stm::library {

[[gnu::always_inline]] inline bool
ThreadState::begin_at_once(int fd, StartKind kind, const Registers& registers, const void* frame) {
    ThreadTransaction* const transaction = recent_;
    if (transaction == nullptr || transaction->fd != fd || transaction->clock_place == nullptr ||
        first_ != nullptr || busy_ > 0 || transaction->futile.count != 0 ||
        (kind != StartKind::start && transaction->limit != 0) || !ThreadMask::current().is_known())
        return false;
    Cell& cell = *transaction->cell;
    const std::uint64_t offer = STM_CELL_OFFER(site_of(registers));
    if (cell.offer.load(std::memory_order_acquire) != offer ||
        cell.begun.load(std::memory_order_relaxed) != 0 ||
        transaction->closes_place->load(std::memory_order_acquire) != transaction->closes)
        return false;
    const std::uint64_t snapshot = cell.snapshot.load(std::memory_order_relaxed);
    if (snapshot != STM_NO_SNAPSHOT &&
        snapshot != transaction->clock->load(std::memory_order_acquire))
        return false;
    // Last: the place of a clock that is forgotten has zeros, which could be the snapshot.
    if (transaction->clock_place->load(std::memory_order_acquire) != transaction->clock)
        return false;
    enter_first(frame);
    ThreadMask::current().prepare();
    forget_handlers();
    cell.begun.store(offer, std::memory_order_seq_cst);
    if (cell.offer.load(std::memory_order_seq_cst) != offer &&
        cell.begun.exchange(0, std::memory_order_seq_cst) != 0) {
        leave_last();
        return false;
    }
    transaction->registers = registers;
    transaction->kind = kind;
    transaction->failure = 0;
    transaction->detached = 0;
    transaction->held = held_;
    transaction->next = nullptr;
    transaction->previous = nullptr;
    transaction->depth = 1;
    first_ = transaction;
    last_ = transaction;
    count_start();
    leave_last();
    return true;
}

[[gnu::always_inline]] inline bool ThreadState::end_at_once(int fd, const void* frame) {
    ThreadTransaction* const transaction = recent_;
    if (transaction == nullptr || transaction->fd != fd || transaction->clock_place == nullptr ||
        first_ != transaction || last_ != transaction || transaction->depth != 1 ||
        transaction->phantoms != 0 || busy_ > 0)
        return false;
    Cell& cell = *transaction->cell;
    std::uint64_t begun = cell.begun.load(std::memory_order_relaxed);
    if (begun == 0)
        return false;
    enter_first(frame);
    const bool is_over = cell.begun.compare_exchange_strong(begun, 0, std::memory_order_seq_cst);
    if (is_over) {
        cell.ended.store(cell.ended.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        first_ = nullptr;
        last_ = nullptr;
        transaction->depth = 0;
        transaction->goes_on = false;
        transaction->deadlocks = 0;
        transaction->attempts = 0;
    }
    leave_last();
    return is_over;
}

} // namespace stm::library
