// SPDX-License-Identifier: GPL-2.0
// The file position before a transaction moved it. A transaction that ends without an effect must
// not have moved it, so the next call that uses the position puts it back first.
#pragma once

#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// Under the context's lock, unless a comment says otherwise.
class KeptPosition {
    using Order = runtime::Order;

public:
    // Called within a transaction, before a call that may move the position. The first position
    // counts.
    void note(long long position) noexcept {
        if (!wants_one())
            return;
        position_ = position;
        state_.store(State::kept, Order::relaxed);
    }
    enum class Outcome { effective, without_effect };
    void transaction_ended(Outcome outcome) noexcept {
        if (state() == State::kept)
            state_.store(outcome == Outcome::effective ? State::none : State::due, Order::relaxed);
    }
    void forget() noexcept { state_.store(State::none, Order::relaxed); }

    // Whether note() would keep one. The context's own thread may ask without the lock.
    [[nodiscard]] bool wants_one() const noexcept { return state() == State::none; }
    // Whether take() would have one. The context's own thread may ask without the lock.
    [[nodiscard]] bool is_due() const noexcept { return state() == State::due; }
    // Whether the position must be put back, and where. True once.
    [[nodiscard]] bool take(long long& position) noexcept {
        if (!is_due())
            return false;
        forget();
        position = position_;
        return true;
    }

private:
    enum class State : runtime::u8 { none, kept, due };
    [[nodiscard]] State state() const noexcept { return state_.load(Order::relaxed); }

    runtime::Atomic<State> state_{State::none};
    long long position_ = 0;
};

} // namespace stm::kernel
