// SPDX-License-Identifier: GPL-2.0
// Transactions through the entries of the module: which thread has which, and what others see of
// them. What they mean is tests/unit/protocol/.
#include "tests/unit/kernel/transaction_test.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

TEST_F(Transactions, AreSeenByOthersAfterTheirCommit) {
    EXPECT_EQ(start(file), 1);
    put(file, 8, 5);
    EXPECT_EQ(get(file, 8), 5u);
    EXPECT_EQ(get(other, 8), 0u) << "another handle, another transaction";
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 8), 5u);
    EXPECT_EQ(commit(file), -EINVAL);
    EXPECT_EQ(info_of(file).resident_bytes, kPage);
}

TEST_F(Transactions, AreWithoutEffectWhenCancelled) {
    EXPECT_EQ(cancel(file), -EINVAL);
    EXPECT_EQ(validate(file), -EINVAL);
    EXPECT_EQ(start(file), 1);
    put(file, 8, 5);
    EXPECT_EQ(start(file), 2);
    put(file, 16, 6);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(get(file, 16), 0u);
    EXPECT_EQ(get(file, 8), 5u);
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(cancel(file, STM_CANCEL_ALL), 0);
    EXPECT_EQ(get(other, 8), 0u);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(transaction_of(file).last_reason, unsigned{STM_REASON_CANCEL});
}

TEST_F(Transactions, ConflictWhenWhatTheyReadHasChanged) {
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 0), 0u);
    EXPECT_EQ(validate(file), 0);
    disturb(0);
    EXPECT_EQ(validate(file), -EAGAIN);
    put(file, 4096, 1);
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(transaction_of(file).conflicts, 1u);
    EXPECT_EQ(get(other, 4096), 0u);
    EXPECT_EQ(start(file, STM_START_RESTART), 1);
    EXPECT_EQ(get(file, 0), 77u);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Transactions, RefuseWhatTheyDoNotKnow) {
    EXPECT_EQ(start(file, 0x10), -EINVAL);
    EXPECT_EQ(start(file, 0x80), -EINVAL);
    EXPECT_EQ(start(file, STM_START_SIGNAL(65)), -EINVAL);
    EXPECT_EQ(start(file, ~std::uint64_t{0}), -EINVAL);
    EXPECT_EQ(start(file, std::uint64_t{1} << 16), -EINVAL);
    EXPECT_EQ(start(file, std::uint64_t{1} << 31), -EINVAL);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_COMMIT, 1), -EINVAL);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_VALIDATE, 1), -EINVAL);
    EXPECT_EQ(cancel(file, 2), -EINVAL);
    EXPECT_EQ(start(open(control, "plain")), -EOPNOTSUPP);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    auto transaction = argument_of<stm_transaction>(1);
    EXPECT_EQ(request(file, STM_IOC_TRANSACTION, transaction), -EINVAL);
    auto waiting = argument_of<stm_wait>(1);
    EXPECT_EQ(request(file, STM_IOC_WAIT, waiting), -EINVAL);
    for (const std::uint32_t flags :
         {0u, unsigned{STM_BY_NEXT}, unsigned{STM_BY_NAME | STM_BY_ID},
          unsigned{STM_BY_NAME | STM_STATISTICS_OF_HANDLE}, unsigned{STM_BY_HANDLE | 0x20}}) {
        auto statistics = argument_of<stm_statistics>(flags, "tx");
        EXPECT_EQ(request(file, STM_IOC_STATISTICS, statistics), -EINVAL) << flags;
    }
}

TEST_F(Transactions, MakeTheControlHandleAUserOfTheDefaultRegion) {
    const File node = File::node(0);
    EXPECT_EQ(info_of(node).handles, 0u);
    EXPECT_EQ(start(node), 1);
    EXPECT_EQ(info_of(node).handles, 1u);
    EXPECT_EQ(cancel(node), 0);
}

TEST_F(Transactions, BelongToOneThread) {
    EXPECT_EQ(start(file), 1);
    put(file, 0, 1);
    std::thread([&] {
        EXPECT_EQ(commit(file), -EINVAL);
        EXPECT_EQ(get(file, 0), 0u);
        EXPECT_EQ(start(file), 1);
        put(file, 64, 2);
        EXPECT_EQ(commit(file), 0);
    }).join();
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 1u);
    EXPECT_EQ(get(other, 64), 2u);
}

TEST_F(Transactions, OfMoreThreadsThanAllowedAreRefused) {
    settings.max_contexts = 2;
    std::atomic<int> ready{0};
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    for (int number = 0; number < 2; ++number) {
        threads.emplace_back([&] {
            EXPECT_EQ(start(file), 1);
            ++ready;
            while (!over)
                std::this_thread::yield();
        });
        while (ready != number + 1)
            std::this_thread::yield();
    }
    EXPECT_EQ(start(file), -ENOSPC);
    char byte = 0;
    EXPECT_EQ(read(file, 0, &byte, 1), -ENOSPC);
    over = true;
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(start(file), 1) << "the threads have ended";
}

// One attempt to add one to two numbers that are always the same. Whether it was committed.
bool count_one(const File& file) {
    if (start(file, STM_START_RESTART | STM_START_SIGNAL(SIGUSR1)) != 1)
        return false;
    std::uint64_t one = 0;
    std::uint64_t two = 0;
    if (read(file, 0, &one, sizeof(one)) < 0 || read(file, 4096, &two, sizeof(two)) < 0)
        return false;
    EXPECT_EQ(one, two) << "a snapshot shows one moment";
    ++one;
    return write(file, 0, &one, sizeof(one)) >= 0 && write(file, 4096, &one, sizeof(one)) >= 0 &&
           commit(file) == 0;
}

TEST_F(Transactions, OfManyThreadsLoseNoCount) {
    constexpr int kThreads = 6;
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(500);
    std::atomic<std::uint64_t> sum{0};
    std::atomic<bool> over{false};
    std::thread watchdog([&] {
        while (!over) {
            simulated::run_timers();
            std::this_thread::yield();
        }
    });
    std::vector<std::thread> threads;
    for (int number = 0; number < kThreads; ++number) {
        threads.emplace_back([&, number] {
            // Half of them share a handle.
            const File mine = open(control, "tx", kOpen, {0, 0, 0});
            const File& used = number % 2 == 0 ? mine : file;
            std::uint64_t count = 0;
            while (std::chrono::steady_clock::now() < end)
                count += count_one(used) ? 1 : 0;
            cancel(used, STM_CANCEL_ALL);
            simulated::take_signals();
            sum += count;
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    over = true;
    watchdog.join();
    EXPECT_GT(sum, 0u);
    EXPECT_EQ(get(file, 0), sum);
    EXPECT_EQ(get(file, 4096), sum);
    EXPECT_EQ(statistics_of(file).commits, sum);
    std::printf("[  rounds  ] %llu commits, %llu serial\n",
                static_cast<unsigned long long>(sum.load()),
                static_cast<unsigned long long>(statistics_of(file).serial));
}

} // namespace
} // namespace stm::test
