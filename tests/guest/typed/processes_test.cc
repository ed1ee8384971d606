// SPDX-License-Identifier: GPL-2.0
// Many processes with typed transactions, some of which are killed; and beside them the other ways
// of access.
#include "typed.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <random>

using namespace stm::test;

namespace {

constexpr std::size_t kAccounts = 64;
constexpr std::size_t kRegionBytes = 16 * kPage;

std::uint64_t at(std::size_t account) {
    return account * 40; // some share a stripe, and some lie in two
}

bool over(double end) {
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9 > end;
}
double in(double seconds) {
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9 + seconds;
}

void transfer(stm_region* from_region, std::size_t from, stm_region* to_region, std::size_t to,
              long amount) {
    EXPECT_TRUE(atomically(from_region, 0, [&](stm_tx* tx) {
        if (add(tx, from_region, at(from), -amount) == 0)
            static_cast<void>(add(tx, to_region, at(to), amount));
    }));
}

long total_of(stm_region* first, stm_region* second) {
    long total = 0;
    EXPECT_TRUE(atomically(first, STM_TX_READ_ONLY, [&](stm_tx* tx) {
        total = 0;
        for (stm_region* const region : {first, second}) {
            for (std::size_t i = 0; i < kAccounts; ++i) {
                long balance = 0;
                if (stm_tx_load(tx, region, at(i), &balance, sizeof balance) != 0)
                    return;
                total += balance;
            }
        }
    }));
    return total;
}

TEST(TypedProcesses, ABankKeepsItsTotalWhoeverIsKilled) {
    const TypedRegion first("bank", kRegionBytes);
    const TypedRegion second("bank", kRegionBytes);
    const auto teller = [&](unsigned seed) {
        std::mt19937 random(seed);
        for (;;) {
            stm_region* const from = random() % 2 == 0 ? first : second;
            stm_region* const to = random() % 4 != 0 ? from : first;
            transfer(from, random() % kAccounts, to, random() % kAccounts,
                     static_cast<long>(random() % 100));
        }
    };
    std::mt19937 random(1);
    std::vector<std::unique_ptr<Child>> tellers;
    const auto start = [&](unsigned seed) {
        return std::make_unique<Child>([&, seed] {
            teller(seed);
            return 0;
        });
    };
    for (unsigned i = 0; i < 3; ++i)
        tellers.push_back(start(i));
    const double end = in(4);
    int killed = 0;
    while (!over(end) || killed <= 20) {
        ::usleep(random() % 20'000);
        std::unique_ptr<Child>& victim = tellers[random() % tellers.size()];
        victim->kill(SIGKILL);
        EXPECT_EQ(victim->wait(), 128 + SIGKILL);
        ++killed;
        ASSERT_EQ(total_of(first, second), 0);
        victim = start(static_cast<unsigned>(random()));
    }
    for (const std::unique_ptr<Child>& one : tellers) {
        one->kill(SIGKILL);
        one->wait();
    }
    EXPECT_EQ(total_of(first, second), 0);
    bool moved = false;
    for (std::size_t i = 0; i < kAccounts; ++i)
        moved = moved || value_at(first, at(i)) != 0;
    EXPECT_TRUE(moved);
}

TEST(TypedProcesses, OfSixtyFourNoneSuffersManyConflictsInARow) {
    const TypedRegion region("counter", kPage);
    constexpr int kProcesses = 64;
    constexpr int kEach = 100;
    // Of each: the most conflicts in a row, which all of them show in the end.
    const Mapping worst(-1, kProcesses * sizeof(unsigned), PROT_READ | PROT_WRITE, 0,
                        MAP_SHARED | MAP_ANONYMOUS);
    StartingLine line(kProcesses);
    std::vector<Child> children;
    for (int i = 0; i < kProcesses; ++i)
        children.push_back(Child::doing([&, i] {
            const Attached own(region.name());
            unsigned& most = worst.at<unsigned>()[i];
            line.wait();
            for (int k = 0; k < kEach; ++k)
                EXPECT_TRUE(atomically(own, 0, [&](stm_tx* tx) {
                    most = std::max(most, stm_tx_conflicts(tx));
                    return add(tx, own, 0, 1);
                }));
        }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(value_at(region, 0), kProcesses * kEach);
    const unsigned* const all = worst.at<unsigned>();
    const unsigned most = *std::max_element(all, all + kProcesses);
    std::printf("most conflicts in a row: %u\n", most);
    // After sixteen it holds the token.
    EXPECT_LE(most, 32u);
}

// Each leaves its processor in the middle, so that another one is always quicker.
TEST(TypedProcesses, OfSixtyFourNoneSuffersManyConflictsInARowAlsoWhenAllOfThemSleep) {
    const TypedRegion region("counter", kPage);
    constexpr int kProcesses = 64;
    constexpr int kEach = 3;
    const Mapping worst(-1, kProcesses * sizeof(unsigned), PROT_READ | PROT_WRITE, 0,
                        MAP_SHARED | MAP_ANONYMOUS);
    StartingLine line(kProcesses);
    std::vector<Child> children;
    for (int i = 0; i < kProcesses; ++i)
        children.push_back(Child::doing([&, i] {
            const Attached own(region.name());
            unsigned& most = worst.at<unsigned>()[i];
            line.wait();
            for (int k = 0; k < kEach; ++k)
                EXPECT_TRUE(atomically(own, 0, [&](stm_tx* tx) {
                    most = std::max(most, stm_tx_conflicts(tx));
                    long value = 0;
                    if (stm_tx_load(tx, own, 0, &value, sizeof value) != 0)
                        return;
                    ::usleep(300);
                    ++value;
                    static_cast<void>(stm_tx_store(tx, own, 0, &value, sizeof value));
                }));
        }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(value_at(region, 0), kProcesses * kEach);
    const unsigned* const all = worst.at<unsigned>();
    const unsigned most = *std::max_element(all, all + kProcesses);
    std::printf("most conflicts in a row: %u\n", most);
    EXPECT_GE(most, 4u) << "this shows nothing";
    EXPECT_LE(most, 32u);
}

constexpr off_t kOther = 3 * kPage + 8;

// Each returns whether it was committed; after a conflict it is done again.
[[gnu::noinline]] bool count_by_calls(int fd) {
    stm_start(fd);
    long one = 0;
    long two = 0;
    static_cast<void>(::pread(fd, &one, sizeof one, 0));
    static_cast<void>(::pread(fd, &two, sizeof two, kOther));
    EXPECT_EQ(one, two);
    ++one;
    static_cast<void>(::pwrite(fd, &one, sizeof one, 0));
    static_cast<void>(::pwrite(fd, &one, sizeof one, kOther));
    return stm_commit(fd) == 0;
}

[[gnu::noinline]] bool count_in_mapping(int fd, long* first, long* second) {
    stm_start(fd);
    const long one = *first;
    const long two = *second;
    EXPECT_EQ(one, two);
    *first = one + 1;
    *second = two + 1;
    return stm_commit(fd) == 0;
}

// Each way adds the same amount to two numbers that nobody may see apart.
TEST(TypedProcesses, AllWaysAreIsolatedFromEachOther) {
    const TypedRegion region("ways", kRegionBytes);
    constexpr long kEach = 400;
    StartingLine line(3);
    std::vector<Child> children;
    children.push_back(Child::doing([&] {
        line.wait();
        for (long i = 0; i < kEach; ++i)
            EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
                long one = 0;
                long two = 0;
                if (stm_tx_load(tx, region, 0, &one, sizeof one) != 0 ||
                    stm_tx_load(tx, region, kOther, &two, sizeof two) != 0)
                    return;
                EXPECT_EQ(one, two);
                if (add(tx, region, 0, 1) == 0)
                    static_cast<void>(add(tx, region, kOther, 1));
            }));
    }));
    children.push_back(Child::doing([&] {
        const Fd handle(stm_open(region.name().c_str(), 0, 0, 0));
        line.wait();
        for (long i = 0; i < kEach;)
            i += count_by_calls(handle.get()) ? 1 : 0;
    }));
    children.push_back(Child::doing([&] {
        const Fd handle(stm_open(region.name().c_str(), 0, 0, 0));
        const Mapping mapping(handle.get(), kRegionBytes);
        line.wait();
        for (long i = 0; i < kEach;)
            i += count_in_mapping(handle.get(), mapping.at<long>(0), mapping.at<long>(kOther)) ? 1
                                                                                               : 0;
    }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(value_at(region, 0), 3 * kEach);
    EXPECT_EQ(value_at(region, kOther), 3 * kEach);
}

} // namespace
