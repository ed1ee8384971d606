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
#include <utility>

namespace stm::simulated {

namespace {

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

struct Sleeper {
    std::mutex lock;
    std::condition_variable changed;
};

// A sleeper's place in one queue.
struct Bed {
    Sleeper* sleeper;
    std::uint64_t keys;
    const Question* asked_by_waker; // or null
    Bed* next;
};

struct WaitQueue {
    std::mutex lock;
    Bed* first;
    std::atomic<int> waiting;

    void enter(Bed& bed) {
        const std::lock_guard held(lock);
        bed.next = std::exchange(first, &bed);
        waiting.fetch_add(1);
    }
    void leave(const Bed& bed) {
        const std::lock_guard held(lock);
        Bed** place = &first;
        while (*place != &bed)
            place = &(*place)->next;
        *place = bed.next;
        waiting.fetch_sub(1);
    }
};

static_assert(sizeof(WaitQueue) <= sizeof(stm_wait_queue));
WaitQueue& of(stm_wait_queue* queue) {
    return *std::launder(reinterpret_cast<WaitQueue*>(queue->words));
}

std::atomic<int> all_sleepers{0};
std::atomic<std::uint64_t> stopped_at{0}; // 0: the clock runs
std::atomic<std::uint64_t> realtime{1'700'000'000'000'000'000};

constexpr std::uint64_t kForever = ~std::uint64_t{0};

// Of a Sleepless thread: no time goes by.
int nap(std::uint64_t timeout_ns) {
    constexpr int kMostNaps = 100;
    if (timeout_ns == kForever || ++thread.naps > kMostNaps)
        return -EINTR;
    thread.slept += timeout_ns;
    return -ETIMEDOUT;
}

int sleep_locked(std::unique_lock<std::mutex>& held, Sleeper& sleeper, const Question& question,
                 std::uint64_t timeout_ns) {
    // Nothing in a test waits that long.
    constexpr std::uint64_t kLongest = 60'000'000'000;
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::nanoseconds(std::min(timeout_ns, kLongest));
    while (!question.is_answered()) {
        if (thread.dying != 0)
            return -EINTR;
        if (sleeper.changed.wait_until(held, end) == std::cv_status::timeout) {
            if (timeout_ns == kForever)
                abort_with("a thread waits forever");
            return question.is_answered() ? 0 : -ETIMEDOUT;
        }
    }
    return 0;
}

int sleep(const stm_bed* beds, unsigned count, const Question& question, stm_wait_asks asks,
          std::uint64_t timeout_ns) {
    Sleeper sleeper;
    Bed places[STM_MOST_BEDS];
    for (unsigned i = 0; i < count; ++i) {
        places[i] = {&sleeper, beds[i].keys, asks == STM_ASKS_WAKER ? &question : nullptr, nullptr};
        of(beds[i].queue).enter(places[i]);
    }
    all_sleepers.fetch_add(1);
    int result = 0;
    {
        std::unique_lock held(sleeper.lock);
        result = sleep_locked(held, sleeper, question, timeout_ns);
    }
    all_sleepers.fetch_sub(1);
    for (unsigned i = 0; i < count; ++i)
        of(beds[i].queue).leave(places[i]);
    return result;
}

void wake(stm_wait_queue* queue, std::uint64_t keys) {
    WaitQueue& waiters = of(queue);
    // A read-modify-write: either it sees the waiter, or the waiter sees what happened before it.
    if (waiters.waiting.fetch_add(0) == 0)
        return;
    const std::lock_guard held(waiters.lock);
    for (const Bed* bed = waiters.first; bed != nullptr; bed = bed->next) {
        if ((bed->keys & keys) == 0)
            continue;
        if (bed->asked_by_waker != nullptr && !bed->asked_by_waker->is_answered())
            continue;
        // Who has asked already and does not sleep yet holds the lock.
        { const std::lock_guard also(bed->sleeper->lock); }
        bed->sleeper->changed.notify_all();
    }
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

int stm_linux_wait(const stm_bed* beds, unsigned count, int (*ready)(void* context), void* context,
                   stm_wait_asks asks, __u64 timeout_ns, stm_wait_kind) {
    const Service service("wait", Context::may_sleep, Failure::wait);
    expect(count >= 1 && count <= STM_MOST_BEDS, "a wait on no queue, or on too many");
    if (service.fails())
        return -EINTR;
    const Question question{ready, context};
    if (question.is_answered())
        return 0;
    return thread.sleepless ? nap(timeout_ns) : sleep(beds, count, question, asks, timeout_ns);
}

void stm_linux_wake(stm_wait_queue* queue, __u64 keys) {
    const Service service("wake", Context::any);
    wake(queue, keys);
}

// Nobody polls here.
int stm_linux_wake_pollers(stm_wait_queue*) {
    const Service service("wake", Context::any);
    return 0;
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
