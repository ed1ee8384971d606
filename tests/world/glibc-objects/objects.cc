// SPDX-License-Identifier: GPL-2.0
#include "objects.hpp"

#include <cerrno>
#include <climits>
#include <ctime>
#include <linux/futex.h>
#include <ostream>
#include <sys/syscall.h>
#include <unistd.h>

namespace stm::world {
namespace {

// Since Linux 5.14 and 5.16; the system's headers may be older.
constexpr int kLockPi2 = 13;
constexpr long kFutexWaitv = 449;

constexpr struct timespec kPast { 1, 0 };

// -- Mutexes --

int mutex_lock(Memory& memory, const Object&) {
    return pthread_mutex_lock(&memory.mutex);
}
int mutex_trylock(Memory& memory, const Object&) {
    return pthread_mutex_trylock(&memory.mutex);
}
int mutex_timedlock(Memory& memory, const Object&) {
    return pthread_mutex_timedlock(&memory.mutex, &kPast);
}
int mutex_clocklock(Memory& memory, const Object&) {
    return pthread_mutex_clocklock(&memory.mutex, CLOCK_MONOTONIC, &kPast);
}
int mutex_unlock(Memory& memory, const Object&) {
    return pthread_mutex_unlock(&memory.mutex);
}
int mutex_consistent(Memory& memory, const Object&) {
    return pthread_mutex_consistent(&memory.mutex);
}
int mutex_lock_and_unlock(Memory& memory, const Object&) {
    int error = pthread_mutex_lock(&memory.mutex);
    if (error == EOWNERDEAD)
        pthread_mutex_consistent(&memory.mutex);
    else if (error != 0)
        return error;
    return error * 1000 + pthread_mutex_unlock(&memory.mutex);
}
int mutex_ceiling(Memory& memory, const Object&) {
    int ceiling = 0;
    const int error = pthread_mutex_getprioceiling(&memory.mutex, &ceiling);
    return error != 0 ? error : 1000 + ceiling;
}
int mutex_make(Memory& memory, const Object& object) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_settype(&attributes, object.type);
    pthread_mutexattr_setprotocol(&attributes, object.protocol);
    pthread_mutexattr_setrobust(&attributes, object.robust);
    return pthread_mutex_init(&memory.mutex, &attributes);
}

// -- Locks for reading and writing --

int rwlock_read(Memory& memory, const Object&) {
    return pthread_rwlock_rdlock(&memory.rwlock);
}
int rwlock_write(Memory& memory, const Object&) {
    return pthread_rwlock_wrlock(&memory.rwlock);
}
int rwlock_tryread(Memory& memory, const Object&) {
    return pthread_rwlock_tryrdlock(&memory.rwlock);
}
int rwlock_trywrite(Memory& memory, const Object&) {
    return pthread_rwlock_trywrlock(&memory.rwlock);
}
int rwlock_timedread(Memory& memory, const Object&) {
    return pthread_rwlock_timedrdlock(&memory.rwlock, &kPast);
}
int rwlock_clockwrite(Memory& memory, const Object&) {
    return pthread_rwlock_clockwrlock(&memory.rwlock, CLOCK_MONOTONIC, &kPast);
}
int rwlock_unlock(Memory& memory, const Object&) {
    return pthread_rwlock_unlock(&memory.rwlock);
}
int rwlock_make(Memory& memory, const Object& object) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_rwlockattr_setkind_np(&attributes, object.type);
    return pthread_rwlock_init(&memory.rwlock, &attributes);
}

// -- Barriers --

int barrier_wait(Memory& memory, const Object&) {
    return pthread_barrier_wait(&memory.barrier);
}
int barrier_make(Memory& memory, const Object& object) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    return pthread_barrier_init(&memory.barrier, &attributes, object.count);
}

// -- Conditions, with a mutex of any type --

int lock(Memory& memory) {
    const int error = pthread_mutex_lock(&memory.mutex);
    if (error == EOWNERDEAD)
        pthread_mutex_consistent(&memory.mutex);
    return error;
}
int condition_wait(Memory& memory, const Object&) {
    int error = lock(memory);
    if (error != 0 && error != EOWNERDEAD)
        return error;
    error = pthread_cond_wait(&memory.condition, &memory.mutex);
    if (error == EOWNERDEAD)
        pthread_mutex_consistent(&memory.mutex);
    return error * 1000 + pthread_mutex_unlock(&memory.mutex);
}
int condition_timedwait(Memory& memory, const Object&) {
    int error = lock(memory);
    if (error != 0 && error != EOWNERDEAD)
        return error;
    error = pthread_cond_timedwait(&memory.condition, &memory.mutex, &kPast);
    return error * 1000 + pthread_mutex_unlock(&memory.mutex);
}
int condition_clockwait(Memory& memory, const Object&) {
    int error = lock(memory);
    if (error != 0 && error != EOWNERDEAD)
        return error;
    error = pthread_cond_clockwait(&memory.condition, &memory.mutex, CLOCK_MONOTONIC, &kPast);
    return error * 1000 + pthread_mutex_unlock(&memory.mutex);
}
int condition_signal(Memory& memory, const Object&) {
    return pthread_cond_signal(&memory.condition);
}
int condition_signal_locked(Memory& memory, const Object&) {
    const int error = lock(memory);
    if (error != 0 && error != EOWNERDEAD)
        return error;
    pthread_cond_signal(&memory.condition);
    return error * 1000 + pthread_mutex_unlock(&memory.mutex);
}
int condition_broadcast(Memory& memory, const Object&) {
    return pthread_cond_broadcast(&memory.condition);
}
int condition_broadcast_locked(Memory& memory, const Object&) {
    const int error = lock(memory);
    if (error != 0 && error != EOWNERDEAD)
        return error;
    pthread_cond_broadcast(&memory.condition);
    return error * 1000 + pthread_mutex_unlock(&memory.mutex);
}
int condition_make(Memory& memory, const Object& object) {
    if (const int error = mutex_make(memory, object))
        return error;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_condattr_setclock(&attributes, object.clock);
    return pthread_cond_init(&memory.condition, &attributes);
}

// -- Semaphores and spin locks --

int result_of(long result) {
    return result < 0 ? errno : static_cast<int>(result);
}

int semaphore_wait(Memory& memory, const Object&) {
    return result_of(sem_wait(&memory.semaphore));
}
int semaphore_try(Memory& memory, const Object&) {
    return result_of(sem_trywait(&memory.semaphore));
}
int semaphore_timed(Memory& memory, const Object&) {
    return result_of(sem_timedwait(&memory.semaphore, &kPast));
}
int semaphore_clock(Memory& memory, const Object&) {
    return result_of(sem_clockwait(&memory.semaphore, CLOCK_MONOTONIC, &kPast));
}
int semaphore_post(Memory& memory, const Object&) {
    return result_of(sem_post(&memory.semaphore));
}
int semaphore_value(Memory& memory, const Object&) {
    int value = 0;
    sem_getvalue(&memory.semaphore, &value);
    return 1000 + value;
}

int spin_try(Memory& memory, const Object&) {
    return pthread_spin_trylock(&memory.spin);
}
int spin_unlock(Memory& memory, const Object&) {
    return pthread_spin_unlock(&memory.spin);
}

// -- Futexes, as the kernel has them --

int futex(std::uint32_t* word, int operation, std::uint32_t value, const void* time = nullptr,
          std::uint32_t* other = nullptr, std::uint32_t last = 0) {
    return result_of(::syscall(SYS_futex, word, operation, value, time, other, last));
}
const void* number(long value) { // where a time is expected
    return reinterpret_cast<const void*>(value);
}

template <int kWord>
int futex_wait(Memory& memory, const Object&) {
    return futex(&memory.words[kWord], FUTEX_WAIT, 0);
}
int futex_wait_far(Memory& memory, const Object&) {
    return futex(&memory.far, FUTEX_WAIT, 0);
}
int futex_wake_far(Memory& memory, const Object&) {
    return futex(&memory.far, FUTEX_WAKE, INT_MAX);
}
int futex_wait_bits(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_WAIT_BITSET, 0, nullptr, nullptr, 2);
}
int futex_wait_until(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_WAIT_BITSET, 0, &kPast, nullptr, FUTEX_BITSET_MATCH_ANY);
}
int futex_wait_private(Memory& memory, const Object&) {
    static constexpr struct timespec kShort { 0, 1000 };
    return futex(&memory.words[0], FUTEX_WAIT_PRIVATE, 0, &kShort);
}
int futex_wake_private(Memory& memory, const Object&) { // wakes none that waits for a shared one
    return futex(&memory.words[0], FUTEX_WAKE_PRIVATE, INT_MAX);
}
template <int kWord>
int futex_wake(Memory& memory, const Object&) {
    return futex(&memory.words[kWord], FUTEX_WAKE, 1);
}
int futex_wake_all_moved(Memory& memory, const Object&) {
    return futex(&memory.words[3], FUTEX_WAKE, INT_MAX);
}
int futex_wake_bits(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_WAKE_BITSET, INT_MAX, nullptr, nullptr, 6);
}
int futex_requeue(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_REQUEUE, 1, number(1), &memory.words[3]);
}
int futex_compare_requeue(Memory& memory, const Object&) {
    return futex(&memory.words[1], FUTEX_CMP_REQUEUE, 0, number(INT_MAX), &memory.words[3], 0);
}
int futex_wake_two(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_WAKE_OP, 1, number(1), &memory.words[1],
                 FUTEX_OP(FUTEX_OP_XOR, 1, FUTEX_OP_CMP_EQ, 0));
}
int futex_set(Memory& memory, const Object&) {
    __atomic_store_n(&memory.words[0], 1 - memory.words[0], __ATOMIC_SEQ_CST);
    return static_cast<int>(1000 + memory.words[0]);
}
int futex_clear(Memory& memory, const Object&) {
    __atomic_store_n(&memory.words[0], 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&memory.words[1], 0, __ATOMIC_SEQ_CST);
    return 0;
}
int futex_wait_many(Memory& memory, const Object&) {
    struct {
        std::uint64_t value, address;
        std::uint32_t flags, reserved;
    } waiters[3]{};
    std::uint32_t own = 0;
    std::uint32_t* words[3] = {&own, &memory.words[1], &memory.far};
    for (int at = 0; at < 3; ++at) {
        waiters[at].address = reinterpret_cast<std::uintptr_t>(words[at]);
        waiters[at].flags = at == 0 ? 2 | FUTEX_PRIVATE_FLAG : 2;
    }
    return result_of(::syscall(kFutexWaitv, waiters, 3, 0, nullptr, CLOCK_MONOTONIC));
}

// -- Futexes with priority inheritance --

int pi_lock(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_LOCK_PI, 0);
}
int pi_lock2(Memory& memory, const Object&) {
    return futex(&memory.words[0], kLockPi2, 0);
}
int pi_lock_until(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_LOCK_PI, 0, &kPast);
}
int pi_try(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_TRYLOCK_PI, 0);
}
int pi_unlock(Memory& memory, const Object&) {
    return futex(&memory.words[0], FUTEX_UNLOCK_PI, 0);
}
int pi_wait(Memory& memory, const Object&) { // has the lock afterwards
    return futex(&memory.words[1], FUTEX_WAIT_REQUEUE_PI, 0, nullptr, &memory.words[0]);
}
int pi_requeue(Memory& memory, const Object&) {
    return futex(&memory.words[1], FUTEX_CMP_REQUEUE_PI, 1, number(INT_MAX), &memory.words[0], 0);
}
int pi_wait_plainly(Memory& memory, const Object&) {
    static constexpr struct timespec kShort { 0, 1000 };
    return futex(&memory.words[0], FUTEX_WAIT, 0, &kShort);
}

} // namespace

void PrintTo(const Object& object, std::ostream* stream) {
    *stream << object.name;
}

std::vector<Object> all_objects() {
    std::vector<Object> objects;
    const std::pair<const char*, int> types[] = {{"Normal", PTHREAD_MUTEX_NORMAL},
                                                 {"Recursive", PTHREAD_MUTEX_RECURSIVE},
                                                 {"ErrorChecking", PTHREAD_MUTEX_ERRORCHECK},
                                                 {"Adaptive", PTHREAD_MUTEX_ADAPTIVE_NP}};
    const std::pair<const char*, int> protocols[] = {{"", PTHREAD_PRIO_NONE},
                                                     {"Inheriting", PTHREAD_PRIO_INHERIT},
                                                     {"Protecting", PTHREAD_PRIO_PROTECT}};
    const std::pair<const char*, int> robust[] = {{"", PTHREAD_MUTEX_STALLED},
                                                  {"Robust", PTHREAD_MUTEX_ROBUST}};
    for (const auto& [type_name, type] : types)
        for (const auto& [protocol_name, protocol] : protocols)
            for (const auto& [robust_name, robust_value] : robust)
                objects.push_back({What::mutex,
                                   std::string(robust_name) + protocol_name + type_name + "Mutex",
                                   type, protocol, robust_value});
    objects.push_back({What::rwlock, "RwlockThatPrefersReaders", PTHREAD_RWLOCK_PREFER_READER_NP});
    objects.push_back(
        {What::rwlock, "RwlockThatPrefersWriters", PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP});
    for (const unsigned count : {1U, 2U, 3U})
        objects.push_back({What::barrier, "BarrierOf" + std::to_string(count), 0, 0, 0, 0, count});
    const std::pair<const char*, int> clocks[] = {{"Realtime", CLOCK_REALTIME},
                                                  {"Monotonic", CLOCK_MONOTONIC}};
    for (const auto& [clock_name, clock] : clocks)
        for (const auto& [protocol_name, protocol] : {protocols[0], protocols[1]})
            for (const auto& [robust_name, robust_value] : robust)
                objects.push_back({What::condition,
                                   std::string(clock_name) + "ConditionOf" + robust_name +
                                       protocol_name + "Mutex",
                                   PTHREAD_MUTEX_NORMAL, protocol, robust_value, clock});
    objects.push_back({What::semaphore, "Semaphore", 0, 0, 0, 0, 1});
    objects.push_back({What::spin, "SpinLock"});
    objects.push_back({What::futex, "Futexes"});
    objects.push_back({What::pi, "FutexesThatInherit"});
    return objects;
}

int make(Memory& memory, const Object& object) {
    switch (object.what) {
    case What::mutex:
        return mutex_make(memory, object);
    case What::rwlock:
        return rwlock_make(memory, object);
    case What::barrier:
        return barrier_make(memory, object);
    case What::condition:
        return condition_make(memory, object);
    case What::semaphore:
        return result_of(sem_init(&memory.semaphore, 1, object.count));
    case What::spin:
        return pthread_spin_init(&memory.spin, PTHREAD_PROCESS_SHARED);
    case What::futex:
    case What::pi:
        break;
    }
    return 0;
}

const std::vector<Action>& actions_of(What what) {
    static const std::vector<Action> mutex = {{"lock", mutex_lock},
                                              {"trylock", mutex_trylock},
                                              {"timedlock", mutex_timedlock, Sleep::for_a_time},
                                              {"clocklock", mutex_clocklock, Sleep::for_a_time},
                                              {"unlock", mutex_unlock},
                                              {"unlock", mutex_unlock},
                                              {"consistent", mutex_consistent},
                                              {"lock and unlock", mutex_lock_and_unlock},
                                              {"getprioceiling", mutex_ceiling}};
    static const std::vector<Action> rwlock = {
        {"rdlock", rwlock_read},
        {"wrlock", rwlock_write},
        {"tryrdlock", rwlock_tryread},
        {"trywrlock", rwlock_trywrite},
        {"timedrdlock", rwlock_timedread, Sleep::for_a_time},
        {"clockwrlock", rwlock_clockwrite, Sleep::for_a_time},
        {"unlock", rwlock_unlock}};
    static const std::vector<Action> barrier = {{"wait", barrier_wait}};
    static const std::vector<Action> condition = {
        {"wait", condition_wait},
        {"wait", condition_wait},
        {"timedwait", condition_timedwait, Sleep::for_a_time},
        {"clockwait", condition_clockwait, Sleep::for_a_time},
        {"signal", condition_signal},
        {"signal with the mutex", condition_signal_locked},
        {"broadcast", condition_broadcast},
        {"broadcast with the mutex", condition_broadcast_locked}};
    static const std::vector<Action> semaphore = {{"wait", semaphore_wait},
                                                  {"trywait", semaphore_try},
                                                  {"timedwait", semaphore_timed, Sleep::for_a_time},
                                                  {"clockwait", semaphore_clock, Sleep::for_a_time},
                                                  {"post", semaphore_post},
                                                  {"post", semaphore_post},
                                                  {"getvalue", semaphore_value}};
    static const std::vector<Action> spin = {{"trylock", spin_try}, {"unlock", spin_unlock}};
    static const std::vector<Action> futex = {
        {"wait 0", futex_wait<0>},
        {"wait 1", futex_wait<1>},
        {"wait far", futex_wait_far},
        {"wake far", futex_wake_far},
        {"wait for bits", futex_wait_bits},
        {"wait until", futex_wait_until, Sleep::for_a_time},
        {"wait privately", futex_wait_private, Sleep::for_a_time},
        {"wake privately", futex_wake_private},
        {"wake 0", futex_wake<0>},
        {"wake 1", futex_wake<1>},
        {"wake the moved ones", futex_wake_all_moved},
        {"wake those with bits", futex_wake_bits},
        {"requeue", futex_requeue},
        {"compare and requeue", futex_compare_requeue},
        {"change and wake two", futex_wake_two},
        {"set", futex_set},
        {"clear", futex_clear},
        {"wait for many", futex_wait_many}};
    static const std::vector<Action> pi = {{"lock", pi_lock},
                                           {"lock 2", pi_lock2},
                                           {"lock until", pi_lock_until, Sleep::for_a_time},
                                           {"trylock", pi_try},
                                           {"unlock", pi_unlock},
                                           {"unlock", pi_unlock},
                                           {"wait for a requeue", pi_wait},
                                           {"requeue", pi_requeue},
                                           {"wait plainly", pi_wait_plainly, Sleep::for_a_time}};
    switch (what) {
    case What::mutex:
        return mutex;
    case What::rwlock:
        return rwlock;
    case What::barrier:
        return barrier;
    case What::condition:
        return condition;
    case What::semaphore:
        return semaphore;
    case What::spin:
        return spin;
    case What::futex:
        return futex;
    case What::pi:
        break;
    }
    return pi;
}

} // namespace stm::world
