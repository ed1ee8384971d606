// SPDX-License-Identifier: GPL-2.0
// stm_tx_wait(): a transaction sleeps until something that it has read changes.
#include "typed.hpp"

#include <csignal>
#include <ctime>
#include <stm/ioctl.h>
#include <sys/ioctl.h>
#include <unistd.h>

using namespace stm::test;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// Waits for a number that is not 0, takes it, and returns it.
long take(stm_region* region, std::uint64_t offset) {
    long value = 0;
    stm_tx* const tx = stm_tx_begin(region, 0);
    for (;;) {
        if (stm_tx_load(tx, region, offset, &value, sizeof value) == 0) {
            if (value == 0) {
                EXPECT_EQ(stm_tx_wait(tx, 60 * kSecond), STM_TX_AGAIN) << std::strerror(errno);
                continue;
            }
            const long none = 0;
            static_cast<void>(stm_tx_store(tx, region, offset, &none, sizeof none));
        }
        if (stm_tx_commit(tx) == 0)
            return value;
    }
}

// Until a thread sleeps for a change of the region.
void await_waiter(stm_region* region) {
    struct stm_statistics statistics {};
    do {
        ::usleep(1'000);
        statistics = {};
        statistics.size = sizeof statistics;
        statistics.flags = STM_BY_HANDLE;
        ASSERT_EQ(::ioctl(stm_region_fd(region), STM_IOC_STATISTICS, &statistics), 0);
    } while (statistics.waiting == 0);
}

TEST(TypedWait, EndsWhenAnotherProcessCommits) {
    const TypedRegion region("wait");
    Child other = Child::doing([&] {
        ::usleep(100'000);
        set_value(region, 640, 1); // something else: it goes on sleeping
        ::usleep(50'000);
        const long value = 5; // by a call
        EXPECT_EQ(::pwrite(region.fd(), &value, sizeof value, 0), 8);
    });
    EXPECT_EQ(take(region, 0), 5);
    EXPECT_EQ(other.wait(), 0);
    EXPECT_EQ(value_at(region, 0), 0);
}

TEST(TypedWait, LosesNothingBetweenTwoProcesses) {
    const TypedRegion region("dialogue");
    constexpr long kItems = 500;
    Child other = Child::doing([&] {
        for (long i = 1; i <= kItems; ++i) {
            EXPECT_EQ(take(region, 0), i);
            set_value(region, 64, i);
        }
    });
    for (long i = 1; i <= kItems; ++i) {
        set_value(region, 0, i);
        EXPECT_EQ(take(region, 64), i);
    }
    EXPECT_EQ(other.wait(), 0);
}

TEST(TypedWait, AlsoInTwoRegions) {
    const TypedRegion first("first");
    const TypedRegion second("second");
    for (stm_region* const changed :
         {static_cast<stm_region*>(first), static_cast<stm_region*>(second)}) {
        Child other = Child::doing([&] {
            await_waiter(changed);
            set_value(changed, 0, value_at(changed, 0) + 1);
        });
        stm_tx* const tx = stm_tx_begin(first, STM_TX_READ_ONLY);
        long here = 0;
        long there = 0;
        const long before = changed == first ? 0 : 1;
        int waits = 0;
        do {
            if (stm_tx_load(tx, first, 0, &here, sizeof here) != 0 ||
                stm_tx_load(tx, second, 0, &there, sizeof there) != 0)
                continue;
            if (here + there == before) {
                ++waits;
                ASSERT_EQ(stm_tx_wait(tx, 60 * kSecond), STM_TX_AGAIN) << std::strerror(errno);
                static_cast<void>(stm_tx_load(tx, first, 0, &here, sizeof here));
                static_cast<void>(stm_tx_load(tx, second, 0, &there, sizeof there));
            }
        } while (stm_tx_commit(tx) > 0 || here + there == before);
        EXPECT_GE(waits, 1);
        EXPECT_EQ(other.wait(), 0);
    }
}

double seconds_now() {
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

TEST(TypedWait, EndsAtItsTime) {
    const TypedRegion region("timeout");
    for (const int flags : {0, STM_TX_SERIAL}) {
        stm_tx* const tx = stm_tx_begin(region, flags);
        EXPECT_EQ(add(tx, region, 0, 1), 0);
        const double begin = seconds_now();
        EXPECT_EQ(stm_tx_wait(tx, kSecond / 10), -1);
        EXPECT_EQ(errno, ETIMEDOUT);
        EXPECT_GE(seconds_now() - begin, 0.099);
        EXPECT_EQ(stm_tx_current(), nullptr);
    }
    EXPECT_EQ(value_at(region, 0), 0);
}

TEST(TypedWait, NeedsSomethingThatWasRead) {
    const TypedRegion region("nothing");
    stm_tx* const tx = stm_tx_begin(region, 0);
    const long value = 1;
    EXPECT_EQ(stm_tx_store(tx, region, 0, &value, sizeof value), 0);
    EXPECT_EQ(stm_tx_wait(tx, -1), -1);
    EXPECT_EQ(errno, EDEADLK);
    EXPECT_EQ(stm_tx_current(), nullptr);
}

TEST(TypedWait, IsEndedByASignal) {
    const TypedRegion region("signal");
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ASSERT_EQ(::sigaction(SIGALRM, &action, nullptr), 0);
    long value = 0;
    stm_tx* const tx = stm_tx_begin(region, 0);
    EXPECT_EQ(stm_tx_load(tx, region, 0, &value, sizeof value), 0);
    ::ualarm(100'000, 100'000);
    EXPECT_EQ(stm_tx_wait(tx, -1), -1);
    const int error = errno;
    ::ualarm(0, 0);
    EXPECT_EQ(error, EINTR);
    EXPECT_EQ(stm_tx_current(), nullptr);
}

// A transaction that only reads keeps no log at first. To wait, it is repeated with one.
TEST(TypedWait, WorksForOnesThatOnlyRead) {
    const TypedRegion region("read_only");
    Child other = Child::doing([&] {
        ::usleep(50'000);
        set_value(region, 0, 9);
    });
    stm_tx* const tx = stm_tx_begin(region, STM_TX_READ_ONLY);
    long value = 0;
    for (;;) {
        if (stm_tx_load(tx, region, 0, &value, sizeof value) == 0 && value == 0) {
            ASSERT_EQ(stm_tx_wait(tx, 60 * kSecond), STM_TX_AGAIN) << std::strerror(errno);
            continue;
        }
        if (stm_tx_commit(tx) == 0)
            break;
    }
    EXPECT_EQ(value, 9);
    EXPECT_EQ(other.wait(), 0);
}

} // namespace
