// SPDX-License-Identifier: LGPL-2.1-or-later
// The shortest way through stm_start and stm_commit: for a transaction in a warm mapping, of a
// thread that has no other one, where nothing is out of the ordinary. It begins and ends without a
// system call if the kernel has offered that, and otherwise by one. It does what the long way does
// then, and nothing else; whatever it finds that may need more is left to the long way.
#pragma once

#include "futile.hpp"
#include "handlers.hpp"
#include "mask.hpp"
#include "offer.hpp"
#include "thread_state.hpp"

#include <atomic>
#include <cstdint>
#include <cstring>
#include <stm/ioctl.h>

namespace stm::library {

/** By few instructions: it is a part of each start. */
[[gnu::always_inline]] inline void copy_registers(Registers& to, const Registers& from) {
    constexpr std::size_t kPart = 16;
    static_assert(sizeof(Registers) % kPart == 0);
    auto* const target = reinterpret_cast<char*>(&to);
    const auto* const source = reinterpret_cast<const char*>(&from);
#pragma GCC unroll 5
    for (std::size_t at = 0; at < sizeof(Registers); at += kPart)
        std::memcpy(target + at, source + at, kPart);
}

/** The transaction of the number, unless that has to go the long way. */
[[gnu::always_inline]] inline ThreadTransaction* ThreadState::ordinary(int fd) const {
    ThreadTransaction* const transaction = recent_;
    return transaction == nullptr || transaction->fd != fd || transaction->clock_place == nullptr ||
                   busy_ > 0
               ? nullptr
               : transaction;
}

/** Whether the transaction has begun by the offer of its cell, which begins nothing yet. */
[[gnu::always_inline]] inline bool take_offer(ThreadTransaction& transaction, Cell& cell,
                                              std::uint64_t offer) {
    if (cell.offer.load(std::memory_order_acquire) != offer)
        return false;
    const std::uint64_t snapshot = cell.snapshot.load(std::memory_order_relaxed);
    if (snapshot != STM_NO_SNAPSHOT &&
        snapshot != transaction.clock->load(std::memory_order_acquire))
        return false;
    // Last: the place of a clock that is forgotten has zeros, which could be the snapshot.
    if (transaction.clock_place->load(std::memory_order_acquire) != transaction.clock)
        return false;
    cell.begun.store(offer, std::memory_order_seq_cst);
    return cell.offer.load(std::memory_order_seq_cst) == offer ||
           cell.begun.exchange(0, std::memory_order_seq_cst) == 0;
}

[[gnu::always_inline]] inline void
ThreadState::run_alone(ThreadTransaction& transaction, StartKind kind, const Registers& registers) {
    copy_registers(transaction.registers, registers);
    transaction.kind = kind;
    transaction.failure = 0;
    transaction.detached = 0;
    transaction.held = held_;
    transaction.next = nullptr;
    transaction.previous = nullptr;
    transaction.depth = 1;
    first_ = &transaction;
    last_ = &transaction;
    count_start();
}

[[gnu::always_inline]] inline void ThreadState::end_alone(ThreadTransaction& transaction) {
    first_ = nullptr;
    last_ = nullptr;
    transaction.depth = 0;
    transaction.goes_on = false;
    transaction.deadlocks = 0;
    transaction.attempts = 0;
}

[[gnu::always_inline]] inline ThreadState::AtOnce
ThreadState::begin_at_once(int fd, StartKind kind, const Registers& registers, const void* frame) {
    ThreadTransaction* const transaction = ordinary(fd);
    if (transaction == nullptr || first_ != nullptr || !ThreadMask::current().is_known())
        return {AtOnce::left, nullptr};
    Cell& cell = *transaction->cell;
    if (cell.begun.load(std::memory_order_relaxed) != 0 || // a handler was left in here
        transaction->closes_place->load(std::memory_order_acquire) != transaction->closes)
        return {AtOnce::left, nullptr};
    enter_first(frame);
    ThreadMask::current().prepare_known();
    forget_handlers();
    if (!take_offer(*transaction, cell, STM_CELL_OFFER(site_of(registers))))
        return {AtOnce::called_for, transaction};
    run_alone(*transaction, kind, registers);
    leave_last();
    return {AtOnce::done, transaction};
}

[[gnu::always_inline]] inline ThreadState::AtOnce ThreadState::end_at_once(int fd,
                                                                           const void* frame) {
    ThreadTransaction* const transaction = ordinary(fd);
    if (transaction == nullptr || first_ != transaction || last_ != transaction ||
        transaction->depth != 1 || transaction->phantoms != 0)
        return {AtOnce::left, nullptr};
    Cell& cell = *transaction->cell;
    enter_first(frame);
    std::uint64_t begun = cell.begun.load(std::memory_order_relaxed);
    // If the kernel learns of it at this moment, one of the two finds 0.
    if (begun == 0 || !cell.begun.compare_exchange_strong(begun, 0, std::memory_order_seq_cst))
        return {AtOnce::called_for, transaction};
    cell.ended.store(cell.ended.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    end_alone(*transaction);
    leave_last();
    return {AtOnce::done, transaction};
}

} // namespace stm::library
