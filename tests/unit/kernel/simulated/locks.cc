// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/locks.hpp"

#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <string>

namespace stm::simulated {

namespace {

template <typename Lock>
struct Ranked {
    Lock lock;
    int rank;
};

using Mutex = Ranked<std::mutex>;
using SharedMutex = Ranked<std::shared_mutex>;
static_assert(sizeof(Mutex) <= sizeof(stm_mutex) &&
              sizeof(SharedMutex) <= sizeof(stm_shared_mutex));

Mutex& of(stm_mutex* mutex) {
    return *std::launder(reinterpret_cast<Mutex*>(mutex->words));
}
SharedMutex& of(stm_shared_mutex* mutex) {
    return *std::launder(reinterpret_cast<SharedMutex*>(mutex->words));
}

} // namespace

void acquired(const void* lock, int rank) {
    for (const Held& one : thread.held) {
        if (one.rank >= rank)
            violated("lock of rank " + std::to_string(rank) + " taken while one of rank " +
                     std::to_string(one.rank) + " is held");
    }
    thread.held.push_back({lock, rank});
}

void before_acquiring(const void* lock) {
    const auto same = [&](const Held& one) { return one.lock == lock; };
    if (std::any_of(thread.held.begin(), thread.held.end(), same))
        abort_with("a thread waits for a lock that it holds");
}

void released(const void* lock) {
    const auto same = [&](const Held& one) { return one.lock == lock; };
    const auto place = std::find_if(thread.held.begin(), thread.held.end(), same);
    if (place == thread.held.end())
        violated("a lock was unlocked by a thread that does not hold it");
    else
        thread.held.erase(place);
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

void stm_linux_mutex_init(stm_mutex* mutex, stm_lock_rank rank) {
    new (mutex->words) Mutex{{}, rank};
    counters.locks.fetch_add(1, kRelaxed);
}
void stm_linux_mutex_destroy(stm_mutex* mutex) {
    of(mutex).~Mutex();
    counters.locks.fetch_sub(1, kRelaxed);
}
void stm_linux_mutex_lock(stm_mutex* mutex) {
    const Service service("mutex_lock", Context::may_sleep);
    before_acquiring(mutex);
    of(mutex).lock.lock();
    acquired(mutex, of(mutex).rank);
}
int stm_linux_mutex_try_lock(stm_mutex* mutex) {
    const Service service("mutex_try_lock", Context::may_sleep);
    before_acquiring(mutex);
    if (!of(mutex).lock.try_lock())
        return 0;
    acquired(mutex, of(mutex).rank);
    return 1;
}
void stm_linux_mutex_unlock(stm_mutex* mutex) {
    released(mutex);
    of(mutex).lock.unlock();
}

void stm_linux_shared_mutex_init(stm_shared_mutex* mutex, stm_lock_rank rank) {
    new (mutex->words) SharedMutex{{}, rank};
    counters.locks.fetch_add(1, kRelaxed);
}
void stm_linux_shared_mutex_destroy(stm_shared_mutex* mutex) {
    of(mutex).~SharedMutex();
    counters.locks.fetch_sub(1, kRelaxed);
}
int stm_linux_shared_mutex_lock(stm_shared_mutex* mutex) {
    const Service service("shared_mutex_lock", Context::may_sleep, Failure::lock);
    if (service.fails())
        return -EINTR;
    before_acquiring(mutex);
    of(mutex).lock.lock();
    acquired(mutex, of(mutex).rank);
    return 0;
}
void stm_linux_shared_mutex_unlock(stm_shared_mutex* mutex) {
    released(mutex);
    of(mutex).lock.unlock();
}
int stm_linux_shared_mutex_lock_shared(stm_shared_mutex* mutex) {
    const Service service("shared_mutex_lock_shared", Context::may_sleep, Failure::lock);
    if (service.fails())
        return -EINTR;
    before_acquiring(mutex);
    of(mutex).lock.lock_shared();
    acquired(mutex, of(mutex).rank);
    return 0;
}
void stm_linux_shared_mutex_unlock_shared(stm_shared_mutex* mutex) {
    released(mutex);
    of(mutex).lock.unlock_shared();
}

} // extern "C"
