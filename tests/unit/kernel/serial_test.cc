// SPDX-License-Identifier: GPL-2.0
// The serial token of a region: nobody starves, neither a long transaction beside short ones nor
// the short ones beside it. The clock goes only by what is slept, so the times are exact but for
// how often who waits looks.
#include "tests/unit/kernel/kernel_test.hpp"

#include <array>
#include <optional>
#include <thread>

namespace stm::test {
namespace {

constexpr std::uint64_t kMs = 1'000'000;
constexpr std::uint64_t kSecond = 1000 * kMs;
// Who waits looks every 50 ms.
constexpr std::uint64_t kLook = 51 * kMs;

class Serial : public KernelTest {
protected:
    File file = open(control, "tx", kCreate, {kPage, 0, 0666});
    File other = open(control, "tx", kOpen, {0, 0, 0});
    File third = open(control, "tx", kOpen, {0, 0, 0});
    simulated::OtherThread writer;
    simulated::OtherThread rival;
    std::optional<simulated::Sleepless> sleepless;
    std::uint64_t written = 0;

    void SetUp() override {
        settings.serial_after = 1;
        sleepless.emplace();
    }
    void TearDown() override { sleepless.reset(); }

    static std::uint64_t now() { return stm_linux_monotonic_ns(); }
    // Work that takes so long.
    static void work(std::uint64_t nanoseconds) {
        for (; nanoseconds > 10 * kMs; nanoseconds -= 10 * kMs)
            stm_linux_delay(10 * kMs);
        stm_linux_delay(nanoseconds);
    }
    // Calls again while it was only a signal that ended it; how long it took.
    template <typename Call>
    std::uint64_t time_of(Call call) {
        const std::uint64_t begin = now();
        do
            sleepless.emplace();
        while (call() == -EINTR);
        return now() - begin;
    }
    // The writer changes what the long transaction reads; how long it had to wait.
    std::uint64_t disturb() {
        const simulated::AsThread as(writer);
        ++written;
        return time_of([&] {
            const long result = write(other, 0, &written, sizeof(written));
            EXPECT_TRUE(result == sizeof(written) || result == -EINTR) << result;
            return result;
        });
    }
    std::uint64_t begin(const File& of) {
        return time_of([&] {
            const long result = start(of, STM_START_RESTART);
            EXPECT_TRUE(result == 1 || result == -EINTR) << result;
            return result;
        });
    }
    static void look(const File& of) {
        std::uint64_t value = 0;
        EXPECT_EQ(read(of, 0, &value, sizeof(value)), static_cast<long>(sizeof(value)));
    }
    static void store(const File& of) {
        const std::uint64_t value = 1;
        EXPECT_EQ(write(of, 64, &value, sizeof(value)), static_cast<long>(sizeof(value)));
    }
    // A transaction that reads and then is disturbed, so that the next one runs alone.
    void conflict() {
        begin(file);
        look(file);
        store(file);
        disturb();
        EXPECT_EQ(commit(file), -EAGAIN);
    }
    // One attempt to run alone that somebody waits for until its lease is over: how long that is.
    std::uint64_t lease() {
        begin(file);
        EXPECT_EQ(transaction_of(file).serial, 1u);
        look(file);
        store(file);
        const std::uint64_t waited = disturb();
        EXPECT_EQ(transaction_of(file).serial, 0u) << "it has been taken away";
        EXPECT_EQ(commit(file), -EAGAIN);
        return waited;
    }
};

TEST_F(Serial, TheLeaseDoublesEachTimeThatItDidNotSuffice) {
    conflict();
    for (const std::uint64_t seconds : {1, 2, 4, 8, 16, 32, 60, 60}) {
        const std::uint64_t waited = lease();
        EXPECT_GE(waited, seconds * kSecond);
        EXPECT_LE(waited, seconds * kSecond + kLook);
    }
}

TEST_F(Serial, NobodyWaitsForLongerThanTheBound) {
    settings.serial_lease_max_ms = 3000;
    conflict();
    for (const std::uint64_t seconds : {1, 2, 3, 3}) {
        const std::uint64_t waited = lease();
        EXPECT_GE(waited, seconds * kSecond);
        EXPECT_LE(waited, seconds * kSecond + kLook);
    }
    // It may be changed while somebody waits, and is never less than the first lease.
    settings.serial_lease_max_ms = 0;
    EXPECT_LE(lease(), kSecond + kLook);
}

TEST_F(Serial, ATransactionOfAnyLengthBelowTheBoundCommitsInAFewAttempts) {
    for (const std::uint64_t length : {1500, 5000, 20'000, 59'000}) {
        conflict();
        const std::uint64_t begun = now();
        int attempts = 0;
        for (;; ++attempts) {
            begin(file);
            look(file);
            store(file);
            // The writer is let in when the lease is over, unless the work is done before.
            const std::uint64_t lease = std::min<std::uint64_t>(1000ull << attempts, 60'000) * kMs;
            work(std::min(length * kMs, lease + kMs));
            if (length * kMs <= lease)
                break;
            EXPECT_LE(disturb(), kLook);
            ASSERT_EQ(commit(file), -EAGAIN);
            ASSERT_LT(attempts, 8);
        }
        EXPECT_EQ(commit(file), 0) << "within its lease";
        std::printf("[  length  ] %5.1f s of work: committed at attempt %d, after %.1f s\n",
                    static_cast<double>(length) / 1000, attempts + 1,
                    static_cast<double>(now() - begun) / static_cast<double>(kSecond));
        // A new file is a context of its own.
        file = open(control, "tx", kOpen, {0, 0, 0});
        work(60 * kSecond);
    }
}

TEST_F(Serial, TheTokenRestsForAsLongAsItWasKept) {
    conflict();
    std::uint64_t open = 0;
    std::uint64_t closed = 0;
    for (int attempt = 0; attempt < 6; ++attempt) {
        closed += lease();
        EXPECT_LT(disturb(), kMs) << "nobody waits while the token rests";
        open += begin(file);
        EXPECT_EQ(cancel(file), 0);
        conflict();
    }
    EXPECT_GE(open + 6 * kLook, closed);
    EXPECT_LE(open, closed + 6 * kLook);
}

TEST_F(Serial, OneThatNeverLostTheTokenWaitsForASecondAtMost) {
    conflict();
    for (int attempt = 0; attempt < 4; ++attempt)
        (void)lease();
    EXPECT_GE(lease(), 16 * kSecond);
    const simulated::AsThread as(rival);
    begin(third);
    look(third);
    store(third);
    disturb();
    EXPECT_EQ(commit(third), -EAGAIN);
    const std::uint64_t waited = begin(third);
    EXPECT_EQ(transaction_of(third).serial, 1u);
    EXPECT_LE(waited, kSecond + kLook);
    EXPECT_EQ(commit(third), 0);
}

TEST_F(Serial, ShortOnesDoNotRest) {
    conflict();
    begin(file);
    look(file);
    store(file);
    work(5 * kMs);
    EXPECT_EQ(commit(file), 0);
    conflict();
    EXPECT_EQ(begin(file), 0u);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Serial, TheLeaseStaysAsLongAsItIsNeededAndNoLonger) {
    conflict();
    for (int attempt = 0; attempt < 3; ++attempt)
        (void)lease();
    // 8 s by now. What needs them gets them at once next time as well.
    for (int round = 0; round < 2; ++round) {
        begin(file);
        work(5 * kSecond);
        EXPECT_EQ(commit(file), 0);
        conflict();
    }
    EXPECT_GE(lease(), 8 * kSecond);
    // 16 s by now.
    for (int round = 0; round < 4; ++round) {
        begin(file);
        EXPECT_EQ(commit(file), 0);
        conflict();
    }
    EXPECT_LE(lease(), kSecond + kLook);
}

TEST_F(Serial, AnotherThreadThatTakesTheContextOverBeginsWithTheFirstLease) {
    {
        simulated::OtherThread first;
        const simulated::AsThread as(first);
        conflict();
        for (int attempt = 0; attempt < 3; ++attempt)
            (void)lease();
        first.end();
    }
    work(60 * kSecond);
    begin(file);
    EXPECT_EQ(cancel(file), 0);
    conflict();
    EXPECT_LE(lease(), kSecond + kLook);
}

TEST_F(Serial, OneThatLostTheTokenAndIsStillValidCommits) {
    conflict();
    begin(file);
    look(file);
    store(file);
    work(5 * kSecond);
    {
        // Of another stripe.
        const simulated::AsThread as(writer);
        const std::uint64_t value = 5;
        EXPECT_EQ(write(other, 128, &value, sizeof(value)), static_cast<long>(sizeof(value)));
    }
    EXPECT_EQ(transaction_of(file).serial, 0u);
    EXPECT_EQ(validate(file), 0);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Serial, OneThatLostTheTokenAndIsNotValidIsTold) {
    conflict();
    simulated::take_signals();
    EXPECT_EQ(start(file, STM_START_RESTART | STM_START_SIGNAL(10)), 1);
    look(file);
    work(5 * kSecond);
    disturb();
    EXPECT_TRUE(simulated::take_signals().empty());
    simulated::run_timers();
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{10});
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(Serial, OneThatHasFailedKeepsNobodyWaiting) {
    settings.max_stripes = 4;
    conflict();
    begin(file);
    EXPECT_EQ(transaction_of(file).serial, 1u);
    const std::array<char, 1024> much{};
    EXPECT_EQ(write(file, 0, much.data(), much.size()), -E2BIG);
    EXPECT_EQ(transaction_of(file).serial, 0u);
    EXPECT_LT(disturb(), kMs);
    EXPECT_EQ(commit(file), -E2BIG);
}

TEST_F(Serial, ACommitThatHasBegunIsNotOvertaken) {
    // At each step of the commit of one that has been alone for longer than its lease: either the
    // writer was let in before it, and it conflicts, or the writer waits for its end.
    for (std::size_t step = 1;; ++step) {
        conflict();
        begin(file);
        look(file);
        store(file);
        work(5 * kSecond);
        bool happened = false;
        long result = 0;
        {
            const simulated::InterleaveCommit between(step, [&] {
                happened = true;
                const std::uint64_t time = now();
                std::thread([&] {
                    const simulated::Sleepless mine;
                    work(time); // its clock stands at 1 s
                    const std::uint64_t value = 7;
                    result = write(other, 64, &value, sizeof(value));
                }).join();
            });
            EXPECT_EQ(commit(file), 0);
        }
        if (!happened) {
            EXPECT_GT(step, 4u);
            break;
        }
        EXPECT_EQ(result, -EINTR) << "it waited until a signal came, at step " << step;
        sleepless.emplace();
        work(60 * kSecond);
        ASSERT_LT(step, 100u);
    }
}

TEST_F(Serial, AMutexRegionHasNeitherLeaseNorRest) {
    File mutex = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    const File again = open(control, "mutex", kOpen, {0, 0, 0});
    EXPECT_EQ(start(mutex), 1);
    work(100 * kSecond);
    {
        const simulated::AsThread as(rival);
        EXPECT_EQ(start(again), -EINTR) << "it waits";
        sleepless.emplace();
    }
    EXPECT_EQ(commit(mutex), 0);
    EXPECT_EQ(begin(mutex), 0u);
    EXPECT_EQ(commit(mutex), 0);
}

// With real threads: the commit waits behind one holder, and another transaction wants the token.
// Only a commit that gets no processor for 50 ms may be overtaken.
TEST_F(Serial, ACommitThatWaitedIsLetInBeforeTheNextHolder) {
    sleepless.reset();
    const simulated::StoppedClock in_time;
    File mutex = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    File writing = open(control, "mutex", kOpen, {0, 0, 0});
    File next = open(control, "mutex", kOpen, {0, 0, 0});
    for (std::uint64_t round = 1; round <= 30; ++round) {
        ASSERT_EQ(start(mutex), 1);
        std::uint64_t seen = 0;
        std::thread one([&] {
            EXPECT_EQ(write(writing, 0, &round, sizeof(round)), static_cast<long>(sizeof(round)));
        });
        std::thread two([&] {
            EXPECT_EQ(start(next), 1);
            EXPECT_EQ(read(next, 0, &seen, sizeof(seen)), static_cast<long>(sizeof(seen)));
            EXPECT_EQ(commit(next), 0);
        });
        while (simulated::sleepers() != 2)
            std::this_thread::yield();
        EXPECT_EQ(commit(mutex), 0);
        one.join();
        two.join();
        EXPECT_EQ(seen, round);
    }
}

} // namespace
} // namespace stm::test
