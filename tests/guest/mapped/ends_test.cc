// SPDX-License-Identifier: GPL-2.0
// Transactions in mappings of processes that are killed or call exec: nothing of them is seen by
// anyone, and nothing is left.
#include "mapped.hpp"

#include <functional>
#include <memory>
#include <sys/stat.h>
#include <thread>
#include <vector>

using namespace stm::test;

namespace {

class MappedEnds : public Mapped {
protected:
    // A child that runs this has a transaction when it says so at the descriptor. It is killed that
    // much later, and leaves no handle and no mapping.
    void expect_nothing_left_of(const std::function<void(int ready)>& body, useconds_t later) {
        const auto before = info_of(fd());
        int ready[2];
        ASSERT_EQ(::pipe(ready), 0);
        Child child = Child::doing([&] { body(ready[1]); });
        char got = 0;
        ASSERT_EQ(::read(ready[0], &got, 1), 1);
        ::close(ready[0]);
        ::close(ready[1]);
        ::usleep(later);
        child.kill(SIGKILL);
        EXPECT_EQ(child.wait(), 128 + SIGKILL);
        EXPECT_EQ(number(0), 1);
        EXPECT_EQ(get(fd(), kPage), 0);
        const auto after = info_of(fd());
        EXPECT_EQ(after.handles, before.handles);
        EXPECT_EQ(after.mappings, before.mappings);
    }
    static void store_and_wait(const View& view, int ready) {
        stm_start(view.fd());
        for (std::size_t page = 0; page < 16; ++page)
            view[page * kPage] = 666;
        EXPECT_EQ(::write(ready, "x", 1), 1);
        for (;;)
            ::pause();
    }
};

TEST_F(MappedEnds, AKilledProcessLeavesNothing) {
    store(view_, 0, 1);
    for (int round = 0; round < 10; ++round)
        expect_nothing_left_of([&](int ready) { store_and_wait(another(), ready); }, 0);
    store(view_, 0, 2);
    EXPECT_EQ(number(0), 2);
}

// While somebody looks after a transaction, the process is killed that it belongs to: its threads
// end one by one, and who looks after it must not be the last to hold their memory.
TEST_F(MappedEnds, AKilledProcessOfSeveralThreadsLeavesNothing) {
    constexpr int kWatchdogUs = 12'000; // it comes by every 10 ms
    store(view_, 0, 1);
    for (int round = 0; round < 60; ++round)
        expect_nothing_left_of(
            [&](int ready) {
                const View own = another();
                // Or a handle that the parent has as well.
                const View& view = round % 2 == 0 ? own : view_;
                std::vector<std::thread> threads;
                threads.emplace_back([&] { store_and_wait(view, ready); });
                for (int index = 1; index < 8; ++index)
                    threads.emplace_back([] {
                        for (;;)
                            ::pause();
                    });
                for (std::thread& thread : threads)
                    thread.join();
            },
            static_cast<useconds_t>(round * 370 % kWatchdogUs));
}

// Whoever has waited for a thread sees nothing of what it left when a descriptor was closed since.
TEST_F(MappedEnds, ACloseBehindAnEndedThreadTakesItsPagesAway) {
    for (int round = 0; round < 200; ++round) {
        const int duplicate = ::dup(fd());
        std::thread([&] {
            stm_start(fd());
            number(0) = 666;
        }).join();
        ::close(duplicate);
        EXPECT_EQ(number(0), 0);
    }
}

// Linux closes the descriptors of the child that never was, in the parent.
TEST_F(MappedEnds, AForkThatFailsLeavesTheTransaction) {
    const std::string group = "/sys/fs/cgroup/test" + std::to_string(::getpid());
    ASSERT_EQ(::mkdir(group.c_str(), 0755), 0) << std::strerror(errno);
    elsewhere([&] {
        std::ofstream(group + "/cgroup.procs") << 0 << std::flush;
        std::ofstream limit(group + "/pids.max");
        ASSERT_TRUE(limit << 1 << std::flush) << "no limit on the number of processes";
        const View view = another();
        ASSERT_EQ(::ioctl(view.fd(), STM_IOC_START, 0), 1);
        view[0] = 5;
        put(view.fd(), 6L, 8);
        ASSERT_EQ(::fork(), -1);
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(transaction(view.fd()).depth, 1u);
        EXPECT_EQ(view[0], 5);
        EXPECT_EQ(::ioctl(view.fd(), STM_IOC_COMMIT, 0), 0) << std::strerror(errno);
    });
    EXPECT_EQ(number(0), 5);
    EXPECT_EQ(number(8), 6);
    EXPECT_TRUE(eventually([&] { return ::rmdir(group.c_str()) == 0; }));
}

// The next process may get the very memory, in the kernel, that described the killed one's.
TEST_F(MappedEnds, AKilledChildOnASharedHandleLeavesNothingToTheNext) {
    for (int round = 0; round < 40; ++round) {
        int ready[2];
        ASSERT_EQ(::pipe(ready), 0);
        Child child([&] {
            stm_start(fd());
            number(0) = 666;
            EXPECT_EQ(::write(ready[1], "x", 1), 1);
            for (;;)
                ::pause();
            return 0;
        });
        char got = 0;
        ASSERT_EQ(::read(ready[0], &got, 1), 1);
        ::close(ready[0]);
        ::close(ready[1]);
        child.kill(SIGKILL);
        EXPECT_EQ(child.wait(), 128 + SIGKILL);
        elsewhere([&] {
            ASSERT_EQ(number(0), 0) << "round " << round;
            ASSERT_EQ(number(kPage), 0);
            ASSERT_EQ(signal_of_store(bytes()), SIGSEGV);
        });
        elsewhere([&] {
            ASSERT_EQ(stm_try_start(fd()), 0) << std::strerror(errno);
            ASSERT_EQ(number(0), 0);
            stm_cancel(fd());
        });
        ASSERT_EQ(number(0), 0) << "round " << round;
    }
}

TEST_F(MappedEnds, ExecLeavesNothing) {
    int keep = ::dup(fd()); // without CLOEXEC
    Child child([&] {
        stm_start(fd());
        number(0) = 666;
        ::execl("/bin/true", "true", nullptr);
        return 1;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(number(0), 0);
    elsewhere([&] {
        EXPECT_EQ(number(0), 0);
        EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
    });
    ::close(keep);
}

TEST_F(MappedEnds, KillsAtAnyMomentLeaveSumsRight) {
    constexpr unsigned kPages = 8;
    auto work = [&] {
        View view = another();
        unsigned random = static_cast<unsigned>(::getpid());
        for (;;) {
            random = random * 1103515245 + 12345;
            const std::size_t from = (random >> 10) % kPages * kPage;
            const std::size_t to = (random >> 20) % kPages * kPage;
            do {
                stm_start(view.fd());
                view[from] = view[from] - 1;
                view[to] = view[to] + 1;
            } while (stm_commit(view.fd()) != 0);
        }
        return 0;
    };
    std::vector<std::unique_ptr<Child>> children;
    for (int index = 0; index < 3; ++index)
        children.push_back(std::make_unique<Child>(work));
    for (int round = 0; round < 60; ++round) {
        ::usleep(static_cast<useconds_t>(round * 700 % 20000));
        const auto victim = static_cast<std::size_t>(round) % children.size();
        children[victim]->kill(SIGKILL);
        children[victim]->wait();
        children[victim] = std::make_unique<Child>(work);
        long sum = 0;
        do {
            stm_start(fd());
            sum = 0;
            for (unsigned page = 0; page < kPages; ++page)
                sum += number(page * kPage);
        } while (stm_commit(fd()) != 0);
        ASSERT_EQ(sum, 0) << "round " << round;
    }
    children.clear();
    EXPECT_EQ(info_of(fd()).handles, 2u);
    EXPECT_EQ(info_of(fd()).mappings, 1u);
}

} // namespace
