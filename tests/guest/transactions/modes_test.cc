// SPDX-License-Identifier: GPL-2.0
// Regions whose transactions take a lock; limits; buffers in our own mappings; statistics.
#include "transactions.hpp"

using namespace stm::test;

namespace {

// -- STM_MUTEX --

class MutexRegion : public Transactions {
protected:
    MutexRegion() : Transactions(STM_MUTEX) {}
};

TEST_F(MutexRegion, TransactionsWaitForEachOther) {
    stm_start(fd());
    long value = get(fd());
    Child other([&] {
        Fd handle = another();
        stm_start(handle.get());
        put(handle.get(), get(handle.get()) * 10);
        return stm_commit(handle.get());
    });
    ::usleep(200'000);
    EXPECT_EQ(::waitpid(other.pid(), nullptr, WNOHANG), 0) << "it has to wait";
    put(fd(), value + 1);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(other.wait(), 0);
    EXPECT_EQ(get(fd()), 10);
}

TEST_F(MutexRegion, NeverConflicts) {
    std::vector<Child> children;
    for (int index = 0; index < 8; ++index)
        children.emplace_back([&] {
            Fd handle = another();
            for (int round = 0; round < 50; ++round) {
                stm_start(handle.get());
                put(handle.get(), get(handle.get()) + 1);
                EXPECT_EQ(stm_commit(handle.get()), 0);
            }
            return 0;
        });
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(get(fd()), 400);
    EXPECT_EQ(statistics(fd()).longest_streak, 0u);
    EXPECT_EQ(statistics(fd()).serial, 400u);
}

TEST_F(MutexRegion, ADeadOwnerReleases) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    Child owner([&] {
        Fd handle = another();
        stm_start(handle.get());
        put(handle.get(), 5L);
        EXPECT_EQ(::write(ends[1], "", 1), 1);
        ::pause();
        return 0;
    });
    char byte = 0;
    ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    Child waiter([&] {
        stm_start(fd());
        EXPECT_EQ(get(fd()), 0) << "what the dead one wrote is gone";
        put(fd(), 7L);
        return stm_commit(fd());
    });
    ::usleep(100'000);
    EXPECT_EQ(::waitpid(waiter.pid(), nullptr, WNOHANG), 0);
    owner.kill(SIGKILL);
    EXPECT_EQ(owner.wait(), 128 + SIGKILL);
    EXPECT_EQ(waiter.wait(), 0);
    EXPECT_EQ(get(fd()), 7);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_F(MutexRegion, AWaiterCanBeKilled) {
    stm_start(fd());
    Child waiter([&] {
        stm_start(fd());
        return 0;
    });
    ::usleep(100'000);
    waiter.kill(SIGKILL);
    EXPECT_EQ(waiter.wait(), 128 + SIGKILL);
    EXPECT_EQ(stm_commit(fd()), 0);
    stm_start(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(MutexRegion, PartsAndCancel) {
    stm_start(fd());
    put(fd(), 1L);
    stm_start(fd());
    put(fd(), 2L);
    stm_cancel(fd());
    EXPECT_EQ(get(fd()), 1);
    stm_cancel(fd());
    EXPECT_EQ(get(fd()), 0);
    elsewhere([&] {
        stm_start(fd());
        put(fd(), 3L);
        EXPECT_EQ(stm_commit(fd()), 0);
    });
    EXPECT_EQ(get(fd()), 3);
}

// -- Limits --

class Limits : public Transactions {};

TEST_F(Limits, TooBigIsToldAndEndsTheTransaction) {
    Parameter limit("max_stripes", "256");
    Fd handle = another();
    stm_start(handle.get());
    put(handle.get(), 1L);
    std::vector<char> large(48 * 1024, 'x');
    EXPECT_EQ(::pwrite(handle.get(), large.data(), large.size(), 0), -1);
    EXPECT_EQ(errno, E2BIG);
    EXPECT_EQ(::pread(handle.get(), large.data(), 8, 0), -1) << "it has failed";
    EXPECT_EQ(errno, E2BIG);
    EXPECT_EQ(transaction(handle.get()).doom, unsigned{STM_REASON_TOO_BIG});
    stm_start(handle.get()); // a part, which has no effect either
    stm_cancel(handle.get());
    EXPECT_EQ(stm_try_start(handle.get()), -1);
    EXPECT_EQ(errno, E2BIG);
    EXPECT_EQ(stm_try_commit(handle.get()), -1);
    EXPECT_EQ(errno, E2BIG);
    EXPECT_EQ(stm_abort_reason(handle.get()), STM_REASON_TOO_BIG);
    EXPECT_EQ(get(fd()), 0);
    stm_start(handle.get());
    EXPECT_EQ(::pwrite(handle.get(), large.data(), large.size(), 0), -1);
    stm_cancel(handle.get());
    EXPECT_EQ(get(fd()), 0);
    stm_start(handle.get());
    put(handle.get(), 2L);
    EXPECT_EQ(stm_commit(handle.get()), 0);
    EXPECT_EQ(get(fd()), 2);
}

TEST(LargeTransactions, Commit) {
    constexpr std::size_t kSize = 4 * 1024 * 1024;
    Region region("large", kSize, kTransactional);
    std::vector<char> bytes(kSize, 'x');
    volatile int attempts = 0;
    do {
        stm_start(region.fd());
        attempts = attempts + 1;
        ASSERT_EQ(::pwrite(region.fd(), bytes.data(), kSize, 0), static_cast<ssize_t>(kSize));
        elsewhere([&] { EXPECT_EQ(get<char>(region.fd(), kSize / 2), 0); });
    } while (stm_commit(region.fd()) != 0);
    EXPECT_EQ(get<char>(region.fd(), kSize - 1), 'x');
}

TEST_F(Limits, TheEndOfTheRegion) {
    constexpr off_t kEnd = 64 * 1024;
    stm_start(fd());
    char bytes[16] = "0123456789abcde";
    EXPECT_EQ(::pwrite(fd(), bytes, 16, kEnd - 8), 8);
    EXPECT_EQ(::pread(fd(), bytes, 16, kEnd - 8), 8);
    EXPECT_EQ(::pread(fd(), bytes, 16, kEnd), 0);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get<char>(fd(), kEnd - 1), '7');
    stm_start(fd());
    EXPECT_EQ(::pwrite(fd(), "9", 1, kEnd - 1), 1);
    EXPECT_EQ(::pwrite(fd(), bytes, 16, kEnd), -1) << "nothing fits, so it has failed";
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(stm_commit(fd()), 1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(get<char>(fd(), kEnd - 1), '7');
}

TEST_F(Limits, BadMemoryIsEfaultAndTheTransactionGoesOn) {
    Mapping none(-1, kPage, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    void* nowhere = none.data();
    stm_start(fd());
    put(fd(), 1L);
    EXPECT_EQ(::pwrite(fd(), nowhere, 8, 0), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(::pread(fd(), nowhere, 8, 0), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);
}

// -- Buffers in our own mappings --

TEST_F(Limits, BuffersInAPlainRegionsMapping) {
    Region plain("plain", 16 * kPage);
    Mapping mapping(plain.fd(), 16 * kPage); // untouched: the copy faults its pages in
    ASSERT_TRUE(mapping.ok());
    stm_start(fd());
    put(fd(), 7L, 10 * kPage);
    EXPECT_EQ(::pread(fd(), mapping.at(), 16 * kPage, 0), static_cast<ssize_t>(16 * kPage));
    EXPECT_EQ(*mapping.at<long>(10 * kPage), 7);
    *mapping.at<long>(11 * kPage) = 8;
    EXPECT_EQ(::pwrite(fd(), mapping.at(), 16 * kPage, 0), static_cast<ssize_t>(16 * kPage));
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd(), 11 * kPage), 8);
}

TEST_F(Limits, BuffersInAMappingOfTheSameRegion) {
    put(fd(), 9L, 3 * kPage);
    Mapping mapping(fd(), 16 * kPage, PROT_READ);
    ASSERT_TRUE(mapping.ok()) << std::strerror(errno);
    stm_start(fd());
    // What is written is the committed state, as the mapping shows it.
    EXPECT_EQ(::pwrite(fd(), mapping.at(3 * kPage), kPage, 0), static_cast<ssize_t>(kPage));
    EXPECT_EQ(get(fd(), 0), 9);
    EXPECT_EQ(::pread(fd(), mapping.at(), 8, 0), -1) << "it cannot be written";
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(*mapping.at<long>(), 9) << "commits show in mappings";
    // Untouched pages, and without a transaction.
    EXPECT_EQ(::pwrite(fd(), mapping.at(8 * kPage), 4 * kPage, 2 * kPage),
              static_cast<ssize_t>(4 * kPage));
    EXPECT_EQ(get(fd(), 3 * kPage), 0);
}

// -- Statistics --

TEST_F(Limits, StatisticsOfAScript) {
    Parameter no_watchdog("watchdog_ms", "0"); // it could restart the one that conflicts
    struct stm_statistics before = statistics(fd());
    EXPECT_EQ(before.starts, 0u);
    stm_start(fd()); // 1: an update
    put(fd(), 1L);
    EXPECT_EQ(stm_commit(fd()), 0);
    stm_start(fd()); // 2: only reads
    get(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
    stm_start(fd()); // 3: cancelled
    put(fd(), 1L);
    stm_cancel(fd());
    stm_start(fd()); // 4: a conflict at the commit
    put(fd(), get(fd()) + 1);
    elsewhere([&] { put(fd(), 5L); });
    EXPECT_EQ(stm_commit(fd()), 1);
    volatile int attempts = 0;
    stm_start(fd()); // 5 and 6: a retry
    attempts = attempts + 1;
    stm_start(fd()); // a part is no transaction
    EXPECT_EQ(stm_commit(fd()), 0);
    if (attempts == 1)
        stm_retry(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
    stm_start(fd()); // 7: a wait without success
    get(fd());
    struct timespec moment {
        0, 1000
    };
    EXPECT_EQ(stm_wait(fd(), &moment), -1);
    stm_cancel(fd());

    struct stm_statistics now = statistics(fd());
    EXPECT_EQ(now.starts, 7u);
    EXPECT_EQ(now.commits, 3u);
    EXPECT_EQ(now.read_only, 2u);
    EXPECT_EQ(now.calls, 1u);
    EXPECT_EQ(now.restarts, 1u);
    EXPECT_EQ(now.waits, 1u);
    EXPECT_EQ(now.serial, 0u);
    EXPECT_EQ(now.signals, 0u);
    EXPECT_EQ(now.waiting, 0u);
    EXPECT_EQ(now.longest_streak, 1u);
    EXPECT_EQ(now.aborts[STM_REASON_CANCEL], 1u);
    EXPECT_EQ(now.aborts[STM_REASON_COMMIT_VALIDATION], 1u);
    EXPECT_EQ(now.aborts[STM_REASON_RETRY], 2u);
    for (int reason :
         {STM_REASON_NONE, STM_REASON_READ_LOCKED, STM_REASON_READ_VALIDATION,
          STM_REASON_COMMIT_LOCKED, STM_REASON_TOO_BIG, STM_REASON_NO_MEMORY, STM_REASON_SIGNAL,
          STM_REASON_KILLED, STM_REASON_SERIAL_WAIT, STM_REASON_OUT_OF_RANGE, STM_REASON_FAULT})
        EXPECT_EQ(now.aborts[reason], 0u) << stm_reason_text(reason);
    EXPECT_NE(now.last_committer_pid, 0);

    // Those of one handle, and by name.
    Fd handle = another();
    stm_start(handle.get());
    put(handle.get(), 1L);
    EXPECT_EQ(stm_commit(handle.get()), 0);
    auto own = make<struct stm_statistics>(STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE);
    EXPECT_EQ(request(handle.get(), STM_IOC_STATISTICS, &own), 0);
    EXPECT_EQ(own.starts, 1u);
    EXPECT_EQ(own.commits, 1u);
    EXPECT_EQ(own.last_committer_pid, ::getpid());
    auto named = make_named<struct stm_statistics>(region_.name(), STM_BY_NAME);
    EXPECT_EQ(request(STM_IOC_STATISTICS, &named), 0);
    EXPECT_EQ(named.starts, 8u);
    // What a closed handle did still counts.
    handle.reset();
    EXPECT_EQ(statistics(fd()).starts, 8u);
}

TEST_F(Limits, TheModuleRunsOutOfPatience) {
    // A transaction with so many conflicts in a row that it runs alone.
    Child rival([&] {
        Fd handle = another();
        for (;;)
            put(handle.get(), get(handle.get(), kStripe) + 1, kStripe);
        return 0;
    });
    EXPECT_TRUE(eventually([&] { return get(fd(), kStripe) > 10; }));
    volatile int attempts = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        put(fd(), get(fd(), kStripe), 2 * kStripe);
        // Until the rival was faster, however slow it is today; it waits for one that runs alone.
        while (transaction(fd()).serial == 0 && stm_validate(fd()) == 0)
            ::usleep(500);
    } while (stm_commit(fd()) != 0);
    EXPECT_LE(attempts, 24);
    EXPECT_GT(get(fd(), 2 * kStripe), 0);
    EXPECT_EQ(statistics(fd()).serial, 1u);
    std::printf("committed at attempt %d\n", attempts);
}

} // namespace
