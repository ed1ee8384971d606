// SPDX-License-Identifier: GPL-2.0
// Direct commits beside forks, other opens and closes, threads that end, and processes of other
// namespaces: in these places peers lose sight of who is who.
#include "typed.hpp"

#include <atomic>
#include <csignal>
#include <memory>
#include <new>
#include <sched.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr std::uint64_t kFrom = 64;
constexpr std::uint64_t kTo = kPage + 64;

void transfer(stm_region* region, long amount) {
    EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        if (add(tx, region, kFrom, -amount) == 0)
            static_cast<void>(add(tx, region, kTo, amount));
    }));
}

long total(stm_region* region) {
    long sum = 0;
    EXPECT_TRUE(atomically(region, STM_TX_READ_ONLY, [&](stm_tx* tx) {
        long from = 0;
        long to = 0;
        if (stm_tx_load(tx, region, kFrom, &from, sizeof from) == 0 &&
            stm_tx_load(tx, region, kTo, &to, sizeof to) == 0)
            sum = from + to;
    }));
    return sum;
}

TEST(DirectLifetime, AChildForkedBesideATransactionRunsItsOwn) {
    const TypedRegion region("fork", 4 * kPage, STM_DIRECT);
    transfer(region, 1);
    std::atomic<int> stage{0};
    std::thread other([&] {
        transfer(region, 1);
        EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
            static_cast<void>(add(tx, region, 128, 5));
            stage = 1;
            while (stage == 1)
                std::this_thread::yield();
        }));
    });
    while (stage != 1)
        std::this_thread::yield();
    for (int i = 0; i < 5; ++i) {
        Child child = Child::doing([&] {
            for (int k = 0; k < 10; ++k)
                transfer(region, 1);
        });
        EXPECT_EQ(child.wait(), 0);
    }
    transfer(region, 1);
    stage = 2;
    other.join();
    EXPECT_EQ(value_at(region, kTo), 53);
    EXPECT_EQ(value_at(region, 128), 5);
    EXPECT_EQ(total(region), 0);
}

// Also from a transaction of its own.
TEST(DirectLifetime, AChildOfAThreadThatHasCommittedHasAJournalOfItsOwn) {
    const TypedRegion region("fork", 4 * kPage, STM_DIRECT);
    transfer(region, 1);
    std::vector<Child> children;
    for (int i = 0; i < 4; ++i)
        children.push_back(Child::doing([&] {
            for (int k = 0; k < 500; ++k)
                transfer(region, 1);
        }));
    for (int k = 0; k < 500; ++k)
        transfer(region, 1);
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(value_at(region, kTo), 2501);
    EXPECT_EQ(total(region), 0);
}

TEST(DirectLifetime, ASecondOpenAndCloseTakesNothingAway) {
    const TypedRegion region("twice", 4 * kPage, STM_DIRECT);
    for (int i = 0; i < 20; ++i) {
        transfer(region, 1);
        {
            const Attached again(region.name());
            transfer(again, 1);
            transfer(region, 1);
        }
        transfer(region, 1);
    }
    EXPECT_EQ(value_at(region, kTo), 80);
    EXPECT_EQ(total(region), 0);
}

TEST(DirectLifetime, ThreadsThatComeAndGoLeaveTheirPlacesToOthers) {
    const TypedRegion region("threads", 4 * kPage, STM_DIRECT);
    for (int i = 0; i < 300; ++i)
        std::thread([&] { transfer(region, 1); }).join();
    EXPECT_EQ(value_at(region, kTo), 300);
}

// A thread keeps the journals of its last sixteen regions. Some of these are detached meanwhile,
// and attached anew.
TEST(DirectLifetime, AThreadMayUseMoreRegionsInTurnThanItKeepsJournals) {
    constexpr std::size_t kRegions = 20;
    constexpr long kRounds = 30;
    std::vector<std::unique_ptr<Region>> regions;
    std::vector<std::unique_ptr<Attached>> attached(kRegions);
    for (std::size_t i = 0; i < kRegions; ++i)
        regions.push_back(std::make_unique<Region>("many", 4 * kPage, STM_DIRECT));
    for (long round = 0; round < kRounds; ++round) {
        for (std::size_t i = 0; i < kRegions; ++i) {
            if (round == 0 || (round + static_cast<long>(i)) % 7 == 0) {
                attached[i].reset();
                attached[i] = std::make_unique<Attached>(regions[i]->name());
            }
            transfer(*attached[i], 1);
            // The last but one, too, so that some are found again and others are not.
            transfer(*attached[i == 0 || round == 0 ? i : i - 1], 1);
        }
    }
    long sum = 0;
    for (const auto& region : attached) {
        EXPECT_EQ(total(*region), 0);
        sum += value_at(*region, kTo);
    }
    EXPECT_EQ(sum, 2 * kRounds * static_cast<long>(kRegions));
}

// Each is process 1 of a namespace.
TEST(DirectLifetime, ProcessesWithEqualNumbersAreNotMistakenForEachOther) {
    const TypedRegion region("namespaces", 4 * kPage, STM_DIRECT);
    struct Shared {
        std::atomic<pid_t> pid;
    };
    const Mapping memory(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    auto* const shared = new (memory.data()) Shared[2]{};
    const auto start = [&](int which) {
        shared[which].pid = 0;
        return Child([&, which] {
            if (::unshare(CLONE_NEWPID) != 0)
                return 77;
            const pid_t first = ::fork();
            if (first == 0) {
                for (;;)
                    transfer(region, 1);
            }
            shared[which].pid = first;
            int status = 0;
            ::waitpid(first, &status, 0);
            return WIFSIGNALED(status) ? WTERMSIG(status) : 1;
        });
    };
    const auto wait_for_pid = [&](int which) {
        EXPECT_TRUE(eventually([&] { return shared[which].pid != 0; }));
        return shared[which].pid.load();
    };
    Child lasting = start(0);
    wait_for_pid(0);
    for (int round = 0; round < 20; ++round) {
        Child victim = start(1);
        const pid_t pid = wait_for_pid(1);
        ::usleep(static_cast<unsigned>(round) * 700);
        ::kill(pid, SIGKILL);
        ASSERT_EQ(victim.wait(), SIGKILL);
        ASSERT_EQ(total(region), 0);
    }
    const long before = value_at(region, kTo);
    EXPECT_TRUE(eventually([&] { return value_at(region, kTo) != before; }))
        << "the other one has come to a stop";
    ::kill(shared[0].pid, SIGKILL);
    EXPECT_EQ(lasting.wait(), SIGKILL);
    EXPECT_EQ(total(region), 0);
}

} // namespace
