// SPDX-License-Identifier: GPL-2.0
// Write calls of whole stripes, which are committed without a log of what they write.
#include "tests/unit/kernel/transaction_test.hpp"

#include <atomic>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

constexpr std::size_t kBlock = 16 * 1024;

class BlockWrites : public Transactions {
protected:
    std::vector<std::uint8_t> block_ = pattern(kBlock, 3);

    long write_block(const File& to, std::uint64_t position) {
        return write(to, position, block_.data(), block_.size());
    }
    std::vector<std::uint8_t> bytes_at(std::uint64_t position, std::size_t size) {
        std::vector<std::uint8_t> bytes(size);
        EXPECT_EQ(read(file, position, bytes.data(), size), static_cast<long>(size));
        return bytes;
    }
};

TEST_F(BlockWrites, WriteWhatTheyAreGivenAndNothingElse) {
    const auto around = pattern(kBytes, 1);
    for (const std::size_t size : {std::size_t{512}, std::size_t{576}, kPage, kBlock - 64, kBlock,
                                   kBlock + 64, 3 * kBlock}) {
        for (const std::uint64_t position : {0ul, 64ul, 4032ul, 4096ul, 20 * 4096ul + 128}) {
            SCOPED_TRACE(testing::Message() << size << " bytes at " << position);
            ASSERT_EQ(write(file, 0, around.data(), around.size()), static_cast<long>(kBytes));
            const auto bytes = pattern(size, static_cast<unsigned>(size + position));
            ASSERT_EQ(write(other, position, bytes.data(), size), static_cast<long>(size));
            auto expected = around;
            std::copy(bytes.begin(), bytes.end(), expected.begin() + static_cast<long>(position));
            ASSERT_TRUE(bytes_at(0, kBytes) == expected);
        }
    }
}

TEST_F(BlockWrites, AreCountedAsOneCall) {
    const auto before = statistics_of(file);
    ASSERT_EQ(write_block(file, kPage), static_cast<long>(kBlock));
    const auto after = statistics_of(file);
    EXPECT_EQ(after.calls, before.calls + 1);
    EXPECT_EQ(after.starts, before.starts);
    EXPECT_EQ(after.commits, before.commits);
    EXPECT_EQ(info_of(file).writes, 1u);
    EXPECT_EQ(info_of(file).resident_bytes, kBlock);
}

TEST_F(BlockWrites, MakeConflictsWithThoseWhoHaveRead) {
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 2 * kPage + 8), 0u);
    put(file, 100 * kPage, 1);
    std::thread([&] { EXPECT_EQ(write_block(other, 0), static_cast<long>(kBlock)); }).join();
    EXPECT_EQ(commit(file), -EAGAIN);
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(get(file, kBlock), 0u) << "right behind it";
    put(file, 100 * kPage, 1);
    std::thread([&] { EXPECT_EQ(write_block(other, 0), static_cast<long>(kBlock)); }).join();
    EXPECT_EQ(commit(file), 0);
}

TEST_F(BlockWrites, ArePartOfTheThreadsOwnTransaction) {
    ASSERT_EQ(start(file), 1);
    ASSERT_EQ(write_block(file, 0), static_cast<long>(kBlock));
    EXPECT_EQ(get(other, 8), 0u) << "before the commit";
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(get(file, 8), 0u);
}

TEST_F(BlockWrites, WakeThoseWhoWait) {
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 3 * kPage), 0u);
    std::thread writer([&] {
        while (statistics_of(other).waiting == 0)
            std::this_thread::yield();
        EXPECT_EQ(write_block(other, 0), static_cast<long>(kBlock));
    });
    EXPECT_EQ(wait(file), 0); // the simulation ends the test if nobody wakes it
    writer.join();
}

TEST_F(BlockWrites, AreNewsForOtherHandles) {
    char byte = 0;
    EXPECT_EQ(read(file, 0, &byte, 1), 1);
    EXPECT_EQ(stm_core_poll_ready(file.get()), 0);
    ASSERT_EQ(write_block(other, 0), static_cast<long>(kBlock));
    EXPECT_EQ(stm_core_poll_ready(file.get()), 1);
}

TEST_F(BlockWrites, WaitWhileATransactionRunsAlone) {
    ASSERT_EQ(start(other, STM_START_SERIAL), 1);
    std::thread writer([&] { EXPECT_EQ(write_block(file, 0), static_cast<long>(kBlock)); });
    while (simulated::sleepers() == 0)
        std::this_thread::yield();
    EXPECT_EQ(get(other, 8), 0u);
    EXPECT_EQ(commit(other), 0);
    writer.join();
    EXPECT_TRUE(bytes_at(0, kBlock) == block_);
    EXPECT_EQ(write_block(file, 0), static_cast<long>(kBlock));
}

TEST_F(BlockWrites, CannotWaitForTheirOwnThread) {
    ASSERT_EQ(start(other, STM_START_SERIAL), 1);
    EXPECT_EQ(write_block(file, 0), -EDEADLK);
    EXPECT_EQ(cancel(other), 0);
    EXPECT_EQ(write_block(file, 0), static_cast<long>(kBlock));
}

TEST_F(BlockWrites, AreTooBigAboveTheLimitOfStripes) {
    settings.max_stripes = kBlock / 64 - 1;
    const File small = open(control, "tx", kOpen, {0, 0, 0});
    EXPECT_EQ(write_block(small, 0), -E2BIG);
    EXPECT_EQ(write(small, 0, block_.data(), block_.size() - 64), static_cast<long>(kBlock - 64));
}

// What was copied before the caller's memory ended counts, as in a file.
TEST_F(BlockWrites, FromBadMemoryAreToldShort) {
    for (const std::size_t end : {std::size_t{0}, std::size_t{1}, kPage, kBlock - 1}) {
        SCOPED_TRACE(end);
        const std::vector<std::uint8_t> zeros(kBlock);
        ASSERT_EQ(write(file, 0, zeros.data(), kBlock), static_cast<long>(kBlock));
        UserBuffer buffer(block_.data(), kBlock);
        buffer.fault_at(end);
        EXPECT_EQ(stm_core_write(file.get(), buffer.get(), 0),
                  end == 0 ? -EFAULT : static_cast<long>(end));
        EXPECT_EQ(buffer.consumed(), end);
        auto expected = zeros;
        std::copy(block_.begin(), block_.begin() + static_cast<long>(end), expected.begin());
        EXPECT_TRUE(bytes_at(0, kBlock) == expected);
    }
}

// Something fails: all of it is written, or nothing and the call says why.
TEST_F(BlockWrites, SurviveEachFailureWhole) {
    for (std::size_t point_number = 1;; ++point_number) {
        SCOPED_TRACE(point_number);
        const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
        UserBuffer buffer(block_.data(), kBlock);
        long result = 0;
        Failure failure = Failure::none;
        {
            const FailPoint point(point_number);
            result = stm_core_write(fresh.get(), buffer.get(), 0);
            failure = point.happened();
        }
        std::vector<std::uint8_t> bytes(kBlock);
        ASSERT_EQ(read(fresh, 0, bytes.data(), kBlock), static_cast<long>(kBlock));
        if (result < 0) {
            EXPECT_EQ(result, simulated::errno_of(failure));
            EXPECT_TRUE(bytes == std::vector<std::uint8_t>(kBlock));
            EXPECT_EQ(buffer.consumed(), 0u);
        } else {
            EXPECT_EQ(buffer.consumed(), static_cast<std::size_t>(result));
            block_.resize(static_cast<std::size_t>(result));
            EXPECT_TRUE(std::equal(block_.begin(), block_.end(), bytes.begin()));
            block_ = pattern(kBlock, 3);
        }
        EXPECT_EQ(destroy_handle(fresh), 0);
        if (failure == Failure::none)
            break;
    }
}

// Each reader sees one state of the block, while two threads write it.
TEST_F(BlockWrites, AreNeverSeenInPart) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> writers;
    for (const std::uint8_t number : {1, 2})
        writers.emplace_back([&, number] {
            const std::vector<std::uint8_t> bytes(kBlock, number);
            while (!stop.load())
                EXPECT_EQ(write(other, 0, bytes.data(), kBlock), static_cast<long>(kBlock));
        });
    for (int round = 0; round < 200; ++round) {
        const auto bytes = bytes_at(0, kBlock);
        ASSERT_TRUE(bytes == std::vector<std::uint8_t>(kBlock, bytes[0])) << "a mixture";
    }
    stop.store(true);
    for (std::thread& writer : writers)
        writer.join();
}

} // namespace
} // namespace stm::test
