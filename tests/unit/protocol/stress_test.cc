// SPDX-License-Identifier: GPL-2.0
// Real threads, for the thread sanitizer and for what only real memory shows: counters, a bank with
// auditors, random transactions whose history goes to the checker, waiting for a change, and the
// bound on how often one transaction aborts. STM_STRESS_SECONDS makes each part longer (default 1).
#include "runtime/protocol/backoff.hpp"
#include "runtime/protocol/transaction.hpp"
#include "tests/history/history_check.hpp"
#include "tests/unit/protocol/recorded.hpp"
#include "tests/unit/protocol/test_memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace stm::test {
namespace {

using protocol::AbortReason;
using protocol::Advice;
using protocol::Path;
using protocol::RetryPolicy;
using protocol::Transaction;
using protocol::Validity;

using Clock = std::chrono::steady_clock;

Clock::duration duration() {
    const char* text = std::getenv("STM_STRESS_SECONDS");
    return std::chrono::milliseconds(text == nullptr ? 1000 : 1000 * std::atoi(text));
}

// What a caller of the engine does: again until it commits, with the policy's advice.
template <typename Memory>
class Runner {
public:
    using Tx = Transaction<Memory>;
    Runner(Memory& memory, u64 owner) : tx(memory, owner), random(owner * 77 + 1) {}

    // body(tx) returns a reason; explicit_cancel ends it.
    template <typename Body>
    AbortReason atomically(Body body, Path path = Path::concurrent) {
        for (;;) {
            EXPECT_EQ(tx.begin(path), AbortReason::none);
            AbortReason reason = body(tx);
            if (reason == AbortReason::none)
                reason = tx.commit();
            else
                tx.cancel(reason);
            if (!protocol::is_conflict(reason))
                return reason;
            ++aborts;
            EXPECT_EQ(path, Path::concurrent) << "a serial transaction aborts";
            const Advice advice = protocol::advise(policy, tx.conflicts_in_row(), reason, random);
            if (advice.path == Advice::Path::serial)
                path = Path::serial;
            else if (advice.delay_ns != 0)
                std::this_thread::sleep_for(std::chrono::nanoseconds(advice.delay_ns));
        }
    }

    Tx tx;
    u64 random;
    RetryPolicy policy;
    u64 aborts = 0;
};

template <typename Run>
void in_threads(int threads, Run run) {
    std::vector<std::thread> all;
    for (int i = 0; i < threads; ++i)
        all.emplace_back([&run, i] { run(i); });
    for (std::thread& thread : all)
        thread.join();
}

template <typename Memory>
u64 value_at(Memory& memory, u64 offset) {
    Runner<Memory> runner(memory, 99);
    u64 value = 0;
    EXPECT_EQ(runner.atomically([&](auto& tx) { return tx.read(offset, &value, 8); }),
              AbortReason::none);
    return value;
}

template <typename Memory>
class Stress : public testing::Test {};
using Memories = testing::Types<FlatMemory, PagedMemory>;
TYPED_TEST_SUITE(Stress, Memories);

// Money moves between stripes all the time. Whoever has fixed the snapshot sees all of it, and
// meets no conflict any more.
TYPED_TEST(Stress, FixedSnapshotsShowOneState) {
    constexpr int kWriters = 3;
    constexpr int kReaders = 3;
    constexpr u64 kStripes = 256;
    TypeParam memory(kStripes * kStripeBytes);
    std::atomic<u64> scans{0};
    std::atomic<u64> not_fixed{0};
    const auto end = Clock::now() + duration();
    in_threads(kWriters + kReaders, [&](int number) {
        Runner<TypeParam> runner(memory, static_cast<u64>(number) + 1);
        std::mt19937_64 dice(static_cast<u64>(number));
        while (Clock::now() < end && !testing::Test::HasFailure()) {
            if (number < kWriters) {
                const u64 from = dice() % kStripes * kStripeBytes;
                const u64 to = dice() % kStripes * kStripeBytes;
                EXPECT_EQ(runner.atomically([&](auto& tx) {
                    for (const auto& [place, more] :
                         {std::pair{from, ~u64{0}}, std::pair{to, u64{1}}}) {
                        u64 value = 0;
                        AbortReason reason = tx.read(place, &value, 8);
                        value += more;
                        if (reason == AbortReason::none)
                            reason = tx.write(place, &value, 8);
                        if (reason != AbortReason::none)
                            return reason;
                    }
                    return AbortReason::none;
                }),
                          AbortReason::none);
                memory.kept_versions().tidy();
                continue;
            }
            auto& tx = runner.tx;
            ASSERT_EQ(tx.begin(), AbortReason::none);
            u64 sum = 0;
            AbortReason reason = AbortReason::none;
            for (u64 stripe = 0; stripe < kStripes && reason == AbortReason::none; ++stripe) {
                u64 value = 0;
                if (stripe == dice() % 8)
                    reason = tx.fix_snapshot();
                if (reason == AbortReason::none)
                    reason = tx.read(stripe * kStripeBytes, &value, 8);
                sum += value;
            }
            EXPECT_NE(reason, AbortReason::snapshot_too_old);
            if (reason == AbortReason::none) {
                EXPECT_EQ(sum, 0u);
                scans += tx.is_fixed();
                EXPECT_EQ(tx.commit(), AbortReason::none);
            } else {
                ++not_fixed;
                tx.cancel(reason);
            }
        }
    });
    EXPECT_GT(scans, 0u);
    EXPECT_EQ(memory.kept_versions().count(), 0);
    EXPECT_TRUE(memory.is_quiet());
    std::cout << scans << " scans, " << not_fixed << " conflicts before\n";
}

// Everybody increments one counter at once; the streak is bounded by the policy.
TYPED_TEST(Stress, CounterStarvesNobody) {
    constexpr int kThreads = 8;
    TypeParam memory(4096);
    std::atomic<u64> commits{0};
    std::atomic<u64> aborts{0};
    std::atomic<u32> longest{0};
    const auto end = Clock::now() + duration();
    in_threads(kThreads, [&](int number) {
        Runner<TypeParam> runner(memory, static_cast<u64>(number) + 1);
        runner.policy.serial_after = 4;
        u64 done = 0;
        while (Clock::now() < end) {
            const AbortReason reason = runner.atomically([&](auto& tx) {
                u64 value = 0;
                AbortReason step = tx.read(8, &value, 8);
                if (step != AbortReason::none)
                    return step;
                // Others get in between even where there are few processors.
                if (done % 4 == 0)
                    std::this_thread::yield();
                ++value;
                return tx.write(8, &value, 8);
            });
            ASSERT_EQ(reason, AbortReason::none);
            ++done;
        }
        commits += done;
        aborts += runner.aborts;
        u32 seen = longest.load();
        while (seen < runner.tx.longest_streak() &&
               !longest.compare_exchange_weak(seen, runner.tx.longest_streak()))
            ;
    });
    EXPECT_EQ(value_at(memory, 8), commits.load());
    EXPECT_LE(longest.load(), 4u);
    EXPECT_TRUE(memory.is_quiet());
    std::cout << commits << " commits, " << aborts << " aborts, longest streak " << longest
              << " (bound 4), " << memory.serial_taken() << " serial\n";
}

// Money moves between accounts in stripes that are partly shared; every audit sees the total.
// Some transfers are nested, some serial, some cancelled.
TYPED_TEST(Stress, BankKeepsItsTotal) {
    constexpr u64 kAccounts = 100;
    constexpr u64 kStride = 24; // so that accounts share stripes, and some cross their borders
    constexpr u64 kTotal = kAccounts * 1000;
    TypeParam memory(kAccounts * kStride + 8);
    const auto at = [](u64 account) { return account * kStride + 4; };
    {
        Runner<TypeParam> setup(memory, 50);
        ASSERT_EQ(setup.atomically([&](auto& tx) {
            const u64 start = 1000;
            for (u64 i = 0; i < kAccounts; ++i) {
                if (const auto step = tx.write(at(i), &start, 8); step != AbortReason::none)
                    return step;
            }
            return AbortReason::none;
        }),
                  AbortReason::none);
    }
    std::atomic<u64> transfers{0};
    std::atomic<u64> audits{0};
    std::atomic<u64> wrong{0};
    const auto end = Clock::now() + duration();
    in_threads(6, [&](int number) {
        Runner<TypeParam> runner(memory, static_cast<u64>(number) + 1);
        std::mt19937_64 random(static_cast<u64>(number));
        const auto add = [&](auto& tx, u64 account, u64 amount) {
            u64 balance = 0;
            AbortReason step = tx.begin_nested();
            if (step == AbortReason::none)
                step = tx.read(at(account), &balance, 8);
            if (step != AbortReason::none)
                return step;
            balance += amount;
            step = tx.write(at(account), &balance, 8);
            if (step == AbortReason::none)
                tx.commit_nested();
            return step;
        };
        while (Clock::now() < end) {
            if (number < 4) {
                const u64 from = random() % kAccounts;
                const u64 to = random() % kAccounts;
                const u64 amount = random() % 10;
                const bool cancel = random() % 8 == 0;
                const AbortReason reason = runner.atomically(
                    [&](auto& tx) {
                        AbortReason step = add(tx, from, 0 - amount);
                        if (step == AbortReason::none && cancel)
                            return AbortReason::explicit_cancel;
                        if (step == AbortReason::none)
                            step = add(tx, to, amount);
                        return step;
                    },
                    random() % 500 == 0 ? Path::serial : Path::concurrent);
                if (reason == AbortReason::none)
                    ++transfers;
            } else {
                ASSERT_EQ(runner.atomically([&](auto& tx) {
                    u64 sum = 0;
                    for (u64 i = 0; i < kAccounts; ++i) {
                        u64 balance = 0;
                        if (const auto step = tx.read(at(i), &balance, 8);
                            step != AbortReason::none)
                            return step;
                        sum += balance;
                    }
                    // Also in an attempt that is going to fail.
                    if (sum != kTotal)
                        ++wrong;
                    return AbortReason::none;
                }),
                          AbortReason::none);
                ++audits;
            }
        }
        EXPECT_LE(runner.tx.longest_streak(), runner.policy.serial_after);
    });
    EXPECT_EQ(wrong.load(), 0u);
    EXPECT_GT(audits.load(), 0u);
    EXPECT_TRUE(memory.is_quiet());
    std::cout << transfers << " transfers, " << audits << " audits, " << memory.serial_taken()
              << " serial\n";
}

// Random transactions over few stripes, sometimes large; every attempt is recorded, and the
// checker must find both the versions and the graph in order.
TYPED_TEST(Stress, RandomHistoriesAreOpaque) {
    constexpr u64 kCells = 40; // of 8 bytes: five stripes
    constexpr int kThreads = 4;
    const int rounds = std::max(1, static_cast<int>(duration() / std::chrono::seconds(1)));
    u64 attempts = 0;
    u64 aborted = 0;
    for (int round = 0; round < rounds; ++round) {
        TypeParam memory(kCells * 8 + 300 * 64);
        std::atomic<u64> time{1};
        std::vector<std::vector<Attempt>> recorded(kThreads);
        in_threads(kThreads, [&](int number) {
            Transaction<TypeParam> tx(memory, static_cast<u64>(number) + 1);
            const auto now = [&time] { return time.fetch_add(1); };
            Recorded<Transaction<TypeParam>, decltype(now)> recorder(
                tx, now, recorded[static_cast<std::size_t>(number)], static_cast<u64>(number) + 1,
                kThreads);
            std::mt19937_64 random(static_cast<u64>(number + round * 100));
            u64 next = (static_cast<u64>(number) + 1) << 32;
            for (int i = 0; i < 1500; ++i) {
                const Path path = random() % 100 == 0 ? Path::serial : Path::concurrent;
                AbortReason step = recorder.begin(path);
                // Read before it is written, so that the graph can be built.
                for (u64 k = random() % 6 + 1; k != 0 && step == AbortReason::none; --k) {
                    const u64 offset = random() % kCells * 8;
                    u64 value = 0;
                    if (random() % 8 == 0)
                        step = tx.fix_snapshot();
                    if (step == AbortReason::none)
                        step = recorder.read(offset, &value, 8);
                    if (random() % 8 == 0)
                        std::this_thread::yield();
                    if (step == AbortReason::none && random() % 2 == 0) {
                        ++next;
                        step = recorder.write(offset, &next, 8);
                    }
                }
                // Too large for a concurrent commit now and then; not recorded, read by nobody.
                if (step == AbortReason::none && random() % 200 == 0) {
                    const std::vector<u8> large(280 * 64, 1);
                    step = tx.write(kCells * 8, large.data(), large.size());
                }
                if (step != AbortReason::none || random() % 10 == 0)
                    recorder.cancel(step == AbortReason::none ? AbortReason::explicit_cancel
                                                              : step);
                else
                    static_cast<void>(recorder.commit());
                memory.kept_versions().tidy();
            }
        });
        EXPECT_EQ(memory.kept_versions().count(), 0);
        History history;
        for (auto& list : recorded)
            history.attempts.insert(history.attempts.end(), list.begin(), list.end());
        attempts += history.attempts.size();
        for (const Attempt& attempt : history.attempts)
            aborted += attempt.outcome == Attempt::Outcome::aborted;
        const Verdict replay = check_by_replay(history);
        const Verdict graph = check_by_graph(history);
        EXPECT_TRUE(replay.is_correct()) << replay.why;
        EXPECT_TRUE(graph.is_correct()) << graph.why;
        EXPECT_TRUE(memory.is_quiet());
        if (!replay.is_correct() || !graph.is_correct()) {
            std::ofstream file("random.history");
            print(file, history);
            break;
        }
    }
    std::cout << attempts << " attempts, " << aborted << " aborted\n";
}

// A queue of one place: the consumer sleeps until the producer has filled it, and the other way
// round. A lost wake-up would hang here.
TYPED_TEST(Stress, NoWakeUpIsLost) {
    TypeParam memory(4096);
    std::atomic<u64> sleeps{0};
    constexpr u64 kItems = 3000;
    in_threads(2, [&](int number) {
        Transaction<TypeParam> tx(memory, static_cast<u64>(number) + 1);
        for (u64 item = 1; item <= kItems;) {
            ASSERT_EQ(tx.begin(), AbortReason::none);
            u64 place = 0;
            AbortReason step = tx.read(128, &place, 8);
            if (step == AbortReason::none && (place == 0) != (number == 0)) {
                const WaitMask mask = tx.announce_wait();
                ASSERT_NE(mask, 0u);
                ++sleeps;
                memory.sleep_until([&] { return tx.validate() != Validity::valid; });
                tx.withdraw_wait(mask);
                tx.cancel(AbortReason::explicit_retry);
                continue;
            }
            const u64 next = number == 0 ? item : 0;
            if (step == AbortReason::none) {
                if (number == 1) {
                    ASSERT_EQ(place, item);
                }
                step = tx.write(128, &next, 8);
            }
            if (step == AbortReason::none)
                step = tx.commit();
            else
                tx.cancel(step);
            if (step == AbortReason::none)
                ++item;
        }
    });
    EXPECT_TRUE(memory.is_quiet());
    std::cout << sleeps << " sleeps for " << 2 * kItems << " transactions, " << memory.wakes()
              << " wake-ups\n";
}

} // namespace
} // namespace stm::test
