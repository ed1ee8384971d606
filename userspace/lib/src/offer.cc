// SPDX-License-Identifier: LGPL-2.1-or-later
#include "offer.hpp"

#include "close.hpp"
#include "mask.hpp"
#include "module_version.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stm/ioctl.h>
#include <sys/ioctl.h>
#include <sys/single_threaded.h>

namespace stm::library {
namespace {

// Whether the program wants the pages that a transaction will probably touch mapped at its start.
bool wants_prediction() {
    static const bool wanted = [] {
        const char* value = secure_getenv("STM_PREDICT");
        return value == nullptr || std::strcmp(value, "0") != 0;
    }();
    return wanted;
}

// Whether all handles are to be warm, without a word of the program.
bool wants_all_warm() {
    static const bool wanted = [] {
        const char* value = secure_getenv("STM_WARM");
        return value != nullptr && std::strcmp(value, "1") == 0;
    }();
    return wanted;
}

// Whether no number can become another file's without a counted close. While there is only one
// thread, a close is over before anything else happens, and the kernel knows of it.
bool knows_closes() {
    static const bool counted = closes_are_counted();
    return counted || __libc_single_threaded != 0;
}

// Without a count of closes, or in a mapping that is not warm, each start looks closer.
void allow_at_once(ThreadTransaction& transaction) {
    static const bool counted = closes_are_counted();
    if (!counted || !wants_prediction() || transaction.clock == nullptr || transaction.limit != 0 ||
        transaction.futile.count != 0)
        return;
    transaction.closes_place = closes_place_of(transaction.fd);
    transaction.clock_place = warm_clock_place(transaction.fd);
}

} // namespace

std::uint64_t wanted_site(const Registers& registers) {
    return wants_prediction() && module_knows_sites() ? site_of(registers) : 0;
}

bool start_by_offer(ThreadTransaction& transaction, unsigned closes, std::uint64_t site) {
    Cell* const cell = transaction.cell;
    const Clock* const clock = transaction.clock;
    // The offer must be of the handle that has the number now.
    if (cell == nullptr || transaction.depth != 0 || transaction.closes != closes ||
        !knows_closes())
        return false;
    const std::uint64_t offer = STM_CELL_OFFER(site);
    if (cell->offer.load(std::memory_order_acquire) != offer ||
        cell->begun.load(std::memory_order_relaxed) != 0) // a handler was left in here
        return false;
    transaction.detached = 0;
    // The pages in the mappings are of this snapshot. It belongs to the offer: both are of the end
    // of the transaction before.
    if (clock != nullptr) {
        const std::uint64_t snapshot = cell->snapshot.load(std::memory_order_relaxed);
        if (snapshot != STM_NO_SNAPSHOT && snapshot != clock->load(std::memory_order_acquire))
            return false;
    }
    // Last: the place of a clock that is forgotten has zeros, which could be the snapshot.
    if (clock != warm_clock(transaction.fd))
        return false;
    cell->begun.store(offer, std::memory_order_seq_cst);
    if (cell->offer.load(std::memory_order_seq_cst) == offer)
        return true;
    // The offer was taken back. If we were first the transaction has begun all the same.
    return cell->begun.exchange(0, std::memory_order_seq_cst) == 0;
}

// The kernel forgets cells when a descriptor of the handle is closed. That may happen often, so the
// cell is not attached again each time.
void attach_cell(ThreadState& thread, ThreadTransaction* transaction, unsigned closes) {
    constexpr unsigned kPatience = 16;
    Cell* const cell = thread.cell_of(transaction, closes);
    transaction->clock_place = nullptr;
    if (cell == nullptr)
        return;
    if (cell->offer.load(std::memory_order_relaxed) == 0) {
        if (transaction->detached++ % kPatience != 0)
            return;
    } else if (transaction->clock == warm_clock(transaction->fd)) {
        transaction->detached = 0;
        allow_at_once(*transaction);
        return;
    }
    const int error = errno;
    transaction->clock = warm_clock_of_file(transaction->fd);
    if (transaction->clock == nullptr && wants_all_warm() && keep_warm(transaction->fd) == 0)
        transaction->clock = warm_clock(transaction->fd);
    struct stm_cell request {};
    request.size = sizeof request;
    request.flags = transaction->clock != nullptr ? STM_CELL_WARM : 0;
    request.address = reinterpret_cast<std::uintptr_t>(cell);
    request.signal = kDoomSignal;
    ::ioctl(transaction->fd, STM_IOC_CELL, &request);
    allow_at_once(*transaction);
    errno = error;
}

bool end_by_offer(const ThreadTransaction& transaction) {
    if (transaction.clock == nullptr)
        return false;
    Cell* const cell = transaction.cell;
    std::uint64_t begun = cell->begun.load(std::memory_order_relaxed);
    // If the kernel learns of it at this moment, one of the two finds 0.
    if (begun == 0 || !cell->begun.compare_exchange_strong(begun, 0, std::memory_order_seq_cst))
        return false;
    cell->ended.store(cell->ended.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return true;
}

} // namespace stm::library
