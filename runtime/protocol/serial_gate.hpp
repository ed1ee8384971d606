// SPDX-License-Identifier: LGPL-2.1-or-later
// The gate between the commits of a region and the one transaction that holds its serial token.
// Commits enter and leave, many at a time; the serial one closes the gate, waits until the last
// commit has left, and is alone then until it opens the gate again. A state machine in one word;
// every wait is the caller's, asleep: each function tells whom to wake.
//
//     word: bit 63 = closed, below it the number of commits inside
//
// What must hold: only the one whose try_close() succeeded calls open(). A commit inside never
// waits for the gate, so the closer's wait ends. Fairness among those who want the token, and
// that waiting commits get in between two serial transactions, is up to the caller's queue.
//
// Order: what a commit did before leave() is visible to the closer once drained() is true, and
// what the closer did before open() to every commit that enters afterwards.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"

namespace stm::protocol {

class SerialGate : runtime::NonCopyable {
public:
    enum class Wake : runtime::u8 { nobody, closer };

    // True: the caller is inside and calls leave() later. False: closed; sleep until open().
    [[nodiscard]] bool try_enter() noexcept {
        u64 word = word_.load(runtime::Order::relaxed);
        while ((word & kClosed) == 0) {
            if (word_.compare_exchange(word, word + 1, runtime::Order::acquire,
                                       runtime::Order::relaxed))
                return true;
        }
        return false;
    }

    [[nodiscard]] Wake leave() noexcept {
        const u64 before = word_.fetch_sub(1, runtime::Order::release);
        return before == (kClosed | 1) ? Wake::closer : Wake::nobody;
    }

    // True: nobody enters any more; sleep until drained(). False: another one holds the token.
    [[nodiscard]] bool try_close() noexcept {
        return (word_.fetch_or(kClosed, runtime::Order::acquire) & kClosed) == 0;
    }

    // Only for the one who closed: true once it is alone.
    [[nodiscard]] bool drained() const noexcept {
        return word_.load(runtime::Order::acquire) == kClosed;
    }

    // Gives the token back; also before drained() was true, by one who gives up waiting. The
    // caller wakes everybody who waits to enter or to close.
    void open() noexcept { word_.fetch_and(~kClosed, runtime::Order::release); }

    [[nodiscard]] bool is_closed() const noexcept {
        return (word_.load(runtime::Order::relaxed) & kClosed) != 0;
    }

private:
    static constexpr u64 kClosed = u64{1} << 63;
    runtime::Atomic<u64> word_{0};
};

} // namespace stm::protocol
