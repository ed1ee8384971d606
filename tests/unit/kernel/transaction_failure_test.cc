// SPDX-License-Identifier: GPL-2.0
// Transactions in which a call fails, for want of memory or at a limit.
#include "tests/unit/kernel/transaction_test.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace stm::test {
namespace {

class FailedCalls : public Transactions {
protected:
    File small; // its transactions may write two stripes

    void SetUp() override {
        settings.max_stripes = 2;
        small = open(control, "tx", kOpen, {0, 0, 0});
        EXPECT_EQ(start(small), 1);
    }
    long write_at(std::uint64_t position) {
        const std::uint64_t value = 5;
        return write(small, position, &value, sizeof(value));
    }
    // All that follows fails for the same reason, nothing is written, and the next one works.
    void expect_over(long error) {
        std::uint64_t value = 0;
        EXPECT_EQ(write_at(0), error);
        EXPECT_EQ(read(small, 0, &value, sizeof(value)), error);
        EXPECT_EQ(validate(small), error);
        EXPECT_EQ(start(small), error);
        EXPECT_EQ(commit(small), error);
        EXPECT_EQ(transaction_of(small).depth, 0u);
        EXPECT_EQ(get(other, 0), 0u);
        EXPECT_EQ(start(small), 1);
        EXPECT_EQ(write_at(0), 8);
        EXPECT_EQ(commit(small), 0);
    }
};

TEST_F(FailedCalls, ThatWriteAStripeTooManyEndTheirTransaction) {
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(write_at(64), 8);
    EXPECT_EQ(write_at(128), -E2BIG);
    expect_over(-E2BIG);
}

TEST_F(FailedCalls, ThatAloneWriteTooManyStripesEndTheirTransaction) {
    const std::vector<char> much(1000);
    EXPECT_EQ(write(small, 0, much.data(), much.size()), -E2BIG) << "nothing of it";
    expect_over(-E2BIG);
}

TEST_F(FailedCalls, BehindTheEndEndTheirTransaction) {
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(write_at(kBytes), -ENOSPC);
    expect_over(-ENOSPC);
}

TEST_F(FailedCalls, InAnInnerPartThatIsCommittedEndTheWholeTransaction) {
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(start(small), 2);
    EXPECT_EQ(write_at(kBytes), -ENOSPC);
    EXPECT_EQ(commit(small), -ENOSPC);
    EXPECT_EQ(transaction_of(small).depth, 1u);
    expect_over(-ENOSPC);
}

TEST_F(FailedCalls, InAnInnerPartThatIsCancelledEndTheWholeTransaction) {
    EXPECT_EQ(write_at(0), 8);
    EXPECT_EQ(start(small), 2);
    EXPECT_EQ(write_at(kBytes), -ENOSPC);
    EXPECT_EQ(cancel(small), 0);
    expect_over(-ENOSPC);
}

TEST_F(Transactions, AreTooBigAboveTheLimitOfStripes) {
    settings.max_stripes = 4;
    const File small = open(control, "tx", kOpen, {0, 0, 0});
    EXPECT_EQ(start(small), 1);
    char bytes[64 * 5] = {};
    const long result = write(small, 0, bytes, sizeof(bytes));
    EXPECT_EQ(result, -E2BIG);
    cancel(small);
}

// The result of the last step, or of the first that failed.
long read_and_write(const File& file) {
    auto bytes = pattern(3 * kPage);
    const std::array<std::function<long()>, 7> steps{
        [&] { return start(file); },
        [&] { return write(file, 100, bytes.data(), bytes.size()); },
        [&] { return read(file, 5 * kPage, bytes.data(), bytes.size()); },
        [&] { return start(file); },
        [&] { return write(file, 7 * kPage, bytes.data(), 10); },
        [&] { return commit(file); },
        [&] { return commit(file); },
    };
    long result = 0;
    for (const auto& step : steps) {
        result = step();
        if (result < 0)
            break;
    }
    return result;
}

TEST_F(Transactions, SurviveEachFailureWhole) {
    std::size_t points = 0;
    for (;; ++points) {
        SCOPED_TRACE(testing::Message() << "point " << points + 1);
        const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        long result = 0;
        Failure failure = Failure::none;
        {
            const FailPoint point(points + 1);
            result = read_and_write(fresh);
            failure = point.happened();
        }
        if (transaction_of(fresh).depth != 0) {
            EXPECT_EQ(cancel(fresh, STM_CANCEL_ALL), 0);
        }
        if (failure == Failure::none) {
            EXPECT_EQ(result, 0);
            EXPECT_EQ(info_of(fresh).resident_bytes, 5 * kPage);
            EXPECT_EQ(destroy_handle(fresh), 0);
            break;
        }
        EXPECT_EQ(result, simulated::errno_of(failure));
        EXPECT_EQ(read_string(fresh, 0, 8 * kPage), std::string(8 * kPage, '\0'));
        // And it works again.
        EXPECT_EQ(start(fresh), 1);
        put(fresh, 0, 3);
        EXPECT_EQ(commit(fresh), 0);
        EXPECT_EQ(get(fresh, 0), 3u);
        EXPECT_EQ(destroy_handle(fresh), 0);
    }
    std::printf("[  points  ] %-34s %zu\n", "a transaction", points);
    EXPECT_GE(points, 10u);
}

// A call is atomic up to 16 MiB: one that fails has not happened at all.
TEST_F(Transactions, OfSingleCallsAreAllOrNothing) {
    const std::size_t length = 200'000; // more than one piece
    const auto bytes = pattern(length);
    std::size_t points = 0;
    // Not every page: they are all alike.
    for (std::size_t nth = 1;; nth += nth < 20 ? 1 : 7) {
        SCOPED_TRACE(testing::Message() << "point " << nth);
        const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        auto memory = bytes;
        UserBuffer buffer(memory.data(), length);
        long result = 0;
        Failure failure = Failure::none;
        {
            const FailPoint point(nth);
            result = stm_core_write(fresh.get(), buffer.get(), 5);
            failure = point.happened();
        }
        if (failure != Failure::none)
            ++points;
        std::vector<std::uint8_t> back(length);
        EXPECT_EQ(read(fresh, 5, back.data(), length), static_cast<long>(length));
        if (result < 0) {
            EXPECT_EQ(result, simulated::errno_of(failure));
            EXPECT_EQ(buffer.consumed(), 0u);
            EXPECT_TRUE(back == std::vector<std::uint8_t>(length));
        } else {
            const auto done = static_cast<std::size_t>(result);
            EXPECT_EQ(buffer.consumed(), done);
            EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + result, back.begin()));
            EXPECT_TRUE(done == length || failure == Failure::buffer);
        }
        EXPECT_EQ(destroy_handle(fresh), 0);
        if (failure == Failure::none)
            break;
    }
    std::printf("[  points  ] %-34s %zu (some left out)\n", "a write call of 200 kB", points);
}

// Stores, calls, and inner parts that are committed and cancelled. Whether all of it went.
bool store_and_call(const File& file) {
    std::uint64_t value = 4;
    const auto call = [&](std::uint64_t position) {
        UserBuffer buffer(&value, sizeof(value));
        return stm_core_write(file.get(), buffer.get(), position) == sizeof(value);
    };
    const auto store = [&](std::uint64_t position, std::uint64_t stored) {
        return MappedTransactions::store(file, position, stored);
    };
    return start(file) == 1 && store(0, 3) && call(8) && store(kPage, 5) && start(file) == 2 &&
           store(0, 6) && store(2 * kPage, 6) && call(3 * kPage) && commit(file) == 0 &&
           start(file) == 2 && store(0, 7) && cancel(file) == 0 && commit(file) == 0;
}

TEST_F(MappedTransactions, SurviveEachFailureWhole) {
    std::size_t points = 0;
    for (bool went = false; !went; ++points) {
        SCOPED_TRACE(testing::Message() << "point " << points + 1);
        File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        ASSERT_EQ(map(fresh, 0, 8, STM_MAP_WRITE), 0);
        {
            const FailPoint point(points + 1);
            went = store_and_call(fresh);
            EXPECT_EQ(went, point.happened() == Failure::none);
        }
        if (transaction_of(fresh).depth != 0) {
            EXPECT_EQ(cancel(fresh, STM_CANCEL_ALL), 0);
        }
        const File check = open(control, "fresh", kOpen, {0, 0, 0});
        if (went) {
            EXPECT_EQ(get(check, 0), 6u);
            EXPECT_EQ(get(check, 8), 4u);
            EXPECT_EQ(get(check, kPage), 5u);
            EXPECT_EQ(get(check, 2 * kPage), 6u);
            EXPECT_EQ(get(check, 3 * kPage), 4u);
        } else {
            EXPECT_EQ(read_string(check, 0, 4 * kPage), std::string(4 * kPage, '\0'));
        }
        fresh.close();
        EXPECT_EQ(destroy_handle(check), 0);
    }
    std::printf("[  points  ] %-34s %zu\n", "a mapped transaction", points - 1);
    EXPECT_GE(points - 1, 10u);
}

// Within a transaction a call that fails in the middle, for want of memory, fails the transaction:
// nothing is committed. One whose buffer ends tells what of it is a part of the transaction: no
// byte more is committed.
TEST_F(MappedTransactions, CommitAllThatACallToldOrNothing) {
    const std::size_t length = 150'000; // more than one piece
    const auto bytes = pattern(length);
    for (std::size_t nth = 1;; nth += nth < 40 ? 1 : 7) {
        SCOPED_TRACE(testing::Message() << "point " << nth);
        File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        ASSERT_EQ(map(fresh, 0, kBytes / kPage, STM_MAP_WRITE), 0);
        EXPECT_EQ(start(fresh), 1);
        // Pages of the transaction's own, between others.
        EXPECT_NE(load(fresh, 5 * kPage), 1u);
        EXPECT_TRUE(store(fresh, 30 * kPage, 0));
        auto memory = bytes;
        UserBuffer buffer(memory.data(), length);
        long result = 0;
        Failure failure = Failure::none;
        {
            const FailPoint point(nth);
            result = stm_core_write(fresh.get(), buffer.get(), 100);
            failure = point.happened();
        }
        const bool over = result < 0 && result != -EFAULT;
        EXPECT_EQ(commit(fresh), over ? result : 0);
        EXPECT_TRUE(!over || result == simulated::errno_of(failure));
        const std::size_t done = result < 0 ? 0 : static_cast<std::size_t>(result);
        EXPECT_EQ(buffer.consumed(), done);
        EXPECT_TRUE(done == length || failure != Failure::none);
        std::vector<std::uint8_t> expected(kBytes);
        std::copy_n(bytes.begin(), done, expected.begin() + 100);
        std::vector<std::uint8_t> back(kBytes);
        EXPECT_EQ(read(fresh, 0, back.data(), kBytes), static_cast<long>(kBytes));
        EXPECT_TRUE(back == expected) << done << " bytes told";
        EXPECT_EQ(destroy_handle(fresh), 0);
        if (failure == Failure::none)
            break;
    }
}

} // namespace
} // namespace stm::test
