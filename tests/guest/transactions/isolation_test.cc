// SPDX-License-Identifier: GPL-2.0
// What transactions of several processes and threads see of each other, and what is left of those
// that end early.
#include "transactions.hpp"

#include <atomic>
#include <poll.h>
#include <sys/epoll.h>
#include <thread>

using namespace stm::test;

namespace {

class Isolation : public Transactions {};

TEST_F(Isolation, AnotherProcessReadsTheOldValueBeforeAndTheNewAfter) {
    put(fd(), 1L);
    stm_start(fd());
    put(fd(), 2L);
    elsewhere([&] {
        Fd handle = another();
        EXPECT_EQ(get(handle.get()), 1);
    });
    ASSERT_EQ(stm_commit(fd()), 0);
    elsewhere([&] {
        Fd handle = another();
        EXPECT_EQ(get(handle.get()), 2);
    });
}

TEST_F(Isolation, ARunningTransactionKeepsItsState) {
    // Both numbers change together, always. A reader that begins between two changes sees one
    // state.
    Child writer([&] {
        Fd handle = another();
        for (long value = 1;; ++value) {
            do {
                stm_start(handle.get());
                put(handle.get(), value, 0);
                put(handle.get(), -value, 100 * kStripe);
            } while (stm_commit(handle.get()) != 0);
        }
        return 0;
    });
    EXPECT_TRUE(eventually([&] { return get(fd()) != 0; }));
    volatile long seen = 0;
    for (volatile int round = 0; round < 2000;) {
        do {
            stm_start(fd());
            long first = get(fd(), 0);
            if (round % 16 == 0)
                ::sched_yield();
            seen = first + get(fd(), 100 * kStripe);
            EXPECT_EQ(seen, 0);
        } while (stm_commit(fd()) != 0);
        round = round + 1;
    }
}

// N processes count. Nothing is lost, and nobody loses too often.
class Counter : public Isolation, public ::testing::WithParamInterface<int> {};
INSTANTIATE_TEST_SUITE_P(Processes, Counter, ::testing::Values(1, 2, 4, 16, 64),
                         ::testing::PrintToStringParamName());

void count_one(int fd) {
    do {
        stm_start(fd);
        put(fd, get(fd) + 1);
    } while (stm_commit(fd) != 0);
}

TEST_P(Counter, IsExact) {
    const int processes = GetParam();
    const int rounds = 3200 / std::max(processes, 16);
    StartingLine line(processes);
    std::vector<Child> children;
    for (int index = 0; index < processes; ++index)
        children.emplace_back([&] {
            Fd handle = another();
            line.wait();
            for (int round = 0; round < rounds; ++round)
                do {
                    stm_start(handle.get());
                    long value = get(handle.get());
                    ::sched_yield(); // let the others in between
                    put(handle.get(), value + 1);
                } while (stm_commit(handle.get()) != 0);
            return 0;
        });
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(get(fd()), static_cast<long>(processes) * rounds);
    struct stm_statistics all = statistics(fd());
    EXPECT_EQ(all.commits, static_cast<unsigned>(processes * rounds));
    EXPECT_EQ(all.starts, all.commits + all.aborts[STM_REASON_READ_LOCKED] +
                              all.aborts[STM_REASON_READ_VALIDATION] +
                              all.aborts[STM_REASON_COMMIT_LOCKED] +
                              all.aborts[STM_REASON_COMMIT_VALIDATION]);
    // After 16 conflicts it runs alone; what it meets there are commits that had begun before.
    EXPECT_LE(all.longest_streak, 24u);
    std::printf("%d processes: longest streak of aborts %u, %llu serial\n", processes,
                all.longest_streak, static_cast<unsigned long long>(all.serial));
    RecordProperty("longest_streak", static_cast<int>(all.longest_streak));
}

TEST_F(Isolation, WriteSkewIsExcluded) {
    // Two may go off duty only when the other is on duty.
    constexpr int kRounds = 300;
    for (int round = 0; round < kRounds; ++round) {
        put(fd(), 1L, 0);
        put(fd(), 1L, kStripe);
        std::atomic<int> ready = 0;
        auto leave = [&](off_t own, off_t other) {
            ++ready;
            while (ready < 2)
                std::this_thread::yield();
            do {
                stm_start(fd());
                if (get(fd(), other) == 1)
                    put(fd(), 0L, own);
            } while (stm_commit(fd()) != 0);
        };
        std::thread first(leave, 0, kStripe);
        std::thread second(leave, kStripe, 0);
        first.join();
        second.join();
        ASSERT_EQ(get(fd(), 0) + get(fd(), kStripe), 1) << "round " << round;
    }
}

TEST_F(Isolation, ASlowTransactionBlocksNobody) {
    stm_start(fd());
    put(fd(), get(fd()) + 1);
    elsewhere([&] {
        Fd handle = another();
        for (int round = 0; round < 2000; ++round)
            do {
                stm_start(handle.get());
                put(handle.get(), get(handle.get(), kStripe) + 1, kStripe);
            } while (stm_commit(handle.get()) != 0);
    });
    EXPECT_EQ(stm_commit(fd()), 0) << "what others did elsewhere is no conflict";
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(get(fd(), kStripe), 2000);
}

TEST_F(Isolation, ThreadsThatShareADescriptorDoNotMix) {
    stm_start(fd());
    put(fd(), 1L);
    std::thread other([&] {
        EXPECT_EQ(transaction(fd()).depth, 0u);
        EXPECT_EQ(get(fd()), 0);
        EXPECT_EQ(stm_commit(fd()), 1);
        EXPECT_EQ(errno, EINVAL);
        stm_start(fd());
        put(fd(), 5L, kStripe);
        stm_start(fd());
        EXPECT_EQ(transaction(fd()).depth, 2u);
        EXPECT_EQ(stm_commit(fd()), 0);
        EXPECT_EQ(stm_commit(fd()), 0);
    });
    other.join();
    EXPECT_EQ(transaction(fd()).depth, 1u);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(get(fd(), kStripe), 5);
}

TEST_F(Isolation, ManyThreadsOnOneDescriptor) {
    constexpr int kThreads = 16;
    constexpr int kRounds = 100;
    std::vector<std::thread> threads;
    for (int index = 0; index < kThreads; ++index)
        threads.emplace_back([&] {
            for (int round = 0; round < kRounds; ++round)
                count_one(fd());
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(get(fd()), kThreads * kRounds);
}

TEST_F(Isolation, ParentAndChildThatShareADescriptorDoNotMix) {
    stm_start(fd());
    put(fd(), 1L);
    elsewhere([&] {
        EXPECT_EQ(transaction(fd()).depth, 0u);
        EXPECT_EQ(get(fd()), 0);
        stm_start(fd());
        put(fd(), 5L, kStripe);
        EXPECT_EQ(stm_commit(fd()), 0);
        stm_start(fd()); // left running
        put(fd(), 9L, 2 * kStripe);
    });
    EXPECT_EQ(transaction(fd()).depth, 1u);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(get(fd(), kStripe), 5);
    EXPECT_EQ(get(fd(), 2 * kStripe), 0);
}

// -- Ends --

TEST_F(Isolation, DeathDiscards) {
    for (int round = 0; round < 20; ++round) {
        int ends[2];
        ASSERT_EQ(::pipe(ends), 0);
        Child child([&] {
            Fd handle = another();
            stm_start(handle.get());
            put(handle.get(), get(handle.get()) + 100);
            EXPECT_EQ(::write(ends[1], "", 1), 1);
            ::pause();
            return 0;
        });
        char byte = 0;
        ASSERT_EQ(::read(ends[0], &byte, 1), 1);
        child.kill(SIGKILL);
        EXPECT_EQ(child.wait(), 128 + SIGKILL);
        ::close(ends[0]);
        ::close(ends[1]);
        count_one(fd());
    }
    EXPECT_EQ(get(fd()), 20);
    EXPECT_TRUE(eventually([&] { return info_of(fd()).handles == 1; }));
}

TEST_F(Isolation, TheEndOfAThreadDiscards) {
    std::thread([&] {
        stm_start(fd());
        put(fd(), 1L);
    }).join();
    EXPECT_EQ(get(fd()), 0);
    EXPECT_EQ(transaction(fd()).depth, 0u);
}

TEST_F(Isolation, CloseDiscards) {
    Fd handle = another();
    stm_start(handle.get());
    put(handle.get(), 1L);
    handle.reset();
    EXPECT_EQ(get(fd()), 0);
    EXPECT_EQ(statistics(fd()).aborts[STM_REASON_CLOSED], 1u);
}

STM_HELPER(after_exec) {
    int fd = std::stoi(words.at(0));
    EXPECT_EQ(transaction(fd).depth, 0u);
    EXPECT_EQ(get(fd), 0);
    EXPECT_EQ(stm_commit(fd), 1);
    EXPECT_EQ(errno, EINVAL);
    count_one(fd);
    return 0;
}

TEST_F(Isolation, ExecDiscards) {
    pid_t pid = ::fork();
    if (pid == 0) {
        stm_start(fd());
        put(fd(), 100L);
        std::string number = std::to_string(fd());
        ::execl("/proc/self/exe", "/proc/self/exe", "--helper", "after_exec", number.c_str(),
                nullptr);
        ::_exit(127);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(get(fd()), 1);
}

// -- poll --

short ready(int fd) {
    struct pollfd entry {
        fd, POLLIN | POLLOUT, 0
    };
    EXPECT_GE(::poll(&entry, 1, 0), 0);
    return entry.revents;
}

TEST_F(Isolation, PollTellsOfCommits) {
    Fd watcher = another();
    EXPECT_EQ(ready(watcher.get()), POLLOUT) << "nothing since it was opened";
    count_one(fd());
    EXPECT_EQ(ready(watcher.get()), POLLIN | POLLOUT);
    EXPECT_EQ(ready(watcher.get()), POLLIN | POLLOUT) << "it has not looked yet";
    get(watcher.get());
    EXPECT_EQ(ready(watcher.get()), POLLOUT);
    put(fd(), 7L); // a write call is a commit
    EXPECT_EQ(ready(watcher.get()), POLLIN | POLLOUT);
    stm_start(watcher.get());
    EXPECT_EQ(ready(watcher.get()), POLLOUT);
    stm_cancel(watcher.get());
    stm_start(fd());
    put(fd(), 8L);
    stm_cancel(fd());
    EXPECT_EQ(ready(watcher.get()), POLLOUT) << "a cancelled transaction is nothing";
    stm_start(fd());
    get(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(ready(watcher.get()), POLLOUT) << "nor is one that only reads";
}

TEST_F(Isolation, PollSleepsUntilACommit) {
    Fd watcher = another();
    Child later([&] {
        ::usleep(200'000);
        count_one(fd());
        return 0;
    });
    struct pollfd entry {
        watcher.get(), POLLIN, 0
    };
    EXPECT_EQ(::poll(&entry, 1, 10'000), 1);
    EXPECT_EQ(entry.revents, POLLIN);
    EXPECT_EQ(get(watcher.get()), 1);
    EXPECT_EQ(later.wait(), 0);
    EXPECT_EQ(::poll(&entry, 1, 50), 0);
}

TEST_F(Isolation, EpollTellsOnceForEachChangeWhenEdgeTriggered) {
    Fd watcher = another();
    Fd set(::epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event wanted {
        EPOLLIN | EPOLLET, {}
    };
    ASSERT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, watcher.get(), &wanted), 0);
    struct epoll_event got {};
    EXPECT_EQ(::epoll_wait(set.get(), &got, 1, 0), 0);
    count_one(fd());
    EXPECT_EQ(::epoll_wait(set.get(), &got, 1, 1000), 1);
    EXPECT_EQ(::epoll_wait(set.get(), &got, 1, 0), 0);
    count_one(fd());
    EXPECT_EQ(::epoll_wait(set.get(), &got, 1, 1000), 1);
}

} // namespace
