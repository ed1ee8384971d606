// SPDX-License-Identifier: GPL-2.0
// What programs synchronise with, placed in a plain region: the C library and the kernel must find
// that two mappings are the same memory.
#include "guest.hpp"

#include <climits>
#include <csignal>
#include <ctime>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>

using namespace stm::test;

namespace {

constexpr int kRounds = 500;

struct Shared {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    sem_t semaphore;
    pthread_barrier_t barrier;
    std::uint32_t futex;
    long sum; // protected by `mutex`
};

long futex(std::uint32_t* word, int operation, std::uint32_t value,
           const struct timespec* time = nullptr) {
    return ::syscall(SYS_futex, word, operation, value, time, nullptr, 0);
}

class Synchronisation : public ::testing::Test {
protected:
    void SetUp() override {
        ASSERT_TRUE(mapping_.ok());
        pthread_mutexattr_t mutex;
        pthread_mutexattr_init(&mutex);
        pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
        ASSERT_EQ(pthread_mutex_init(&shared_->mutex, &mutex), 0);
        pthread_condattr_t condition;
        pthread_condattr_init(&condition);
        pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
        ASSERT_EQ(pthread_cond_init(&shared_->condition, &condition), 0);
        ASSERT_EQ(sem_init(&shared_->semaphore, 1, 0), 0);
    }

    Region region_{"synchronisation", 2 * kPage};
    Mapping mapping_{region_.fd(), 2 * kPage};
    Shared* shared_ = mapping_.at<Shared>();
};

void add_under_mutex(Shared& shared) {
    for (int round = 0; round < kRounds; ++round) {
        ASSERT_EQ(pthread_mutex_lock(&shared.mutex), 0);
        long sum = shared.sum;
        if (round % 50 == 0)
            ::sched_yield();
        shared.sum = sum + 1;
        ASSERT_EQ(pthread_mutex_unlock(&shared.mutex), 0);
    }
}

STM_HELPER(add_under_mutex) {
    // Mapped elsewhere than in the others, as an unrelated process would.
    Fd fd(stm_open(words.at(0).c_str(), 0, 0, 0));
    void* where = reinterpret_cast<void*>(std::stoul(words.at(1), nullptr, 16));
    Mapping mapping(fd.get(), 2 * kPage, PROT_READ | PROT_WRITE, 0,
                    MAP_SHARED | MAP_FIXED_NOREPLACE, where);
    if (!mapping.ok())
        return 2;
    add_under_mutex(*mapping.at<Shared>());
    return 0;
}

STM_HELPER(wait_on_futex) {
    Fd fd(stm_open(words.at(0).c_str(), 0, 0, 0));
    Mapping mapping(fd.get(), 2 * kPage);
    std::uint32_t* word = &mapping.at<Shared>()->futex;
    __atomic_store_n(word, 1, __ATOMIC_RELEASE);
    struct timespec limit {
        20, 0
    };
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 1)
        if (futex(word, FUTEX_WAIT, 1, &limit) != 0 && errno == ETIMEDOUT)
            return 3;
    return 0;
}

TEST_F(Synchronisation, MutexIsSharedByFork) {
    std::vector<Child> children;
    for (int index = 0; index < 4; ++index)
        children.push_back(Child::doing([&] { add_under_mutex(*shared_); }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(shared_->sum, 4L * kRounds);
}

TEST_F(Synchronisation, MutexIsSharedByUnrelatedProcessesAtOtherAddresses) {
    std::vector<Child> children;
    for (const char* where : {"10000000", "20000000", "30000000"})
        children.push_back(Child::program("add_under_mutex", {region_.name(), where}));
    add_under_mutex(*shared_);
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(shared_->sum, 4L * kRounds);
}

TEST_F(Synchronisation, MutexOfAKilledOwnerIsFoundDead) {
    Child child([&] {
        pthread_mutex_lock(&shared_->mutex);
        __atomic_store_n(&shared_->futex, 1, __ATOMIC_RELEASE);
        ::pause();
        return 0;
    });
    ASSERT_TRUE(
        eventually([&] { return __atomic_load_n(&shared_->futex, __ATOMIC_ACQUIRE) == 1; }));
    child.kill(SIGKILL);
    child.wait();
    struct timespec limit;
    ::clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 20;
    EXPECT_EQ(pthread_mutex_timedlock(&shared_->mutex, &limit), EOWNERDEAD);
    EXPECT_EQ(pthread_mutex_consistent(&shared_->mutex), 0);
    EXPECT_EQ(pthread_mutex_unlock(&shared_->mutex), 0);
}

TEST_F(Synchronisation, ConditionWakesAnotherProcess) {
    Child child = Child::doing([&] {
        pthread_mutex_lock(&shared_->mutex);
        while (shared_->sum == 0)
            pthread_cond_wait(&shared_->condition, &shared_->mutex);
        EXPECT_EQ(shared_->sum, 1);
        shared_->sum = 2;
        pthread_cond_signal(&shared_->condition);
        pthread_mutex_unlock(&shared_->mutex);
    });
    pthread_mutex_lock(&shared_->mutex);
    shared_->sum = 1;
    pthread_cond_broadcast(&shared_->condition);
    while (shared_->sum != 2)
        pthread_cond_wait(&shared_->condition, &shared_->mutex);
    pthread_mutex_unlock(&shared_->mutex);
    EXPECT_EQ(child.wait(), 0);
}

TEST_F(Synchronisation, SemaphoreHandsOver) {
    sem_t* back = mapping_.at<sem_t>(kPage);
    ASSERT_EQ(sem_init(back, 1, 0), 0);
    Child child = Child::doing([&] {
        Fd fd(stm_open(region_.name().c_str(), 0, 0, 0));
        Mapping own(fd.get(), 2 * kPage);
        for (int round = 0; round < kRounds; ++round) {
            ASSERT_EQ(sem_wait(&own.at<Shared>()->semaphore), 0);
            ASSERT_EQ(++own.at<Shared>()->sum, 2 * round + 2);
            ASSERT_EQ(sem_post(own.at<sem_t>(kPage)), 0);
        }
    });
    for (int round = 0; round < kRounds; ++round) {
        ASSERT_EQ(++shared_->sum, 2 * round + 1);
        ASSERT_EQ(sem_post(&shared_->semaphore), 0);
        ASSERT_EQ(sem_wait(back), 0);
    }
    EXPECT_EQ(child.wait(), 0);
}

TEST_F(Synchronisation, FutexWakesAnUnrelatedProcess) {
    Child child = Child::program("wait_on_futex", {region_.name()});
    ASSERT_TRUE(
        eventually([&] { return __atomic_load_n(&shared_->futex, __ATOMIC_ACQUIRE) == 1; }));
    // Woken, not only lucky to look at the right time: the wake reports that somebody slept.
    EXPECT_TRUE(eventually([&] { return futex(&shared_->futex, FUTEX_WAKE, INT_MAX) == 1; }));
    __atomic_store_n(&shared_->futex, 2, __ATOMIC_RELEASE);
    futex(&shared_->futex, FUTEX_WAKE, INT_MAX);
    EXPECT_EQ(child.wait(), 0);
}

TEST_F(Synchronisation, FutexOnAnUntouchedPageWorks) {
    std::uint32_t* word = mapping_.at<std::uint32_t>(kPage + 64);
    struct timespec limit {
        0, 1000000
    };
    EXPECT_EQ(futex(word, FUTEX_WAIT, 0, &limit), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    EXPECT_EQ(futex(word, FUTEX_WAIT, 1, &limit), -1);
    EXPECT_EQ(errno, EAGAIN);
}

TEST_F(Synchronisation, FutexesOfTwoRegionsAreApart) {
    Region other("other", 2 * kPage);
    Mapping mapping(other.fd(), 2 * kPage);
    Child child = Child::program("wait_on_futex", {region_.name()});
    ASSERT_TRUE(
        eventually([&] { return __atomic_load_n(&shared_->futex, __ATOMIC_ACQUIRE) == 1; }));
    ::usleep(50000);
    EXPECT_EQ(futex(&mapping.at<Shared>()->futex, FUTEX_WAKE, INT_MAX), 0);
    __atomic_store_n(&shared_->futex, 2, __ATOMIC_RELEASE);
    futex(&shared_->futex, FUTEX_WAKE, INT_MAX);
    EXPECT_EQ(child.wait(), 0);
}

TEST_F(Synchronisation, BarrierJoinsProcesses) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ASSERT_EQ(pthread_barrier_init(&shared_->barrier, &attributes, 4), 0);
    std::vector<Child> children;
    for (int index = 0; index < 3; ++index)
        children.push_back(Child::doing([&] {
            for (int round = 0; round < 50; ++round) {
                pthread_barrier_wait(&shared_->barrier);
                __atomic_add_fetch(&shared_->sum, 1, __ATOMIC_RELAXED);
                pthread_barrier_wait(&shared_->barrier);
            }
        }));
    for (int round = 0; round < 50; ++round) {
        pthread_barrier_wait(&shared_->barrier);
        pthread_barrier_wait(&shared_->barrier);
        ASSERT_EQ(__atomic_load_n(&shared_->sum, __ATOMIC_RELAXED), 3 * (round + 1));
    }
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
}

} // namespace
