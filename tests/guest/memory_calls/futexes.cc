// SPDX-License-Identifier: GPL-2.0
// futex() and its successors, on a word of the mapping that holds 0. The other side is another
// process, or a thread where the futex is private.
#include "rows.hpp"

#include <chrono>
#include <csignal>
#include <ctime>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <thread>

namespace stm::test {

namespace {

// Since Linux 5.16 and 6.7; the system's headers may be older.
constexpr long kFutexWaitv = 449;
constexpr long kFutexWake = 454;
constexpr long kFutexWait = 455;
constexpr long kFutexRequeue = 456;
constexpr unsigned kSize32 = 2;
constexpr int kLockPi2 = 13;

struct Waiter {
    std::uint64_t value = 0;
    std::uint64_t address = 0;
    std::uint32_t flags = kSize32;
    std::uint32_t reserved = 0;
};

Waiter waiter_on(const unsigned* word, std::uint64_t value = 0) {
    Waiter waiter;
    waiter.value = value;
    waiter.address = reinterpret_cast<std::uintptr_t>(word);
    return waiter;
}

constexpr auto kEvery = std::chrono::milliseconds(2);
constexpr int kPatience = 5; // seconds
constexpr unsigned kAll = 0xffffffff;

struct timespec in_seconds(time_t seconds) {
    return {seconds, 0};
}

struct timespec at_seconds(time_t seconds) {
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return {now.tv_sec + seconds, now.tv_nsec};
}

long futex(unsigned* word, int what, unsigned value, const void* time = nullptr,
           unsigned* other = nullptr, unsigned last = 0) {
    return ::syscall(SYS_futex, word, what, value, time, other, last);
}

// Asks again until somebody was there to be woken, or moved.
long until_somebody(const std::function<long()>& wake) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(kPatience);
    long result = wake();
    while (result == 0 && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(kEvery);
        result = wake();
    }
    return result;
}

// A child of fork at the other side; it goes with its owner.
class Other {
public:
    explicit Other(const std::function<void()>& body) : pid_(::fork()) {
        if (pid_ == 0) {
            body();
            ::_exit(0);
        }
    }
    ~Other() {
        const int error = errno;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        errno = error;
    }
    Other(const Other&) = delete;
    Other& operator=(const Other&) = delete;

private:
    pid_t pid_;
};

using Call = std::function<long(unsigned* word)>;

std::string woken_by_a_process(Subject& subject, const Call& wait) {
    unsigned* const word = subject.word();
    const Other waker([&] { (void)until_somebody([&] { return futex(word, FUTEX_WAKE, 1); }); });
    return said(wait(word));
}

std::string wakes_a_process(Subject& subject, const Call& wake, std::size_t other = 0) {
    unsigned* const word = subject.word(other);
    const Other sleeper([&] {
        const struct timespec time = in_seconds(2 * kPatience);
        futex(word, FUTEX_WAIT, 0, &time);
    });
    return said(until_somebody([&] { return wake(subject.word()); }));
}

// Moves a waiter to another word, and wakes it there.
std::string moves_a_process(Subject& subject, const Call& move) {
    unsigned* const word = subject.word();
    const Other sleeper([&] {
        const struct timespec time = in_seconds(2 * kPatience);
        futex(word, FUTEX_WAIT, 0, &time);
    });
    const std::string moved = said(until_somebody([&] { return move(word); }));
    if (moved != "1")
        return moved;
    return moved + ", FUTEX_WAKE there: " + said(futex(subject.word(1), FUTEX_WAKE, 1));
}

std::string woken_by_a_thread(Subject& subject) {
    unsigned* const word = subject.word();
    const struct timespec time = in_seconds(kPatience);
    std::thread waker(
        [&] { (void)until_somebody([&] { return futex(word, FUTEX_WAKE_PRIVATE, 1); }); });
    const std::string result = said(futex(word, FUTEX_WAIT_PRIVATE, 0, &time));
    waker.join();
    return result;
}

std::string locks(Subject& subject, int what) {
    const std::string result = said(futex(subject.word(), what, 0));
    return result == "0" ? "0, FUTEX_UNLOCK_PI: " + said(futex(subject.word(), FUTEX_UNLOCK_PI, 0))
                         : result;
}

long waitv(unsigned* word, std::uint64_t value) {
    const Waiter waiter = waiter_on(word, value);
    const struct timespec time = at_seconds(kPatience);
    return ::syscall(kFutexWaitv, &waiter, 1, 0, &time, CLOCK_MONOTONIC);
}

long wait_2(unsigned* word, unsigned long value) {
    const struct timespec time = at_seconds(kPatience);
    return ::syscall(kFutexWait, word, value, static_cast<unsigned long>(kAll), kSize32, &time,
                     CLOCK_MONOTONIC);
}

Row wait_row(const char* name, const Call& wait) {
    return {std::string(name) + ", woken by a process",
            [wait](Subject& subject) { return woken_by_a_process(subject, wait); }};
}

Row wake_row(const char* name, const Call& wake, std::size_t other = 0) {
    return {std::string(name) + ", of a process",
            [wake, other](Subject& subject) { return wakes_a_process(subject, wake, other); }};
}

Row move_row(const char* name, const std::function<long(unsigned*, unsigned*)>& move) {
    return {std::string(name) + ", of a process", [move](Subject& subject) {
                unsigned* const to = subject.word(1);
                return moves_a_process(subject, [&](unsigned* word) { return move(word, to); });
            }};
}

} // namespace

Rows futex_rows() {
    // A limit of the number of waiters stands where others have their time.
    const auto* const kMoveOne = reinterpret_cast<const void*>(1);
    constexpr unsigned kAddNothing = FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0);
    return {
        {"FUTEX_WAIT for another value",
         [](Subject& s) { return said(futex(s.word(), FUTEX_WAIT, 1)); }},
        wait_row("FUTEX_WAIT",
                 [](unsigned* word) {
                     const struct timespec time = in_seconds(kPatience);
                     return futex(word, FUTEX_WAIT, 0, &time);
                 }),
        wait_row("FUTEX_WAIT_BITSET",
                 [](unsigned* word) {
                     const struct timespec time = at_seconds(kPatience);
                     return futex(word, FUTEX_WAIT_BITSET, 0, &time, nullptr, kAll);
                 }),
        {"FUTEX_WAIT_PRIVATE, woken by a thread", woken_by_a_thread},
        wake_row("FUTEX_WAKE", [](unsigned* word) { return futex(word, FUTEX_WAKE, 1); }),
        wake_row("FUTEX_WAKE_BITSET",
                 [](unsigned* word) {
                     return futex(word, FUTEX_WAKE_BITSET, 1, nullptr, nullptr, kAll);
                 }),
        {"FUTEX_WAKE_OP, of a process",
         [](Subject& s) {
             unsigned* const second = s.word(1);
             return wakes_a_process(s, [&](unsigned* word) {
                 return futex(word, FUTEX_WAKE_OP, 1, nullptr, second, kAddNothing);
             });
         }},
        move_row("FUTEX_REQUEUE",
                 [=](unsigned* from, unsigned* to) {
                     return futex(from, FUTEX_REQUEUE, 0, kMoveOne, to);
                 }),
        move_row("FUTEX_CMP_REQUEUE",
                 [=](unsigned* from, unsigned* to) {
                     return futex(from, FUTEX_CMP_REQUEUE, 0, kMoveOne, to, 0);
                 }),
        {"FUTEX_LOCK_PI", [](Subject& s) { return locks(s, FUTEX_LOCK_PI); }},
        {"FUTEX_LOCK_PI2", [](Subject& s) { return locks(s, kLockPi2); }},
        {"FUTEX_TRYLOCK_PI", [](Subject& s) { return locks(s, FUTEX_TRYLOCK_PI); }},
        {"futex_waitv for another value", [](Subject& s) { return said(waitv(s.word(), 1)); }},
        wait_row("futex_waitv", [](unsigned* word) { return waitv(word, 0); }),
        {"futex_wait for another value", [](Subject& s) { return said(wait_2(s.word(), 1)); }},
        wait_row("futex_wait", [](unsigned* word) { return wait_2(word, 0); }),
        wake_row("futex_wake",
                 [](unsigned* word) {
                     return ::syscall(kFutexWake, word, static_cast<unsigned long>(kAll), 1,
                                      kSize32);
                 }),
        move_row("futex_requeue",
                 [](unsigned* from, unsigned* to) {
                     const Waiter words[] = {waiter_on(from), waiter_on(to)};
                     return ::syscall(kFutexRequeue, words, 0, 0, 1);
                 }),
    };
}

} // namespace stm::test
