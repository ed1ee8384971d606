// SPDX-License-Identifier: LGPL-2.1-or-later
// Running a function as a transaction.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stm/detail/attempt.hpp>
#include <stm/layout.hpp>
#include <stm/region.hpp>
#include <stm/transaction.hpp>
#include <stop_token>
#include <system_error>
#include <type_traits>
#include <utility>

namespace stm {

/** The time that a transaction had is over; it had no effect. */
class timed_out : public std::system_error {
public:
    timed_out() : system_error(ETIMEDOUT, std::generic_category(), "stm: the transaction") {}
};

/** Somebody asked the transaction to stop; it had no effect. */
class stopped : public std::system_error {
public:
    stopped() : system_error(ECANCELED, std::generic_category(), "stm: the transaction") {}
};

/**
 * When a transaction gives up, before it runs again or while it waits in retry(). The first attempt
 * always runs. A request to stop is seen within 20 ms.
 */
struct limits {
    std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
    std::stop_token stop = {};
};

template <typename Rep, typename Period>
[[nodiscard]] limits within(std::chrono::duration<Rep, Period> time) {
    using clock = std::chrono::steady_clock;
    return {.deadline = clock::now() + std::chrono::ceil<clock::duration>(time), .stop = {}};
}

namespace detail {

/** What a transaction's function returns, until it is known whether that counts. */
template <typename R>
class result {
public:
    template <typename F, typename Tx>
    void take(F& f, Tx& tx) {
        value_.emplace(f(tx));
    }
    R give() { return std::move(*value_); }

private:
    std::optional<R> value_;
};
template <typename R>
class result<R&> {
public:
    template <typename F, typename Tx>
    void take(F& f, Tx& tx) {
        value_ = std::addressof(f(tx));
    }
    R& give() { return *value_; }

private:
    R* value_ = nullptr;
};
template <>
class result<void> {
public:
    template <typename F, typename Tx>
    void take(F& f, Tx& tx) {
        f(tx);
    }
    void give() {}
};

inline void give_up_at(const limits& limit, clock::time_point deadline) {
    if (limit.stop.stop_requested())
        throw stopped();
    if (deadline != clock::time_point::max() && clock::now() >= deadline)
        throw timed_out();
}

/** Sleeps until something changes that the attempt has read. It begins again then. */
inline void wait(attempt& one, stm_region* region, const limits& limit) {
    constexpr std::chrono::nanoseconds look = std::chrono::milliseconds(20);
    const clock::time_point deadline = std::min(limit.deadline, one.until());
    give_up_at(limit, deadline);
    std::int64_t time = -1;
    if (deadline != clock::time_point::max())
        time = std::max<std::int64_t>(std::chrono::nanoseconds(deadline - clock::now()).count(), 0);
    if (limit.stop.stop_possible())
        time = time < 0 ? look.count() : std::min<std::int64_t>(time, look.count());
    if (stm_tx_wait(one.tx(), time) >= 0)
        return;
    one.is_over();
    if (errno != ETIMEDOUT && errno != EINTR)
        fail("stm: the transaction cannot wait");
    give_up_at(limit, deadline);
    one.begin(region);
}

/** Ends an attempt; whether it is committed. Otherwise the next one has begun. */
inline bool settle(attempt& one, stm_region* region, const limits& limit) {
    if (one.now() == attempt::state::blocked) {
        one.undone({});
        wait(one, region, limit);
        one.renew();
        return false;
    }
    const int result = stm_tx_commit(one.tx());
    if (result == 0) {
        one.is_over();
        return true;
    }
    const int error = errno;
    if (result < 0)
        one.is_over();
    one.undone({});
    if (result < 0 && error != EINTR)
        fail("stm: the transaction cannot be committed", error);
    one.renew();
    give_up_at(limit, limit.deadline);
    if (result < 0)
        one.begin(region);
    return false;
}

/** As a part of the transaction that runs. */
template <typename Tx, typename F>
decltype(auto) run_inside(attempt& outer, const region& where, F&& f, int flags) {
    if ((flags & ~outer.flags() & STM_TX_SERIAL) != 0)
        throw std::logic_error("stm: an irrevocable transaction inside of one that is not");
    if ((outer.flags() & ~flags & STM_TX_READ_ONLY) != 0)
        throw std::logic_error("stm: a transaction that may store inside of a read-only one");
    return Tx(outer, where.attached()).nested(f);
}

template <typename Tx, typename F>
auto run(const region& where, F&& f, int flags, const limits& limit)
    -> returned_by<F, Tx> {
    if (attempt* outer = attempt::current())
        return run_inside<Tx>(*outer, where, f, flags);
    attempt one(where.handle(), flags);
    for (;;) {
        result<returned_by<F, Tx>> outcome;
        try {
            Tx tx(one, where.attached());
            outcome.take(f, tx);
        } catch (const restart&) {
            // The attempt knows why.
        } catch (...) {
            // It is the function's own exception, unless the function has made it of a restart.
            if (one.now() == attempt::state::running) {
                one.undone({});
                throw;
            }
        }
        if (settle(one, where.handle(), limit)) {
            one.committed();
            return outcome.give();
        }
    }
}

} // namespace detail

/**
 * Runs f(transaction&) so that it happens as a whole or not at all, and returns what it returns
 *
 * If what f has read changes meanwhile, f runs again, from its beginning: what it does besides
 * loads and stores must not mind, or wait for on_commit(). An exception that leaves f undoes
 * everything and goes on to the caller. Inside of another transaction of the thread it is a part of
 * that one.
 *
 * Throws timed_out and stopped (see limits), and std::system_error with the errors of
 * stm_tx_begin() and stm_tx_commit(). Signals do not end it. Every region that is open may take
 * part; a transaction is committed in all of its regions or in none.
 */
template <typename F>
decltype(auto) atomically(const region& where, F&& f, const limits& limit = {}) {
    return detail::run<transaction>(where, f, 0, limit);
}

/** The same for f(read_transaction&), which only reads. It costs no system call. */
template <typename F>
decltype(auto) read_only(const region& where, F&& f, const limits& limit = {}) {
    return detail::run<read_transaction>(where, f, STM_TX_READ_ONLY, limit);
}

/**
 * The same for f(transaction&) that runs once, because nobody else may commit to the region
 * meanwhile. So it may do what cannot be undone. It uses one region, and cannot retry().
 */
template <typename F>
decltype(auto) irrevocable(const region& where, F&& f) {
    return detail::run<transaction>(where, f, STM_TX_SERIAL, limits{});
}

template <typename T, typename... Arguments>
T& region::root(const Arguments&... arguments) const {
    const std::uint64_t fingerprint = fingerprint_of<T>();
    std::uint64_t offset = 0;
    std::uint64_t tag = 0;
    atomically(*this, [&](transaction& tx) {
        tx.expect(stm_heap_root(tx.handle(), handle(), &offset, &tag));
        if (offset != 0)
            return;
        offset = tx.make<T>(arguments...).offset();
        tag = fingerprint;
        tx.expect(stm_heap_set_root(tx.handle(), handle(), offset, tag));
    });
    if (tag != fingerprint)
        throw layout_error(std::string("stm::region: the root of the region is not what this "
                                       "program takes it for, or has another layout: ") +
                           typeid(T).name());
    return at<T>(offset);
}

} // namespace stm
