// SPDX-License-Identifier: GPL-2.0
// stm_wait: sleeping until something that was read changes.
#include "transactions.hpp"

#include <atomic>
#include <pthread.h>
#include <sys/time.h>
#include <thread>

using namespace stm::test;

namespace {

class Wait : public Transactions {};

constexpr struct timespec kShort { 0, 50'000'000 };

// Takes what is in the first number, as soon as there is something.
long take(int fd) {
    volatile long value = 0;
    do {
        stm_start(fd);
        value = get(fd);
        if (value == 0)
            stm_wait(fd, nullptr);
        put(fd, 0L);
    } while (stm_commit(fd) != 0);
    return value;
}

TEST_F(Wait, SleepsWithoutWorkAndWakes) {
    // However slow the machine is: the other one sleeps before there is something to take.
    Child producer = Child::doing([&] {
        EXPECT_TRUE(eventually([&] { return statistics(fd()).waits == 1; }));
        ::sleep(1);
        put(fd(), 42L);
    });
    double began = seconds();
    double work = processor_seconds();
    EXPECT_EQ(take(fd()), 42);
    EXPECT_GT(seconds() - began, 0.5);
    EXPECT_LT(processor_seconds() - work, 0.2 * time_scale());
    EXPECT_EQ(producer.wait(), 0);
    EXPECT_EQ(statistics(fd()).waits, 1u);
    EXPECT_EQ(get(fd()), 0);
}

TEST_F(Wait, AChangeBeforeTheSleepCounts) {
    volatile int attempts = 0;
    stm_start(fd());
    attempts = attempts + 1;
    get(fd());
    if (attempts == 1) {
        stm_defer_restarts();
        elsewhere([&] { put(fd(), 1L); });
        stm_wait(fd(), nullptr); // must not sleep forever
        ADD_FAILURE();
    }
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(Wait, AChangeOfSomethingElseDoesNotEndIt) {
    Child other([&] {
        for (int round = 0; round < 20; ++round) {
            put(fd(), 1L, 100 * kStripe);
            ::usleep(1000);
        }
        return 0;
    });
    volatile int attempts = 0;
    stm_start(fd());
    attempts = attempts + 1;
    get(fd());
    EXPECT_EQ(stm_wait(fd(), &kShort), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    EXPECT_EQ(attempts, 1);
    EXPECT_EQ(other.wait(), 0);
}

TEST_F(Wait, ATimeOutEndsTheTransaction) {
    stm_start(fd());
    put(fd(), 1L);
    get(fd(), kStripe);
    double began = seconds();
    EXPECT_EQ(stm_wait(fd(), &kShort), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    EXPECT_GE(seconds() - began, 0.045);
    EXPECT_EQ(stm_abort_reason(fd()), STM_REASON_RETRY);
    stm_cancel(fd());
    EXPECT_EQ(stm_abort_reason(fd()), STM_REASON_RETRY);
    EXPECT_EQ(transaction(fd()).depth, 0u);
    EXPECT_EQ(get(fd()), 0);
    EXPECT_EQ(stm_commit(fd()), 1);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(Wait, AResultThatIsNotLookedAtHasNoEffect) {
    Fd other = another();
    stm_start(other.get());
    get(other.get(), 2 * kStripe);
    stm_start(fd());
    get(fd());
    EXPECT_EQ(stm_wait(fd(), &kShort), -1);
    for (const int handle : {fd(), other.get()}) {
        long value = 7;
        errno = 0;
        EXPECT_EQ(::pwrite(handle, &value, sizeof value, 0), -1);
        EXPECT_EQ(errno, ECANCELED);
        EXPECT_EQ(::pread(handle, &value, sizeof value, 0), -1);
        EXPECT_EQ(errno, ECANCELED);
        EXPECT_EQ(stm_try_commit(handle), -1);
        EXPECT_EQ(errno, ECANCELED);
        EXPECT_EQ(get(handle), 0) << "now it has been told";
    }
    stm_start(fd());
    get(fd());
    EXPECT_EQ(stm_wait(fd(), &kShort), -1);
    stm_start(fd());
    EXPECT_EQ(transaction(fd()).depth, 1u) << "a start is the end, too";
    put(fd(), 1L);
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(Wait, AStopDoesNotEndIt) {
    Child waiter([&] { return take(fd()) == 42 ? 0 : 1; });
    ASSERT_TRUE(eventually([&] { return statistics(fd()).waiting == 1; }));
    for (int round = 0; round < 3; ++round) {
        waiter.kill(SIGSTOP);
        ::usleep(20'000);
        waiter.kill(SIGCONT);
        ::usleep(20'000);
    }
    put(fd(), 42L);
    EXPECT_EQ(waiter.wait(), 0);
    EXPECT_EQ(get(fd()), 0);
}

TEST_F(Wait, AHandlerWithRestartNeitherEndsNorProlongsIt) {
    static volatile int calls;
    calls = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { calls = calls + 1; };
    action.sa_flags = SA_RESTART;
    ASSERT_EQ(::sigaction(SIGALRM, &action, nullptr), 0);
    const struct itimerval often {
        {0, 20'000}, { 0, 20'000 }
    };
    const struct timespec timeout { 0, 300'000'000 };
    stm_start(fd());
    get(fd());
    const double began = seconds();
    ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
    EXPECT_EQ(stm_wait(fd(), &timeout), -1);
    const int error = errno;
    const struct itimerval never {};
    ASSERT_EQ(::setitimer(ITIMER_REAL, &never, nullptr), 0);
    EXPECT_EQ(error, ETIMEDOUT);
    EXPECT_GT(calls, 2);
    EXPECT_GE(seconds() - began, 0.29);
    EXPECT_LT(seconds() - began, 2 * time_scale());
    stm_cancel(fd());
    ::signal(SIGALRM, SIG_DFL);
}

TEST_F(Wait, NothingIsHeldMeanwhile) {
    Region mutex("mutex", kPage, STM_MUTEX);
    Child producer([&] {
        ::usleep(100'000);
        Fd handle(stm_open(mutex.name().c_str(), 0, 0, 0));
        do {
            stm_start(handle.get()); // waits for the region's lock
            put(handle.get(), 1L);
        } while (stm_commit(handle.get()) != 0);
        put(fd(), 1L);
        return 0;
    });
    volatile int attempts = 0;
    do {
        stm_start(mutex.fd());
        attempts = attempts + 1;
        put(mutex.fd(), 5L, kStripe);
        do {
            stm_start(fd());
            if (get(fd()) == 0)
                stm_wait(fd(), nullptr);
        } while (stm_commit(fd()) != 0);
    } while (stm_commit(mutex.fd()) != 0);
    EXPECT_EQ(attempts, 2) << "begun again from the outermost";
    EXPECT_EQ(producer.wait(), 0);
    EXPECT_EQ(get(mutex.fd()), 1);
    EXPECT_EQ(get(mutex.fd(), kStripe), 5);
}

TEST_F(Wait, IsAPointOfCancellation) {
    for (const bool asleep : {true, false}) {
        std::atomic<bool> may_wait = asleep;
        pthread_t thread{};
        struct Task {
            int fd;
            std::atomic<bool>* may_wait;
        } task{fd(), &may_wait};
        ASSERT_EQ(pthread_create(
                      &thread, nullptr,
                      [](void* argument) -> void* {
                          const auto* own = static_cast<Task*>(argument);
                          stm_start(own->fd);
                          get(own->fd);
                          while (!*own->may_wait) {
                          }
                          stm_wait(own->fd, nullptr);
                          return nullptr;
                      },
                      &task),
                  0);
        if (asleep) {
            ASSERT_TRUE(eventually([&] { return statistics(fd()).waiting == 1; }));
        }
        ASSERT_EQ(pthread_cancel(thread), 0);
        may_wait = true;
        void* result = nullptr;
        ASSERT_EQ(pthread_join(thread, &result), 0);
        EXPECT_EQ(result, PTHREAD_CANCELED);
        EXPECT_TRUE(eventually([&] { return statistics(fd()).waiting == 0; }));
    }
    stm_start(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(Wait, ASignalEndsIt) {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ASSERT_EQ(::sigaction(SIGALRM, &action, nullptr), 0);
    struct itimerval soon {
        {0, 0}, { 0, 100'000 }
    };
    stm_start(fd());
    get(fd());
    ASSERT_EQ(::setitimer(ITIMER_REAL, &soon, nullptr), 0);
    EXPECT_EQ(stm_wait(fd(), nullptr), -1);
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(stm_try_commit(fd()), -1);
    EXPECT_EQ(errno, ECANCELED);
    EXPECT_EQ(transaction(fd()).depth, 0u);
    ::signal(SIGALRM, SIG_DFL);
}

TEST_F(Wait, NothingReadIsADeadlock) {
    stm_start(fd());
    put(fd(), 1L);
    EXPECT_EQ(stm_wait(fd(), nullptr), -1);
    EXPECT_EQ(errno, EDEADLK);
    EXPECT_EQ(transaction(fd()).depth, 1u) << "it goes on";
    struct timespec wrong {
        0, 1'000'000'000
    };
    EXPECT_EQ(stm_wait(fd(), &wrong), -1);
    EXPECT_EQ(errno, EINVAL);
    wrong = {-1, 0};
    EXPECT_EQ(stm_wait(fd(), &wrong), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);
}

TEST_F(Wait, InAPartItEndsAll) {
    volatile int attempts = 0;
    Child producer([&] {
        ::usleep(200'000);
        put(fd(), 1L);
        return 0;
    });
    stm_start(fd());
    attempts = attempts + 1;
    stm_start(fd());
    if (get(fd()) == 0)
        stm_wait(fd(), nullptr);
    EXPECT_EQ(transaction(fd()).depth, 2u);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(producer.wait(), 0);
}

TEST_F(Wait, ManyWaitersAllWake) {
    constexpr int kWaiters = 8;
    std::vector<Child> waiters;
    for (int index = 0; index < kWaiters; ++index)
        waiters.emplace_back([&] {
            Fd handle = another();
            do {
                stm_start(handle.get());
                if (get(handle.get()) == 0)
                    stm_wait(handle.get(), nullptr);
            } while (stm_commit(handle.get()) != 0);
            return 0;
        });
    EXPECT_TRUE(eventually([&] { return statistics(fd()).waiting == kWaiters; }));
    put(fd(), 1L);
    for (Child& waiter : waiters)
        EXPECT_EQ(waiter.wait(), 0);
    EXPECT_EQ(statistics(fd()).waiting, 0u);
}

TEST_F(Wait, APingPongLosesNothing) {
    constexpr long kRounds = 300;
    Child partner([&] {
        Fd handle = another();
        for (long round = 0; round < kRounds; ++round)
            do {
                stm_start(handle.get());
                if (get(handle.get()) % 2 == 0)
                    stm_wait(handle.get(), nullptr);
                put(handle.get(), get(handle.get()) + 1);
            } while (stm_commit(handle.get()) != 0);
        return 0;
    });
    for (long round = 0; round < kRounds; ++round)
        do {
            stm_start(fd());
            if (get(fd()) % 2 == 1)
                stm_wait(fd(), nullptr);
            put(fd(), get(fd()) + 1);
        } while (stm_commit(fd()) != 0);
    EXPECT_EQ(partner.wait(), 0);
    EXPECT_EQ(get(fd()), 2 * kRounds);
}

TEST_F(Wait, AKilledWaiterIsForgotten) {
    Child waiter([&] {
        take(fd());
        return 0;
    });
    EXPECT_TRUE(eventually([&] { return statistics(fd()).waiting == 1; }));
    waiter.kill(SIGKILL);
    EXPECT_EQ(waiter.wait(), 128 + SIGKILL);
    EXPECT_TRUE(eventually([&] { return statistics(fd()).waiting == 0; }));
    put(fd(), 1L);
}

} // namespace
