// SPDX-License-Identifier: LGPL-2.1-or-later
// The state of a thread's transaction that its views share, and how it gets out of the user's code.
#pragma once

#include <cerrno>
#include <chrono>
#include <functional>
#include <stm/tx.h>
#include <system_error>
#include <utility>
#include <vector>

namespace stm {

namespace detail {
class attempt;
}

/**
 * What leaves a transaction's function when it has to run again
 *
 * It is an exception, so destructors run; longjmp would leave their objects as they are. It is no
 * std::exception, so that handlers for those let it pass. A function that catches it all the same
 * comes to nothing: the next call throws it again, and what it has done does not count.
 */
class restart {
    restart() = default;
    friend class detail::attempt;
};

namespace detail {

using clock = std::chrono::steady_clock;

[[noreturn]] inline void fail(const char* what, int error = errno) {
    throw std::system_error(error, std::generic_category(), what);
}

/** One transaction of this thread: all of its attempts, one after the other. */
class attempt {
public:
    enum class state {
        running,
        again,   // what it read has changed
        blocked, // it waits for a change of what it has read
    };
    using action = std::function<void()>;

    attempt(stm_region* region, int flags) : flags_(flags) {
        begin(region);
        current_ = this;
    }
    ~attempt() {
        current_ = nullptr;
        if (tx_ != nullptr)
            stm_tx_cancel(tx_);
    }
    attempt(const attempt&) = delete;
    attempt& operator=(const attempt&) = delete;

    static attempt* current() { return current_; }

    void begin(stm_region* region) {
        do {
            tx_ = stm_tx_begin(region, flags_);
        } while (tx_ == nullptr && errno == EINTR);
        if (tx_ == nullptr)
            fail("stm: the transaction cannot begin");
    }

    [[nodiscard]] stm_tx* tx() const { return tx_; }
    [[nodiscard]] int flags() const { return flags_; }
    [[nodiscard]] state now() const { return state_; }
    [[nodiscard]] clock::time_point until() const { return until_; }

    /** The result of a call of the C interface. */
    void check(int result) {
        if (result != 0) [[unlikely]]
            leave(result);
    }

    [[noreturn]] void block(clock::time_point until) {
        state_ = state::blocked;
        until_ = std::min(until_, until);
        throw restart();
    }

    /** The first of two alternatives is blocked; the other one runs now. */
    void unblock() { state_ = state::running; }

    /** It has ended, or begins again. */
    void renew() {
        state_ = state::running;
        until_ = clock::time_point::max();
    }
    void is_over() { tx_ = nullptr; }

    // -- What is to be done when it is committed, or undone --

    struct marks {
        std::size_t on_commit;
        std::size_t on_abort;
    };
    [[nodiscard]] marks mark() const { return {on_commit_.size(), on_abort_.size()}; }
    void add_on_commit(action what) { on_commit_.push_back(std::move(what)); }
    void add_on_abort(action what) { on_abort_.push_back(std::move(what)); }

    /** What was done since then is undone. The last action comes first. */
    void undone(marks since) noexcept {
        on_commit_.resize(since.on_commit);
        while (on_abort_.size() > since.on_abort) {
            const action what = std::move(on_abort_.back());
            on_abort_.pop_back();
            what();
        }
    }

    /** Everything is committed, and the thread may begin other transactions. */
    void committed() {
        current_ = nullptr;
        for (const action& what : std::exchange(on_commit_, {}))
            what();
    }

private:
    [[noreturn]] void leave(int result) {
        if (result < 0)
            fail("stm: the transaction cannot go on");
        state_ = state::again;
        throw restart();
    }

    static inline constinit thread_local attempt* current_ = nullptr;

    stm_tx* tx_ = nullptr;
    int flags_;
    state state_ = state::running;
    clock::time_point until_ = clock::time_point::max();
    std::vector<action> on_commit_;
    std::vector<action> on_abort_;
};

/** A part of a transaction that is undone unless it is kept. */
class part {
public:
    explicit part(attempt& whole) : whole_(whole), since_(whole.mark()) {
        if (stm_tx_nest(whole.tx()) != 0)
            fail("stm: no part can begin");
    }
    // When all of the transaction begins again, its parts end with it.
    ~part() {
        if (open_ && whole_.now() == attempt::state::running)
            undo();
    }
    part(const part&) = delete;
    part& operator=(const part&) = delete;

    void keep() {
        open_ = false;
        if (whole_.now() == attempt::state::running)
            stm_tx_merge(whole_.tx());
    }
    void undo() {
        open_ = false;
        stm_tx_undo(whole_.tx());
        whole_.undone(since_);
    }

private:
    attempt& whole_;
    attempt::marks since_;
    bool open_ = true;
};

} // namespace detail
} // namespace stm
