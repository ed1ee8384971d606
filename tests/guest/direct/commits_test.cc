// SPDX-License-Identifier: GPL-2.0
// Commits to a direct region: by the program itself, beside all other ways to use the region.
#include "typed.hpp"

#include <algorithm>
#include <chrono>
#include <poll.h>
#include <random>
#include <stm/transaction.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr int kThreads = 2;

TEST(DirectCommits, AreSeenByAllOtherWays) {
    const TypedRegion region("direct", 4 * kPage, STM_DIRECT);
    const Mapping mapping(region.fd(), 4 * kPage);
    for (long value = 1; value < 20; ++value) {
        set_value(region, 8 * static_cast<std::uint64_t>(value), value);
        long read = 0;
        ASSERT_EQ(::pread(region.fd(), &read, sizeof read, 8 * value), 8);
        EXPECT_EQ(read, value);
        EXPECT_EQ(mapping.at<volatile long>()[value], value);
        EXPECT_EQ(value_at(region, 8 * static_cast<std::uint64_t>(value)), value);
    }
}

TEST(DirectCommits, SeeWhatOtherWaysCommit) {
    const TypedRegion region("direct", 4 * kPage, STM_DIRECT);
    const Mapping mapping(region.fd(), 4 * kPage);
    for (long value = 1; value < 20; ++value) {
        ASSERT_EQ(::pwrite(region.fd(), &value, sizeof value, 0), 8);
        EXPECT_EQ(value_at(region, 0), value);
        stm_start(region.fd());
        mapping.at<volatile long>()[1] = value;
        ASSERT_EQ(stm_commit(region.fd()), 0);
        EXPECT_EQ(value_at(region, 8), value);
        EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
            if (add(tx, region, 0, 1) == 0)
                static_cast<void>(add(tx, region, 8, 1));
        }));
        EXPECT_EQ(value_at(region, 0), value + 1);
        EXPECT_EQ(mapping.at<volatile long>()[1], value + 1);
    }
}

TEST(DirectCommits, LargeOnesAreMadeByTheModule) {
    const TypedRegion region("direct", 64 * kPage, STM_DIRECT);
    std::vector<char> bytes(40 * kPage, 'x');
    EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        return stm_tx_store(tx, region, 3, bytes.data(), bytes.size());
    }));
    std::vector<char> found(bytes.size());
    ASSERT_EQ(::pread(region.fd(), found.data(), found.size(), 3),
              static_cast<ssize_t>(found.size()));
    EXPECT_EQ(found, bytes);
}

// Whatever pieces a transaction stores, in whichever order, the same bytes are there afterwards.
TEST(DirectCommits, WriteBytesOfEachShapeAndOrder) {
    constexpr std::size_t kBytes = 4 * kPage;
    const TypedRegion region("direct", kBytes, STM_DIRECT);
    std::vector<char> expected(kBytes, 0);
    std::minstd_rand random(1);
    for (int round = 0; round < 500; ++round) {
        struct Piece {
            std::size_t offset;
            std::size_t bytes;
        };
        std::vector<Piece> pieces(1 + random() % 4);
        for (Piece& piece : pieces) {
            const bool is_word = random() % 2 == 0;
            piece.bytes = is_word ? 8 : 1 + random() % 200;
            piece.offset = is_word ? random() % (kBytes / 8) * 8 : random() % (kBytes - 200);
        }
        const char value = static_cast<char>(round + 1);
        ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
            for (const Piece& piece : pieces) {
                const std::vector<char> bytes(piece.bytes, value);
                if (stm_tx_store(tx, region, piece.offset, bytes.data(), bytes.size()) != 0)
                    return;
            }
        }));
        for (const Piece& piece : pieces)
            std::fill_n(expected.begin() + static_cast<long>(piece.offset), piece.bytes, value);
        std::vector<char> found(kBytes);
        ASSERT_EQ(::pread(region.fd(), found.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
        ASSERT_EQ(found, expected) << "round " << round;
    }
}

// Counters in one region: by the threads of several processes, by all ways.
TEST(DirectCommits, NoAdditionIsLostWhicheverWayItIsMade) {
    const TypedRegion region("direct", 4 * kPage, STM_DIRECT);
    constexpr int kTimes = 3000;
    std::vector<Child> children;
    for (int child = 0; child < 3; ++child) {
        children.push_back(Child::doing([&] {
            std::vector<std::thread> threads;
            for (int thread = 0; thread < kThreads; ++thread)
                threads.emplace_back([&] {
                    for (int i = 0; i < kTimes; ++i)
                        EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
                            if (add(tx, region, 0, 1) == 0)
                                static_cast<void>(add(tx, region, kPage + 64, 1));
                        }));
                });
            for (std::thread& thread : threads)
                thread.join();
        }));
    }
    children.push_back(Child::doing([&] {
        const Mapping mapping(region.fd(), 4 * kPage);
        for (int i = 0; i < kTimes / 4; ++i) {
            do {
                stm_start(region.fd());
                ++*mapping.at<long>();
                ++*mapping.at<long>(kPage + 64);
            } while (stm_commit(region.fd()) != 0);
        }
    }));
    children.push_back(Child::doing([&] {
        for (int i = 0; i < 200; ++i)
            EXPECT_TRUE(atomically(region, STM_TX_SERIAL, [&](stm_tx* tx) {
                if (add(tx, region, 0, 1) == 0)
                    static_cast<void>(add(tx, region, kPage + 64, 1));
            }));
    }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    const long expected = 3 * kThreads * kTimes + kTimes / 4 + 200;
    EXPECT_EQ(value_at(region, 0), expected);
    EXPECT_EQ(value_at(region, kPage + 64), expected);
}

struct stm_statistics statistics_of(const TypedRegion& region) {
    struct stm_statistics statistics {};
    EXPECT_EQ(stm_statistics(region.fd(), &statistics), 0);
    return statistics;
}

TEST(DirectCommits, AreCountedWhateverBecomesOfTheirThread) {
    const TypedRegion region("direct", kPage, STM_DIRECT);
    std::thread([&] {
        for (int i = 0; i < 30; ++i)
            set_value(region, 0, i);
    }).join();
    for (int i = 0; i < 50; ++i)
        set_value(region, 0, i);
    EXPECT_EQ(statistics_of(region).commits, 80u);
    // Another process's, which ends.
    Child child = Child::doing([&] {
        const Attached own(region.name());
        for (int i = 0; i < 20; ++i)
            set_value(own, 0, i);
        // One conflict.
        stm_tx* const tx = stm_tx_begin(own, 0);
        long value = 0;
        ASSERT_EQ(stm_tx_load(tx, own, 0, &value, sizeof value), 0);
        ASSERT_EQ(stm_tx_store(tx, own, 64, &value, sizeof value), 0);
        ASSERT_EQ(::pwrite(region.fd(), &value, sizeof value, 0), 8);
        ASSERT_EQ(stm_tx_commit(tx), STM_TX_AGAIN);
        stm_tx_cancel(tx);
    });
    EXPECT_EQ(child.wait(), 0);
    const struct stm_statistics counted = statistics_of(region);
    EXPECT_EQ(counted.commits, 100u);
    EXPECT_EQ(counted.read_only, 0u);
    EXPECT_EQ(counted.aborts[STM_REASON_COMMIT_VALIDATION], 1u);
    EXPECT_EQ(counted.aborts[STM_REASON_COMMIT_LOCKED], 0u);
    EXPECT_EQ(counted.starts, 101u);
}

TEST(DirectCommits, WakeThoseThatWaitForAChange) {
    const TypedRegion region("direct", kPage, STM_DIRECT);
    for (int round = 0; round < 20; ++round) {
        Child waiter = Child::doing([&] {
            stm_tx* const tx = stm_tx_begin(region, 0);
            long value = 0;
            int result = 0;
            do {
                if (stm_tx_load(tx, region, 64, &value, sizeof value) == 0 && value == round) {
                    // One that nobody wakes looks at last, too.
                    const auto begin = std::chrono::steady_clock::now();
                    result = stm_tx_wait(tx, 20'000'000'000);
                    ASSERT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15));
                    continue;
                }
                result = stm_tx_commit(tx);
            } while (result > 0);
            EXPECT_EQ(result, 0) << std::strerror(errno);
        });
        ::usleep(round % 4 * 3000);
        set_value(region, 64, round + 1);
        ASSERT_EQ(waiter.wait(), 0);
    }
}

TEST(DirectCommits, AreToldByPoll) {
    const TypedRegion region("direct", kPage, STM_DIRECT);
    struct pollfd watched {
        region.fd(), POLLIN, 0
    };
    long value = 0;
    ASSERT_EQ(::pread(region.fd(), &value, sizeof value, 0), 8);
    EXPECT_EQ(::poll(&watched, 1, 0), 0);
    Child writer = Child::doing([&] {
        ::usleep(20'000);
        set_value(region, 0, 7);
    });
    EXPECT_EQ(::poll(&watched, 1, 20'000), 1);
    EXPECT_EQ(writer.wait(), 0);
    EXPECT_EQ(value_at(region, 0), 7);
}

// A serial transaction meets nobody, however many commit beside it.
TEST(DirectCommits, StayOutsideWhileATransactionIsSerial) {
    const TypedRegion region("direct", kPage, STM_DIRECT);
    set_value(region, 0, 0);
    std::vector<Child> children;
    for (int child = 0; child < 2; ++child)
        children.push_back(Child::doing([&] {
            for (;;)
                EXPECT_TRUE(atomically(
                    region, 0, [&](stm_tx* tx) { static_cast<void>(add(tx, region, 0, 1)); }));
        }));
    for (int i = 0; i < 100; ++i) {
        stm_tx* const tx = stm_tx_begin(region, STM_TX_SERIAL);
        ASSERT_NE(tx, nullptr);
        int result = STM_TX_AGAIN;
        while (result == STM_TX_AGAIN) {
            const auto begun = std::chrono::steady_clock::now();
            long value = 0;
            result = stm_tx_load(tx, region, 0, &value, sizeof value);
            ::usleep(300);
            ++value;
            if (result == 0)
                result = stm_tx_store(tx, region, 0, &value, sizeof value);
            const int committed = stm_tx_commit(tx);
            result = result == 0 ? committed : result;
            // On a machine that has other things to do it may have lost the token by its lease, 1
            // s.
            if (result == STM_TX_AGAIN) {
                EXPECT_GT(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(900))
                    << "a serial transaction had a conflict";
            }
        }
        ASSERT_EQ(result, 0);
    }
    for (Child& child : children)
        child.kill(SIGKILL);
    for (Child& child : children)
        child.wait();
}

} // namespace
