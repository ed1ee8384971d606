// SPDX-License-Identifier: GPL-2.0
// Typed transactions in real threads, for the thread sanitizer and for what only real memory shows:
// a bank over two regions with auditors, typed and ordinary transactions on one region, and random
// transactions whose history goes to the checker. STM_STRESS_SECONDS makes each part longer
// (default 1).
#include "runtime/protocol/transaction.hpp"
#include "tests/history/history_check.hpp"
#include "tests/unit/protocol/recorded.hpp"
#include "tests/unit/protocol/typed_memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

using protocol::Transaction;
using Clock = std::chrono::steady_clock;
using Tx = TypedTx<FlatMemory>;
using Ordinary = Transaction<FlatMemory>;

constexpr u64 kSecond = Regions<FlatMemory>::kSpan;

Clock::duration duration() {
    const char* text = std::getenv("STM_STRESS_SECONDS");
    return std::chrono::milliseconds(text == nullptr ? 1000 : 1000 * std::atoi(text));
}

class TypedStress : public testing::Test {
protected:
    TypedStress() {
        for (int i = 0; i < 2; ++i)
            regions.all.push_back(std::make_unique<FlatMemory>(64 * 1024));
    }
    ~TypedStress() override {
        EXPECT_TRUE(regions.all[0]->is_quiet());
        EXPECT_TRUE(regions.all[1]->is_quiet());
    }

    // Runs run(number) in threads until the time is over.
    template <typename Run>
    void in_threads(int threads, Run run) {
        const auto end = Clock::now() + duration();
        std::vector<std::thread> all;
        for (int i = 0; i < threads; ++i)
            all.emplace_back([&, i] { run(i, end); });
        for (std::thread& thread : all)
            thread.join();
    }

    Regions<FlatMemory> regions;
};

// Repeats body(tx), which returns a reason, until it is committed.
template <typename AnyTx, typename Body>
void atomically(AnyTx& tx, Body body) {
    for (;;) {
        static_cast<void>(tx.begin());
        AbortReason reason = body();
        if (reason == AbortReason::none)
            reason = tx.commit();
        else
            tx.cancel(reason);
        if (reason == AbortReason::none)
            return;
        ASSERT_TRUE(protocol::is_conflict(reason)) << protocol::to_string(reason);
        if (tx.conflicts_in_row() > 4)
            std::this_thread::sleep_for(std::chrono::microseconds(tx.conflicts_in_row()));
    }
}

// Money moves between accounts of two regions. Every audit sees the total, also one that is going
// to fail. Some audits keep no log, some are loads of many stripes.
TEST_F(TypedStress, BankOverTwoRegionsKeepsItsTotal) {
    constexpr u64 kAccounts = 256; // in each region
    const auto at = [](u64 account) {
        return account / kAccounts * kSecond + account % kAccounts * 24 / 8 * 8;
    };
    std::atomic<u64> transfers{0};
    std::atomic<u64> audits{0};
    std::atomic<u64> wrong{0};
    in_threads(4, [&](int number, Clock::time_point end) {
        Tx tx(regions, static_cast<u64>(number) + 1);
        std::mt19937_64 random(static_cast<u64>(number));
        u64 done = 0;
        for (; Clock::now() < end; ++done) {
            const bool both = random() % 2 == 0;
            const u64 range = both ? 2 * kAccounts : kAccounts;
            if (number < 2) {
                const u64 from = random() % range;
                const u64 to = random() % range;
                atomically(tx, [&] {
                    for (const auto& [account, amount] : {std::pair{from, ~u64{0}}, {to, u64{1}}}) {
                        u64 balance = 0;
                        AbortReason step = tx.read(at(account), &balance, 8);
                        if (step != AbortReason::none)
                            return step;
                        balance += amount;
                        step = tx.write(at(account), &balance, 8);
                        if (step != AbortReason::none)
                            return step;
                    }
                    return AbortReason::none;
                });
            } else {
                // One region alone has no constant total; what the loads saw is checked by both.
                tx.set_mode(random() % 2 == 0 ? Tx::Mode::read_only : Tx::Mode::update);
                atomically(tx, [&] {
                    u64 sum = 0;
                    if (number == 2) {
                        std::vector<u64> words(2 * kAccounts * 3);
                        for (u64 i = 0; i < 2; ++i) {
                            const AbortReason step =
                                tx.read(i * kSecond, &words[i * kAccounts * 3], kAccounts * 24);
                            if (step != AbortReason::none)
                                return step;
                        }
                        sum = std::accumulate(words.begin(), words.end(), u64{0});
                    } else {
                        for (u64 i = 0; i < 2 * kAccounts; ++i) {
                            u64 balance = 0;
                            const AbortReason step =
                                tx.read(at((i * 7) % (2 * kAccounts)), &balance, 8);
                            if (step != AbortReason::none)
                                return step;
                            sum += balance;
                        }
                    }
                    if (sum != 0)
                        ++wrong;
                    return AbortReason::none;
                });
            }
        }
        (number < 2 ? transfers : audits) += done;
    });
    EXPECT_EQ(wrong.load(), 0u);
    EXPECT_GT(transfers.load(), 0u);
    EXPECT_GT(audits.load(), 0u);
    std::cout << transfers << " transfers, " << audits << " audits\n";
}

// Two words are always equal, for both kinds of transaction; both kinds count.
TEST_F(TypedStress, AndOrdinaryTransactionsAreIsolatedFromEachOther) {
    std::atomic<u64> commits{0};
    std::atomic<u64> wrong{0};
    in_threads(4, [&](int number, Clock::time_point end) {
        Tx typed(regions, static_cast<u64>(number) + 1);
        Ordinary ordinary(*regions.all[0], static_cast<u64>(number) + 1);
        const auto count = [&](auto& tx) {
            u64 first = 0;
            u64 second = 0;
            AbortReason step = tx.read(0, &first, 8);
            if (step == AbortReason::none)
                step = tx.read(640, &second, 8);
            if (step != AbortReason::none)
                return step;
            if (first != second)
                ++wrong;
            ++first;
            step = tx.write(0, &first, 8);
            return step == AbortReason::none ? tx.write(640, &first, 8) : step;
        };
        u64 done = 0;
        for (; Clock::now() < end; ++done) {
            if (number % 2 == 0)
                atomically(typed, [&] { return count(typed); });
            else
                atomically(ordinary, [&] { return count(ordinary); });
        }
        commits += done;
    });
    EXPECT_EQ(wrong.load(), 0u);
    u64 value = 0;
    std::memcpy(&value, regions.all[0]->data(0), 8);
    EXPECT_EQ(value, commits.load());
}

// Random transactions in one region, with parts; the checker must find versions and graph in order.
TEST_F(TypedStress, RandomHistoriesAreOpaque) {
    constexpr u64 kCells = 40; // of 8 bytes: five stripes
    constexpr int kThreads = 4;
    for (const bool both : {false, true}) {
        std::atomic<u64> time{1};
        std::vector<std::vector<Attempt>> recorded(kThreads);
        for (int i = 0; i < 2; ++i)
            regions.all[static_cast<std::size_t>(i)] = std::make_unique<FlatMemory>(64 * 1024);
        in_threads(kThreads, [&](int number, Clock::time_point) {
            Tx tx(regions, static_cast<u64>(number) + 1);
            const auto now = [&time] { return time.fetch_add(1); };
            Recorded<Tx, decltype(now)> recorder(tx, now,
                                                 recorded[static_cast<std::size_t>(number)],
                                                 static_cast<u64>(number) + 1, kThreads);
            std::mt19937_64 random(static_cast<u64>(number));
            u64 next = (static_cast<u64>(number) + 1) << 32;
            for (int i = 0; i < 1500; ++i) {
                static_cast<void>(recorder.begin());
                AbortReason step = AbortReason::none;
                // Read before it is written, so that the graph can be built.
                for (u64 k = random() % 6 + 1; k != 0 && step == AbortReason::none; --k) {
                    const u64 address =
                        random() % kCells * 8 + (both && random() % 2 == 0 ? kSecond : 0);
                    u64 value = 0;
                    step = recorder.read(address, &value, 8);
                    if (random() % 8 == 0)
                        std::this_thread::yield();
                    if (step == AbortReason::none && random() % 2 == 0) {
                        ++next;
                        step = recorder.write(address, &next, 8);
                    }
                }
                if (step != AbortReason::none || random() % 10 == 0)
                    recorder.cancel(step == AbortReason::none ? AbortReason::explicit_cancel
                                                              : step);
                else
                    static_cast<void>(recorder.commit());
            }
        });
        History history;
        for (auto& list : recorded)
            history.attempts.insert(history.attempts.end(), list.begin(), list.end());
        // The versions of two regions are no one order.
        if (!both) {
            const Verdict replay = check_by_replay(history);
            EXPECT_TRUE(replay.is_correct()) << replay.why;
        }
        const Verdict graph = check_by_graph(history);
        EXPECT_TRUE(graph.is_correct()) << graph.why;
        std::cout << history.attempts.size() << " attempts\n";
    }
}

} // namespace
} // namespace stm::test
