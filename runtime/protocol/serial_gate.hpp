// SPDX-License-Identifier: LGPL-2.1-or-later
// The gate between the commits of a region and the one transaction that holds its serial token.
// Commits enter and leave, many at a time. The serial transaction closes the gate and waits until
// the last commit has left. Then it is alone until it opens the gate again. The gate is a state
// machine in one word. It never waits itself: the caller sleeps, and each function tells which
// threads to wake.
//
//     word: bit 63 = closed, below it the number of commits inside
//
// Invariants: only the thread whose try_close() succeeded calls open(). A commit inside never waits
// for the gate, so the closer's wait ends. The caller's queue provides fairness among threads that
// want the token, and lets waiting commits in between two serial transactions.
//
// Order: what a commit did before leave() is visible to the closer once drained() is true. What the
// closer did before open() is visible to every commit that enters afterwards.
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

    // True: no commit enters any more; sleep until drained(). False: another transaction holds the
    // token.
    [[nodiscard]] bool try_close() noexcept {
        return (word_.fetch_or(kClosed, runtime::Order::acquire) & kClosed) == 0;
    }

    // Only for the closer: true once it is alone.
    [[nodiscard]] bool drained() const noexcept {
        return word_.load(runtime::Order::acquire) == kClosed;
    }

    // Gives the token back. A closer that gives up waiting may call it before drained() was true.
    // The caller wakes all threads that wait to enter or to close.
    void open() noexcept { word_.fetch_and(~kClosed, runtime::Order::release); }

    [[nodiscard]] bool is_closed() const noexcept {
        return (word_.load(runtime::Order::relaxed) & kClosed) != 0;
    }

private:
    static constexpr u64 kClosed = u64{1} << 63;
    runtime::Atomic<u64> word_{0};
};

} // namespace stm::protocol
