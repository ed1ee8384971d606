// SPDX-License-Identifier: GPL-2.0
// The serial tokens of commits that programs prepare by themselves: who holds one while it waits
// for another one does not hold up others for ever.
#include "tests/unit/kernel/typed_test.hpp"

#include <algorithm>
#include <atomic>

namespace stm::test {
namespace {

class TypedTokens : public Typed {
protected:
    static void await_sleepers(int count) {
        while (simulated::sleepers() != count)
            std::this_thread::yield();
    }
    // Each sleepless thread has a clock of its own.
    static void sleep_until(std::uint64_t time) {
        while (stm_linux_monotonic_ns() < time)
            stm_linux_delay(std::min<std::uint64_t>(time - stm_linux_monotonic_ns(), 10'000'000));
    }
    // So much that it needs the token of its region.
    Sets large(const File& of) const {
        Sets sets = now(of);
        for (std::uint64_t stripe = 0; stripe < 200; ++stripe)
            sets.writes.push_back(write_of(stripe * 64, 1));
        return sets;
    }
    // commit_both() of Typed, for several threads at once.
    static long commit_in_both(const File& first, const Sets& in_first, const File& second,
                               const Sets& in_second, std::uint32_t flags) {
        const stm_sets others[] = {in_second.argument(second.descriptor())};
        auto argument = argument_of<stm_commit_sets>(flags);
        argument.sets = in_first.argument();
        argument.others = reinterpret_cast<std::uint64_t>(others);
        argument.other_count = 1;
        return request(first, STM_IOC_COMMIT_SETS, argument);
    }

    File second = open(control, "second", kCreate, {kBytes, 0, 0666});
    File other_second = open(control, "second", kOpen, {0, 0, 0});
};

// Each has the token of one region, the first of its sets, and has to pass the other one's gate.
TEST_F(TypedTokens, AreGivenUpByACommitThatHasToWait) {
    const Sets in_first = writing(now(file), 0, 1);
    const Sets in_second = writing(now(second), 0, 1);
    std::atomic<bool> begun{false};
    std::atomic<bool> go{false};
    std::thread rival([&] {
        EXPECT_EQ(start(other), 1);
        EXPECT_EQ(start(other_second, STM_START_SERIAL), 1);
        begun = true;
        while (!go)
            std::this_thread::yield();
        EXPECT_EQ(commit_in_both(other_second, in_second, other, in_first, STM_COMMIT_SERIAL), 0);
    });
    while (!begun)
        std::this_thread::yield();
    std::thread caller([&] {
        EXPECT_EQ(start(file, STM_START_SERIAL), 1);
        EXPECT_EQ(start(second), 1);
        EXPECT_EQ(commit_in_both(file, in_first, second, in_second, STM_COMMIT_SERIAL), 0);
    });
    await_sleepers(1);
    go = true;
    rival.join();
    caller.join();
    disturb(0);
}

// The one that has it is in user space and stays there.
TEST_F(TypedTokens, AreNotKeptWhileAnotherOneIsWaitedFor) {
    settings.serial_lease_ms = 50;
    const std::uint32_t kind = STM_REGION_MUTEX;
    const File mutex = open(control, "mutex", kCreate, {kBytes, kind, 0666});
    const File other_mutex = open(control, "mutex", kOpen, {0, 0, 0});
    const File further = open(control, "further", kCreate, {kBytes, 0, 0666});
    ASSERT_EQ(start(mutex), 1);
    // Tokens are waited for in the order of addresses, so one of these comes before the mutex.
    for (const File* const region : {static_cast<const File*>(&file), &further}) {
        std::thread caller([&] {
            EXPECT_EQ(commit_in_both(*region, large(*region), other_mutex, large(other_mutex), 0),
                      0);
        });
        await_sleepers(1);
        std::thread([&] { put(*region, 64 * 300, 1); }).join();
        EXPECT_EQ(commit(mutex), 0);
        caller.join();
        EXPECT_EQ(get(*region, 199 * 64), 1u);
        ASSERT_EQ(start(mutex), 1);
    }
    EXPECT_EQ(commit(mutex), 0);
}

TEST_F(TypedTokens, AreGivenBackAfterEachFailure) {
    settings.serial_lease_ms = 0; // nobody takes away what is kept
    for (const std::uint32_t flags : {0u, unsigned{STM_COMMIT_SERIAL}}) {
        for (std::size_t step = 1;; ++step) {
            ASSERT_LT(step, 1000u);
            if (flags != 0) {
                ASSERT_EQ(start(file, STM_START_SERIAL), 1);
                ASSERT_EQ(start(second, STM_START_SERIAL), 1);
            }
            const Sets in_first = large(file);
            const Sets in_second = large(second);
            bool failed = false;
            long result = 0;
            {
                const FailPoint point(step);
                result = commit_in_both(file, in_first, second, in_second, flags);
                failed = point.happened() != Failure::none;
            }
            if (flags != 0 && transaction_of(file).depth != 0) {
                EXPECT_NE(result, 0);
                EXPECT_EQ(cancel(file), 0);
                EXPECT_EQ(cancel(second), 0);
            }
            // Nobody else waits.
            disturb(64 * 300, step);
            std::thread([&] { put(other_second, 64 * 300, step); }).join();
            if (!failed)
                break;
        }
    }
}

// Of a thread whose transaction had the token, until another one needed it for longer.
TEST_F(TypedTokens, AreKeptForAWholeCommitWhoeverClosesTheFile) {
    settings.serial_lease_ms = 1;
    settings.serial_lease_max_ms = 1;
    Sets writes = large(file);
    for (std::uint64_t stripe = 200; stripe < 300; ++stripe)
        writes.writes.push_back(write_of(stripe * 64, 1));
    for (const std::uint32_t flags : {0u, unsigned{STM_COMMIT_SERIAL}}) {
        for (const bool lost : {false, true}) {
            if (flags == 0 && !lost)
                continue; // the thread would wait for itself
            for (std::size_t step = 1;; ++step) {
                const simulated::Sleepless sleepless;
                ASSERT_EQ(start(file, STM_START_SERIAL), 1);
                const std::uint64_t time = stm_linux_monotonic_ns();
                if (lost) {
                    std::thread([&] {
                        const simulated::Sleepless mine;
                        sleep_until(time + 5'000'000);
                        put(other, 64 * 400, step);
                    }).join();
                }
                EXPECT_EQ(transaction_of(file).serial, lost ? 0u : 1u);
                bool happened = false;
                long result = 0;
                {
                    const simulated::InterleaveCommit between(step, [&] {
                        happened = true;
                        std::thread([&] {
                            const simulated::Sleepless mine;
                            sleep_until(time + 5'000'000);
                            stm_core_flush(file.get(), simulated::kLastDescriptor);
                            const std::uint64_t value = step;
                            result = write(other, 64 * 400, &value, sizeof(value));
                        }).join();
                    });
                    EXPECT_EQ(commit_sets(file, writes, flags), 0);
                }
                (void)cancel(file);
                if (!happened) {
                    EXPECT_GT(step, 200u);
                    break;
                }
                EXPECT_EQ(result, -EINTR) << "it waited until a signal came, at step " << step;
            }
        }
    }
}

TEST_F(TypedTokens, AreNotForTransactionsThatHaveWritten) {
    ASSERT_EQ(start(file, STM_START_SERIAL), 1);
    put(file, 640, 5);
    EXPECT_EQ(commit_sets(file, writing(now(file), 0, 1), STM_COMMIT_SERIAL), -EINVAL);
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(file, 640), 5u);
    EXPECT_EQ(get(file, 0), 0u);
}

class TypedTokensInMappings : public TypedTokens {
protected:
    void SetUp() override { ASSERT_EQ(map(file, 0, kBytes / kPage, STM_MAP_WRITE), 0); }
    static bool store(const File& of, std::uint64_t position, std::uint64_t value) {
        return MappedTransactions::store(of, position, value);
    }
};

TEST_F(TypedTokensInMappings, AreNotForTransactionsThatHaveStored) {
    ASSERT_EQ(start(file, STM_START_SERIAL), 1);
    EXPECT_TRUE(store(file, 640, 5));
    EXPECT_EQ(commit_sets(file, writing(now(file), kPage, 1), STM_COMMIT_SERIAL), -EINVAL);
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(get(other, kPage), 0u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(file, 640), 5u);
    // Through a page that was loaded, calls write, too.
    ASSERT_EQ(start(file, STM_START_SERIAL), 1);
    EXPECT_EQ(MappedTransactions::load(file, 640), 5u);
    put(file, 648, 6);
    EXPECT_EQ(commit_sets(file, writing(now(file), kPage, 1), STM_COMMIT_SERIAL), -EINVAL);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(get(other, 648), 0u);
    EXPECT_EQ(get(other, kPage), 0u);
}

TEST_F(TypedTokensInMappings, AreForTransactionsForWhichAPageWasMappedInVain) {
    const std::uint64_t site = STM_START_SITE(1ull);
    for (int i = 0; i < 4; ++i) {
        ASSERT_EQ(start(file, STM_START_RESTART | site), 1);
        EXPECT_TRUE(store(file, 640, 5));
        EXPECT_EQ(commit(file), 0);
    }
    ASSERT_EQ(start(file, STM_START_SERIAL | site), 1);
    ASSERT_NE(simulated::mapped_page(file.view(), 0), nullptr) << "it was predicted";
    EXPECT_EQ(commit_sets(file, writing(now(file), kPage, 1), STM_COMMIT_SERIAL), 0);
    EXPECT_EQ(get(other, kPage), 1u);
    ASSERT_EQ(start(file, STM_START_SERIAL | site), 1);
    ASSERT_TRUE(simulated::touch(file.view(), 0, true));
    EXPECT_EQ(commit_sets(file, writing(now(file), kPage, 2), STM_COMMIT_SERIAL), -EINVAL);
    EXPECT_EQ(cancel(file), 0);
}

// Another thread of the process stores at any moment: with the whole commit or not at all.
TEST_F(TypedTokensInMappings, HaveNothingCommittedBesideThem) {
    int times[2] = {};
    std::uint64_t value = 0;
    for (EachMoment moment; moment.next();) {
        ++value;
        ASSERT_EQ(start(file, STM_START_SERIAL), 1);
        long result = 0;
        bool stored = false;
        moment.in_the_middle([&] { std::thread([&] { stored = store(file, 640, value); }).join(); },
                             [&] {
                                 result = commit_sets(file, writing(now(file), kPage, value),
                                                      STM_COMMIT_SERIAL);
                             });
        EXPECT_EQ(stored, result != 0);
        if (result != 0) {
            EXPECT_TRUE(result == -EINVAL || result == -EAGAIN) << result;
            (void)cancel(file);
        }
        ++times[result == 0 ? 0 : 1];
        EXPECT_EQ(get(other, kPage) == value, result == 0);
        EXPECT_NE(get(other, 640), value) << "it was committed by itself";
    }
    EXPECT_GT(times[0], 1);
    EXPECT_GT(times[1], 1);
}

} // namespace
} // namespace stm::test
