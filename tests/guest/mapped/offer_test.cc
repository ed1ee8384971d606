// SPDX-License-Identifier: GPL-2.0
// Transactions that begin without a system call: nothing else is different. Without prediction,
// which has something to do at each start.
#include "mapped.hpp"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <memory>
#include <sys/syscall.h>
#include <thread>
#include <vector>

using namespace stm::test;

namespace {

[[maybe_unused]] const int without_prediction = ::setenv("STM_PREDICT", "0", 0);

// -- Isolation --

class Offers : public Mapped {
protected:
    std::uint64_t starts() { return statistics(observer_.get()).starts; }
    // Afterwards a start by this thread needs no system call: after a close of the handle
    // somewhere it may take a few until the module knows the thread's cell again.
    void warm(int handle) {
        for (int round = 0; round < 40; ++round) {
            starts_ = starts();
            stm_start(handle);
            const bool offered = unheard();
            EXPECT_EQ(stm_commit(handle), 0);
            starts_ = starts();
            if (offered)
                return;
        }
        ADD_FAILURE() << "each start needs a system call";
    }
    void warm() { warm(fd()); }
    // Right after the start: whether the module has not heard of it.
    bool unheard() { return starts() == starts_; }

    // A transaction on the handle, which is mapped there, that another one disturbs: the first try
    // does not commit.
    void expect_tracked(const View& view, const char* what) {
        volatile int tries = 0;
        do {
            stm_start(view.fd());
            tries = tries + 1;
            const long before = view[0];
            if (tries == 1)
                elsewhere([&] { store(another(), 0, before + 1); });
            view[kPage] = before;
            view[2 * kPage] = view[2 * kPage] + 1; // what is as before is no store
        } while (stm_commit(view.fd()) != 0);
        EXPECT_EQ(tries, 2) << what;
        EXPECT_EQ(view[kPage], view[0]) << what;
    }

    Fd observer_{stm_open(region_.name().c_str(), 0, 0, 0)};

private:
    std::uint64_t starts_ = 0;
};

TEST_F(Offers, WhatWasLoadedOutsideBeforeIsTracked) {
    expect_tracked(view_, "by a system call");
    warm();
    expect_tracked(view_, "by an offer");
    for (int round = 0; round < 3; ++round) {
        warm();
        EXPECT_GE(number(0), 0);
        expect_tracked(view_, "after a load outside");
    }
    EXPECT_EQ(signal_of([&] {
                  warm();
                  number(0) = 1;
              }),
              SIGSEGV)
        << "a store outside";
}

TEST_F(Offers, ALoopOnOldDataEnds) {
    warm();
    volatile int tries = 0;
    do {
        stm_start(fd());
        tries = tries + 1;
        const long before = number(0);
        if (tries == 1) {
            elsewhere([&] { store(another(), 0, before + 1); });
            for (;;)
                ;
        }
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(tries, 2);
}

TEST_F(Offers, WhatAThreadLoadsBelongsToIt) {
    warm();
    stm_start(fd());
    EXPECT_TRUE(unheard());
    std::thread([&] { EXPECT_EQ(number(0), 0); }).join();
    EXPECT_FALSE(unheard());
    EXPECT_EQ(transaction(fd()).depth, 1u);
    number(8) = 3;
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(8), 3);
}

TEST_F(Offers, OnlyOneThreadHasTheView) {
    warm();
    stm_start(fd());
    EXPECT_TRUE(unheard());
    std::thread([&] {
        EXPECT_EQ(stm_try_start(fd()), -1);
        EXPECT_EQ(errno, EBUSY);
    }).join();
    number(0) = 4;
    EXPECT_EQ(stm_commit(fd()), 0);
    std::thread([&] {
        stm_start(fd());
        number(0) = number(0) + 1;
        EXPECT_EQ(stm_commit(fd()), 0);
    }).join();
    warm();
    stm_start(fd());
    EXPECT_TRUE(unheard());
    EXPECT_EQ(number(0), 5);
    EXPECT_EQ(stm_commit(fd()), 0);
}

// Two threads by turns, and another that looks on: every increment counts.
TEST_F(Offers, ThreadsByTurns) {
    constexpr int kRounds = 500;
    std::atomic<bool> done{false};
    std::thread reader([&] {
        while (!done)
            EXPECT_EQ(number(3 * kPage), 0);
    });
    const auto add = [&] {
        for (int round = 0; round < kRounds;) {
            if (stm_try_start(fd()) < 0) {
                EXPECT_EQ(errno, EBUSY);
                std::this_thread::yield();
                continue;
            }
            number(0) = number(0) + 1;
            if (stm_commit(fd()) == 0)
                ++round;
        }
    };
    std::thread one(add);
    std::thread two(add);
    one.join();
    two.join();
    done = true;
    reader.join();
    EXPECT_EQ(number(0), 2 * kRounds);
}

TEST_F(Offers, NestedPartsAndCalls) {
    warm();
    stm_start(fd());
    EXPECT_TRUE(unheard());
    stm_start(fd());
    number(0) = 1;
    stm_cancel(fd());
    EXPECT_EQ(number(0), 0);
    EXPECT_EQ(stm_commit(fd()), 0);

    warm();
    stm_start(fd());
    put(fd(), 7L);
    EXPECT_EQ(number(0), 7);
    EXPECT_EQ(get(observer_.get()), 0);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(observer_.get()), 7);

    warm();
    stm_start(fd());
    EXPECT_TRUE(unheard());
    EXPECT_EQ(stm_validate(fd()), 0);
    EXPECT_EQ(stm_wait(fd(), nullptr), -1);
    EXPECT_EQ(errno, EDEADLK);
    stm_cancel(fd());
    EXPECT_EQ(transaction(fd()).depth, 0u);
}

TEST_F(Offers, AMappingMadeInsideBelongsToTheTransaction) {
    Fd handle(stm_open(region_.name().c_str(), 0, 0, 0));
    warm(handle.get());
    volatile int tries = 0;
    do {
        stm_start(handle.get());
        tries = tries + 1;
        EXPECT_TRUE(tries != 1 || unheard());
        Mapping late(handle.get(), size_);
        const long before = *late.at<volatile long>();
        if (tries == 1)
            elsewhere([&] { store(another(), 0, 6); });
        *late.at<volatile long>(kPage) = before + 1;
    } while (stm_commit(handle.get()) != 0);
    EXPECT_EQ(tries, 2);
    EXPECT_EQ(number(kPage), 7);
}

// -- Descriptors --

TEST_F(Offers, AreOfTheHandleAndNotOfItsNumber) {
    Region second("second", 16 * kPage, kTransactional);
    Fd fresh(stm_open(second.name().c_str(), 0, 0, 0));
    const int place = ::dup(fd());
    warm(place);
    ASSERT_EQ(::dup2(fresh.get(), place), place);
    stm_start(place);
    EXPECT_EQ(transaction(place).depth, 1u);
    put(place, 3L);
    EXPECT_EQ(get(second.fd()), 0);
    EXPECT_EQ(stm_commit(place), 0);
    EXPECT_EQ(get(second.fd()), 3);
    EXPECT_EQ(number(0), 0);

    // By another thread, while the program thinks that one runs.
    warm(place);
    stm_start(place);
    std::thread([&] { EXPECT_EQ(::dup2(fd(), place), place); }).join();
    EXPECT_EQ(stm_commit(place), 1);
    EXPECT_EQ(errno, EINVAL);
    stm_start(place);
    EXPECT_EQ(transaction(place).depth, 1u);
    EXPECT_EQ(stm_commit(place), 0);
    ::close(place);
}

TEST_F(Offers, ACloseOfAnotherDescriptor) {
    warm();
    stm_start(fd());
    EXPECT_TRUE(unheard());
    const int copy = ::dup(fd());
    std::thread([&] { ::close(copy); }).join();
    EXPECT_EQ(transaction(fd()).depth, 1u) << "by another thread: it goes on";
    number(0) = 1;
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 1);

    warm();
    stm_start(fd());
    EXPECT_TRUE(unheard());
    ::close(::dup(fd()));
    EXPECT_EQ(transaction(fd()).depth, 1u) << "by its own: it goes on as well";
    number(0) = 2;
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 2);
}

// The calling thread, as long as it lives. Where there is no such processor, on any.
class OnProcessor {
public:
    explicit OnProcessor(int number) {
        ::sched_getaffinity(0, sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(number, &one);
        ::sched_setaffinity(0, sizeof one, &one);
    }
    ~OnProcessor() { ::sched_setaffinity(0, sizeof before_, &before_); }
    OnProcessor(const OnProcessor&) = delete;
    OnProcessor& operator=(const OnProcessor&) = delete;

private:
    cpu_set_t before_{};
};

// A number is free, and may be another handle's, before the close that freed it has returned.
TEST_F(Offers, ANumberThatAnotherThreadIsClosing) {
    constexpr int kThreads = 100;
    Region second("second", 16 * kPage, kTransactional);
    Fd fresh(stm_open(second.name().c_str(), 0, 0, 0));
    std::atomic<bool> done{false};
    std::atomic<int> ready{0};
    std::vector<std::thread> users; // whose contexts each close looks at
    for (int i = 0; i < kThreads; ++i)
        users.emplace_back([&] {
            while (stm_try_start(fd()) < 0)
                std::this_thread::yield();
            EXPECT_EQ(stm_commit(fd()), 0);
            ++ready;
            while (!done)
                ::usleep(100'000);
        });
    while (ready != kThreads)
        ::usleep(1000);
    // And who looks at them all, so that a close has to wait before it can do so itself. Only then:
    // with PREEMPT_RT a lock goes to the thread that has waited for it longest, which may not run
    // yet, and in warm() each look of ours would wait for two of theirs.
    std::atomic<bool> closing{false};
    std::atomic<unsigned> looks{0};
    for (int i = 0; i < 2; ++i)
        users.emplace_back([&] {
            const OnProcessor busy(1);
            for (; !done; ++looks) {
                while (!closing && !done)
                    ::usleep(1000);
                auto statistics = make<struct stm_statistics>();
                statistics.flags = STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE;
                EXPECT_EQ(::ioctl(fd(), STM_IOC_STATISTICS, &statistics), 0);
            }
        });
    const OnProcessor alone(0);
    for (int round = 0; round < 200; ++round) {
        const int place = ::fcntl(fd(), F_DUPFD, 200);
        ASSERT_EQ(place, 200);
        warm(place);
        const unsigned looks_before = looks;
        closing = true;
        while (looks - looks_before < 4)
            std::this_thread::yield();
        std::atomic<bool> go{false}, ready_to_close{false};
        std::thread closer([&] {
            const OnProcessor busy(1);
            ready_to_close = true;
            while (!go) {
            }
            ::close(place);
        });
        while (!ready_to_close)
            std::this_thread::yield();
        go = true;
        int again = -1;
        while ((again = ::fcntl(fresh.get(), F_DUPFD, place)) != place)
            ::close(again);
        stm_start(place);
        EXPECT_EQ(transaction(place).depth, 1u) << round;
        EXPECT_EQ(transaction(fd()).depth, 0u) << round;
        stm_cancel(place);
        closer.join();
        closing = false;
        ::close(place);
        if (HasFailure())
            break;
    }
    done = true;
    for (std::thread& user : users)
        user.join();
}

// -- Processes --

TEST_F(Offers, AForkedChildHasNone) {
    const auto in_child = [&] {
        EXPECT_EQ(transaction(fd()).depth, 0u);
        EXPECT_EQ(stm_commit(fd()), 1);
        expect_tracked(view_, "in the child");
    };
    warm();
    stm_start(fd());
    EXPECT_TRUE(unheard());
    Child child = Child::doing(in_child);
    EXPECT_EQ(child.wait(), 0);
    const long now = number(0);
    number(0) = now + 1;
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), now + 1);
    expect_tracked(view_, "in the parent");
}

// Children of which the library does not know.
TEST_F(Offers, NorHasOneThatTheLibraryDoesNotKnow) {
    for (int raw = 0; raw < 2; ++raw) {
        warm();
        stm_start(fd());
        const pid_t child = raw != 0 ? static_cast<pid_t>(::syscall(SYS_fork)) : ::_Fork();
        if (child == 0) {
            bool wrong = stm_commit(fd()) != 1;
            stm_start(fd());
            wrong = wrong || transaction(fd()).depth != 1 || number(0) != raw;
            wrong = wrong || stm_commit(fd()) != 0;
            ::_exit(wrong ? 1 : 0);
        }
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
        number(0) = raw + 1;
        EXPECT_EQ(stm_commit(fd()), 0);
        EXPECT_EQ(number(0), raw + 1);
    }
}

TEST_F(Offers, AVforkedChildLeavesItAlone) {
    warm();
    stm_start(fd());
    const pid_t child = ::vfork();
    if (child == 0)
        ::_exit(0);
    EXPECT_EQ(::waitpid(child, nullptr, 0), child);
    EXPECT_EQ(transaction(fd()).depth, 1u);
    number(0) = 1;
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 1);
}

STM_HELPER(after_exec) {
    const int fd = std::stoi(words.at(0));
    if (transaction(fd).depth != 0 || ::ioctl(fd, STM_IOC_COMMIT, 0) == 0)
        return 1;
    stm_start(fd);
    put(fd, 9L);
    return stm_commit(fd);
}

TEST_F(Offers, EndWithExec) {
    Child child([&] {
        warm();
        stm_start(fd());
        const std::string descriptor = std::to_string(::dup(fd()));
        ::execl("/proc/self/exe", "/proc/self/exe", "--helper", "after_exec", descriptor.c_str(),
                nullptr);
        return 3;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(number(0), 9);
}

TEST_F(Offers, EndWithTheProcessAndTheThread) {
    Child child([&] {
        warm();
        stm_start(fd());
        ::raise(SIGKILL);
        return 0;
    });
    EXPECT_EQ(child.wait(), 128 + SIGKILL);
    std::thread([&] {
        warm();
        stm_start(fd());
    }).join();
    EXPECT_EQ(number(0), 0);
    EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
    expect_tracked(view_, "afterwards");
}

// -- Cells --

class Cells : public Offers {
protected:
    static int attach(int fd, const void* address, unsigned signal = 0) {
        auto cell = make<struct stm_cell>();
        cell.address = reinterpret_cast<std::uintptr_t>(address);
        cell.signal = signal;
        return request(fd, STM_IOC_CELL, &cell);
    }
    static int begin(int fd) { return ::ioctl(fd, STM_IOC_START, 0); }
    static int commit(int fd) { return ::ioctl(fd, STM_IOC_COMMIT, 0) == 0 ? 0 : errno; }
    static std::unique_ptr<Mapping> page(int flags = MAP_PRIVATE | MAP_ANONYMOUS) {
        return std::make_unique<Mapping>(-1, kPage, PROT_READ | PROT_WRITE, 0, flags);
    }
};

TEST_F(Cells, MustBeOrdinaryMemory) {
    ASSERT_EQ(begin(fd()), 1);
    auto own = page();
    EXPECT_EQ(attach(fd(), own->at(kPage - 16)), 0);
    EXPECT_EQ(attach(fd(), own->at(kPage - 8)), EINVAL);
    EXPECT_EQ(attach(fd(), own->at(), 65), EINVAL);
    EXPECT_EQ(attach(fd(), reinterpret_cast<void*>(4096)), EFAULT);
    EXPECT_EQ(attach(fd(), page(MAP_SHARED | MAP_ANONYMOUS)->data()), EINVAL) << "shared";
    EXPECT_NE(attach(fd(), bytes()), 0) << "a page of the transaction";
    EXPECT_EQ(commit(fd()), 0);
    ASSERT_EQ(begin(fd()), 1);
    Region plain("plain");
    Mapping mapping(plain.fd(), kPage);
    EXPECT_NE(attach(fd(), mapping.data()), 0) << "a page of a region";
    Fd zeros(::open("/dev/zero", O_RDWR));
    Mapping constant(zeros.get(), kPage, PROT_READ, 0, MAP_PRIVATE);
    EXPECT_EQ(attach(fd(), constant.data()), EFAULT);
    EXPECT_EQ(commit(fd()), 0);
    EXPECT_EQ(attach(observer_.get(), own->data()), EINVAL) << "had no transaction";
    EXPECT_EQ(attach(fd(), nullptr), 0);
}

TEST_F(Cells, MayGoAway) {
    auto own = page();
    ASSERT_EQ(begin(fd()), 1);
    ASSERT_EQ(attach(fd(), own->data()), 0);
    EXPECT_EQ(commit(fd()), 0);
    EXPECT_EQ(*own->at<std::uint64_t>(), STM_CELL_OFFER(0));
    own.reset();
    EXPECT_EQ(number(0), 0);
    for (int round = 0; round < 3; ++round) {
        ASSERT_EQ(begin(fd()), 1);
        number(0) = number(0) + 1;
        EXPECT_EQ(commit(fd()), 0);
        EXPECT_EQ(commit(fd()), EINVAL);
    }
    EXPECT_EQ(number(0), 3);
}

// A thread that writes at random into the cell, another that loads, and one that goes on: nothing
// but its own transactions may suffer.
TEST_F(Cells, MayHoldAnything) {
    auto own = page();
    ASSERT_EQ(begin(fd()), 1);
    ASSERT_EQ(attach(fd(), own->data()), 0);
    EXPECT_EQ(commit(fd()), 0);
    std::atomic<bool> done{false};
    std::thread scribbler([&] {
        std::uint64_t random = 88172645463325252;
        while (!done) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            const std::uint64_t value = random % 3 == 0 ? STM_CELL_OFFER(0) : random;
            std::atomic_ref(*own->at<std::uint64_t>(random % 2 * 8)).store(value);
        }
    });
    std::thread loader([&] {
        while (!done)
            EXPECT_EQ(number(5 * kPage), 0);
    });
    View other = another();
    for (int round = 0; round < 500; ++round) {
        (void)::ioctl(fd(), STM_IOC_START, 0);
        (void)transaction(fd());
        (void)::ioctl(fd(), STM_IOC_CANCEL, STM_CANCEL_ALL);
        store(other, 0, round);
    }
    done = true;
    scribbler.join();
    loader.join();
    (void)::ioctl(fd(), STM_IOC_CANCEL, STM_CANCEL_ALL);
    EXPECT_EQ(attach(fd(), nullptr), 0);
    EXPECT_EQ(number(0), 499);
    EXPECT_EQ(other[0], 499);
}

} // namespace
