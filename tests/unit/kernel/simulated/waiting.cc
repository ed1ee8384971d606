// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

namespace stm::simulated {

namespace {

struct WaitQueue {
    std::mutex lock;
    std::condition_variable changed;
    std::atomic<int> waiting;
};

static_assert(sizeof(WaitQueue) <= sizeof(stm_wait_queue));
WaitQueue& of(stm_wait_queue* queue) {
    return *std::launder(reinterpret_cast<WaitQueue*>(queue->words));
}

std::atomic<int> all_sleepers{0};
std::atomic<std::uint64_t> stopped_at{0}; // 0: the clock runs
std::atomic<std::uint64_t> realtime{1'700'000'000'000'000'000};

// What a thread waits for. It is asked where nothing may sleep.
struct Question {
    int (*ready)(void* context);
    void* context;

    bool is_answered() const {
        ++thread.atomic_context;
        const bool answer = ready(context) != 0;
        --thread.atomic_context;
        return answer;
    }
};

constexpr std::uint64_t kForever = ~std::uint64_t{0};

// Of a Sleepless thread: no time goes by.
int nap(std::uint64_t timeout_ns) {
    constexpr int kMostNaps = 100;
    if (timeout_ns == kForever || ++thread.naps > kMostNaps)
        return -EINTR;
    thread.slept += timeout_ns;
    return -ETIMEDOUT;
}

int sleep_locked(std::unique_lock<std::mutex>& held, WaitQueue& queue, const Question& question,
                 std::uint64_t timeout_ns) {
    // Nothing in a test waits that long.
    constexpr std::uint64_t kLongest = 60'000'000'000;
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::nanoseconds(std::min(timeout_ns, kLongest));
    while (!question.is_answered()) {
        if (thread.dying != 0)
            return -EINTR;
        if (queue.changed.wait_until(held, end) == std::cv_status::timeout) {
            if (timeout_ns == kForever)
                abort_with("a thread waits forever");
            return question.is_answered() ? 0 : -ETIMEDOUT;
        }
    }
    return 0;
}

int sleep(WaitQueue& queue, const Question& question, std::uint64_t timeout_ns) {
    queue.waiting.fetch_add(1);
    all_sleepers.fetch_add(1);
    int result = 0;
    {
        std::unique_lock held(queue.lock);
        result = sleep_locked(held, queue, question, timeout_ns);
    }
    all_sleepers.fetch_sub(1);
    queue.waiting.fetch_sub(1);
    return result;
}

} // namespace

int sleepers() {
    return all_sleepers.load();
}

Sleepless::Sleepless() {
    thread.sleepless = true;
    thread.naps = 0;
}

Sleepless::~Sleepless() {
    thread.sleepless = false;
}

StoppedClock::StoppedClock() {
    stopped_at = stm_linux_monotonic_ns();
}

StoppedClock::~StoppedClock() {
    stopped_at = 0;
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

void stm_linux_wait_queue_init(stm_wait_queue* queue) {
    new (queue->words) WaitQueue{};
}

int stm_linux_wait(stm_wait_queue* queue, int (*ready)(void* context), void* context,
                   __u64 timeout_ns, stm_wait_kind) {
    const Service service("wait", Context::may_sleep, Failure::wait);
    if (service.fails())
        return -EINTR;
    const Question question{ready, context};
    if (question.is_answered())
        return 0;
    return thread.sleepless ? nap(timeout_ns) : sleep(of(queue), question, timeout_ns);
}

void stm_linux_wake(stm_wait_queue* queue) {
    const Service service("wake", Context::any);
    WaitQueue& waiters = of(queue);
    // A read-modify-write: either it sees the waiter, or the waiter sees what happened before it.
    if (waiters.waiting.fetch_add(0) == 0)
        return;
    // Who has asked already and does not sleep yet holds the lock.
    { const std::lock_guard held(waiters.lock); }
    waiters.changed.notify_all();
}

void stm_linux_delay(__u64 nanoseconds) {
    const Service service("delay", Context::may_sleep);
    expect(nanoseconds <= 10'000'000, "a delay of more than 10 ms");
    if (thread.sleepless) {
        thread.slept += nanoseconds;
        return;
    }
    // Time is dear in a test.
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min<__u64>(nanoseconds, 20'000)));
}

__u64 stm_linux_monotonic_ns() {
    if (thread.sleepless)
        return 1'000'000'000 + thread.slept;
    if (const std::uint64_t still = stopped_at.load(kRelaxed); still != 0)
        return still;
    return static_cast<__u64>(std::chrono::steady_clock::now().time_since_epoch().count());
}

void stm_linux_stay_on_processor() {
    const Service service("stay_on_processor", Context::any);
    ++thread.atomic_context;
}

void stm_linux_leave_processor() {
    --thread.atomic_context;
    expect(thread.atomic_context >= 0, "a thread leaves its processor once too often");
}

void stm_linux_pause() {
    std::this_thread::yield();
}

__u64 stm_linux_realtime_ns() {
    return realtime.fetch_add(1000, kRelaxed);
}

} // extern "C"
