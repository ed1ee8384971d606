// SPDX-License-Identifier: GPL-2.0
// read and write calls.
#include "tests/unit/kernel/kernel_test.hpp"

#include <algorithm>
#include <string_view>

namespace stm::test {
namespace {

constexpr std::size_t kPiece = 256 * 1024; // what is atomic

std::vector<std::uint8_t> zero_behind(std::vector<std::uint8_t> bytes, std::size_t end) {
    for (std::size_t place = end; place < bytes.size(); ++place)
        bytes[place] = 0;
    return bytes;
}

class Contents : public KernelTest {
protected:
    static constexpr std::uint64_t kBytes = 4 << 20;
    File file = open(control, "a", kCreate, {kBytes});
};

TEST_F(Contents, AreZeroAndNotThereBeforeTheyAreWritten) {
    std::vector<std::uint8_t> bytes(3 * kPiece + 5, 0x77);
    ASSERT_EQ(read(file, 11, bytes.data(), bytes.size()), static_cast<long>(bytes.size()));
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == 0; }));
    EXPECT_EQ(info_of(file).resident_bytes, 0u);
    EXPECT_EQ(simulated::live().pages, kPagesOfDefault);
}

TEST_F(Contents, AreZeroBehindOthersOfTheSameCall) {
    const auto first = pattern(kPiece);
    ASSERT_EQ(write(file, 0, first.data(), kPiece), static_cast<long>(kPiece));
    std::vector<std::uint8_t> bytes(2 * kPiece, 0x77);
    ASSERT_EQ(read(file, 0, bytes.data(), bytes.size()), static_cast<long>(bytes.size()));
    EXPECT_TRUE(std::equal(first.begin(), first.end(), bytes.begin()));
    EXPECT_TRUE(std::all_of(bytes.begin() + static_cast<long>(kPiece), bytes.end(),
                            [](auto byte) { return byte == 0; }));
}

TEST_F(Contents, AreReadAsTheyWereWritten) {
    for (const std::size_t length : {1ul, 7ul, 255ul, 256ul, 257ul, 4095ul, 4096ul, 4097ul, 65536ul,
                                     kPiece - 1, kPiece, kPiece + 1, 3 * kPiece + 12345}) {
        for (const std::uint64_t position : {0ul, 1ul, 4095ul, 4096ul, 511 * 4096ul + 4090}) {
            SCOPED_TRACE(testing::Message() << length << " bytes at " << position);
            const auto bytes = pattern(length, static_cast<unsigned>(length + position));
            ASSERT_EQ(write(file, position, bytes.data(), length), static_cast<long>(length));
            std::vector<std::uint8_t> back(length + 2);
            ASSERT_EQ(read(file, position, back.data(), length), static_cast<long>(length));
            back.resize(length);
            ASSERT_TRUE(back == bytes);
        }
    }
}

TEST_F(Contents, ChangeOnlyWhereTheyAreWritten) {
    const auto old = pattern(3 * kPage, 1);
    ASSERT_EQ(write(file, 0, old.data(), old.size()), static_cast<long>(old.size()));
    ASSERT_EQ(write(file, kPage - 3, "abcdefg", 7), 7);
    auto expected = pattern(3 * kPage, 1);
    std::ranges::copy(std::string_view("abcdefg"), expected.begin() + kPage - 3);
    std::vector<std::uint8_t> now(old.size());
    ASSERT_EQ(read(file, 0, now.data(), now.size()), static_cast<long>(now.size()));
    EXPECT_EQ(now, expected);
    EXPECT_EQ(info_of(file).resident_bytes, 3 * kPage);
}

TEST_F(Contents, EndLikeAFileOfFixedSize) {
    char bytes[10] = {};
    EXPECT_EQ(read(file, kBytes, bytes, 10), 0);
    EXPECT_EQ(read(file, kBytes + 1, bytes, 10), 0);
    EXPECT_EQ(read(file, ~std::uint64_t{0}, bytes, 10), 0);
    EXPECT_EQ(read(file, ~std::uint64_t{0} >> 1, bytes, 10), 0);
    EXPECT_EQ(read(file, kBytes - 4, bytes, 10), 4);
    EXPECT_EQ(write(file, kBytes, bytes, 10), -ENOSPC);
    EXPECT_EQ(write(file, ~std::uint64_t{0}, bytes, 10), -ENOSPC);
    EXPECT_EQ(write(file, kBytes, bytes, 0), 0);
    EXPECT_EQ(read(file, kBytes, bytes, 0), 0);
    EXPECT_EQ(read(file, 0, bytes, 0), 0);
    EXPECT_EQ(write(file, kBytes - 4, "12345678", 8), 4);
    EXPECT_EQ(read_string(file, kBytes - 4, 100), "1234");
    EXPECT_EQ(write(file, kBytes - 1, "9", 1), 1);
    EXPECT_EQ(info_of(file).resident_bytes, kPage);
}

TEST_F(Contents, LieInPagesThatLinuxKnows) {
    ASSERT_EQ(write(file, 700 * kPage, "x", 1), 1);
    const Fault found = fault(file, 700, 700);
    ASSERT_EQ(found.result, STM_FAULT_MAP);
    EXPECT_EQ(simulated::page_bytes(found.pages[0])[0], 'x');
    EXPECT_EQ(simulated::page_state(found.pages[0]).identity, file.identity());
    EXPECT_EQ(simulated::page_state(found.pages[0]).index, 700u);
}

TEST_F(Contents, CountCalls) {
    char byte = 0;
    read(file, 0, &byte, 1);
    read(file, 1, &byte, 1);
    write(file, 0, &byte, 1);
    EXPECT_EQ(info_of(file).reads, 2u);
    EXPECT_EQ(info_of(file).writes, 1u);
}

// As SEEK_DATA and SEEK_HOLE of lseek.
TEST_F(Contents, TellWhichPagesWereTouched) {
    const auto data = [&](std::uint64_t from) {
        return stm_core_seek(file.get(), static_cast<long long>(from), 0);
    };
    const auto hole = [&](std::uint64_t from) {
        return stm_core_seek(file.get(), static_cast<long long>(from), 1);
    };
    EXPECT_EQ(data(0), -ENXIO);
    EXPECT_EQ(hole(0), 0);
    EXPECT_EQ(hole(kBytes - 1), static_cast<long long>(kBytes - 1));
    for (const std::uint64_t page : {3, 4, 512})
        ASSERT_EQ(write(file, page * kPage + 17, "x", 1), 1);
    EXPECT_EQ(data(0), 3 * static_cast<long long>(kPage));
    EXPECT_EQ(hole(0), 0);
    EXPECT_EQ(hole(5), 5);
    EXPECT_EQ(data(3 * kPage + 5), 3 * static_cast<long long>(kPage) + 5);
    EXPECT_EQ(hole(3 * kPage + 5), 5 * static_cast<long long>(kPage));
    EXPECT_EQ(data(5 * kPage), 512 * static_cast<long long>(kPage)) << "the first of a table";
    EXPECT_EQ(data(513 * kPage), -ENXIO);
    ASSERT_EQ(write(file, kBytes - 1, "x", 1), 1);
    EXPECT_EQ(hole(kBytes - 1), static_cast<long long>(kBytes)) << "the end is a hole";
    for (const long long outside : {-1LL, static_cast<long long>(kBytes), 1LL << 62}) {
        EXPECT_EQ(stm_core_seek(file.get(), outside, 0), -ENXIO);
        EXPECT_EQ(stm_core_seek(file.get(), outside, 1), -ENXIO);
    }
    EXPECT_EQ(info_of(file).resident_bytes, 4 * kPage) << "asking touched some";
}

// -- The caller's memory ends somewhere --

TEST_F(Contents, ReadIntoBadMemoryAreToldShort) {
    const std::size_t length = 2 * kPiece + 100;
    const auto bytes = pattern(length);
    ASSERT_EQ(write(file, 0, bytes.data(), length), static_cast<long>(length));
    std::vector<std::uint8_t> memory(length);
    for (const std::size_t end : {std::size_t{0}, std::size_t{1}, kPage, kPiece - 1, kPiece,
                                  kPiece + 1, 2 * kPiece, length - 1, length}) {
        UserBuffer buffer(memory.data(), length);
        buffer.fault_at(end);
        const long result = stm_core_read(file.get(), buffer.get(), 0);
        EXPECT_EQ(result, end == 0 ? -EFAULT : static_cast<long>(end));
        EXPECT_EQ(buffer.consumed(), end);
        EXPECT_TRUE(
            std::equal(memory.begin(), memory.begin() + static_cast<long>(end), bytes.begin()));
    }
}

TEST_F(Contents, WrittenFromBadMemoryAreToldShort) {
    const std::size_t length = 2 * kPiece + 100;
    const auto bytes = pattern(length, 5);
    for (const std::size_t end : {std::size_t{0}, std::size_t{1}, kPage, kPiece - 1, kPiece,
                                  kPiece + 1, 2 * kPiece, length - 1, length}) {
        SCOPED_TRACE(end);
        const std::vector<std::uint8_t> zeros(length);
        ASSERT_EQ(write(file, 0, zeros.data(), length), static_cast<long>(length));
        auto memory = bytes;
        UserBuffer buffer(memory.data(), length);
        buffer.fault_at(end);
        const long result = stm_core_write(file.get(), buffer.get(), 0);
        EXPECT_EQ(result, end == 0 ? -EFAULT : static_cast<long>(end));
        EXPECT_EQ(buffer.consumed(), end);
        std::vector<std::uint8_t> back(length);
        ASSERT_EQ(read(file, 0, back.data(), length), static_cast<long>(length));
        const auto expected = zero_behind(bytes, end);
        EXPECT_TRUE(back == expected);
    }
}

// -- Each service fails in turn --

struct Outcome {
    long result;
    std::size_t consumed;
    Failure failure;
};

// A result is right if all before the failure went through, and nothing behind it.
void expect_prefix(const Outcome& outcome, std::size_t length) {
    if (outcome.failure == Failure::none) {
        EXPECT_EQ(outcome.result, static_cast<long>(length));
        return;
    }
    if (outcome.result < 0)
        EXPECT_EQ(outcome.result, simulated::errno_of(outcome.failure));
    else
        EXPECT_EQ(outcome.result % static_cast<long>(kPiece), 0);
    EXPECT_NE(outcome.result, 0);
    EXPECT_EQ(outcome.consumed, static_cast<std::size_t>(std::max(outcome.result, 0L)));
}

// That the others are all alike saves time.
void touch_all_but_two_pages_of_each_piece(const File& fresh) {
    constexpr std::uint64_t kPiecePages = kPiece / kPage;
    for (std::uint64_t index = 0; index < 3 * kPiecePages; ++index) {
        if (index % kPiecePages >= 2) {
            EXPECT_EQ(fault(fresh, index, index).result, STM_FAULT_MAP);
        }
    }
}

TEST_F(Contents, WrittenUntilAFailureAreExactlyWhatIsTold) {
    const std::size_t length = 3 * kPiece;
    const auto bytes = pattern(length, 9);
    std::size_t points = 0;
    std::size_t errors = 0;
    for (bool more = true; more; ++points) {
        const File fresh = open(control, "fresh", kCreate, {kBytes});
        touch_all_but_two_pages_of_each_piece(fresh);
        auto memory = bytes;
        UserBuffer buffer(memory.data(), length);
        Outcome outcome{};
        {
            const FailPoint point(points + 1);
            outcome.result = stm_core_write(fresh.get(), buffer.get(), 0);
            outcome.consumed = buffer.consumed();
            outcome.failure = point.happened();
        }
        SCOPED_TRACE(testing::Message() << "point " << points + 1);
        expect_prefix(outcome, length);
        more = outcome.failure != Failure::none;
        errors += outcome.result < 0;
        std::vector<std::uint8_t> back(length);
        ASSERT_EQ(read(fresh, 0, back.data(), length), static_cast<long>(length));
        const auto end = static_cast<std::size_t>(std::max(outcome.result, 0L));
        const auto expected = zero_behind(bytes, end);
        ASSERT_TRUE(back == expected);
        ASSERT_EQ(destroy_handle(fresh), 0);
    }
    std::printf("[  points  ] %-34s %zu\n", "write of 3 pieces", points - 1);
    EXPECT_EQ(points - 1, 1u + 3 * (1 + 2 + 1)) << "the buffer; user memory, pages, the lock";
    EXPECT_EQ(errors, 1u + 1 + 2 + 1) << "later ones are short counts";
}

TEST_F(Contents, ReadUntilAFailureAreExactlyWhatIsTold) {
    const std::size_t length = 3 * kPiece;
    const auto bytes = pattern(length, 9);
    ASSERT_EQ(write(file, 0, bytes.data(), length), static_cast<long>(length));
    std::size_t points = 0;
    for (bool more = true; more; ++points) {
        std::vector<std::uint8_t> memory(length);
        UserBuffer buffer(memory.data(), length);
        Outcome outcome{};
        {
            const FailPoint point(points + 1);
            outcome.result = stm_core_read(file.get(), buffer.get(), 0);
            outcome.consumed = buffer.consumed();
            outcome.failure = point.happened();
        }
        SCOPED_TRACE(testing::Message() << "point " << points + 1);
        expect_prefix(outcome, length);
        more = outcome.failure != Failure::none;
        const auto end = static_cast<std::size_t>(std::max(outcome.result, 0L));
        const auto expected = zero_behind(bytes, end);
        ASSERT_TRUE(memory == expected);
    }
    std::printf("[  points  ] %-34s %zu\n", "read of 3 pieces", points - 1);
    EXPECT_EQ(points - 1, 1u + 3 * 2);
}

// A small call needs no memory but the pages.
TEST_F(Contents, OfASmallCallNeedNoBuffer) {
    ASSERT_EQ(write(file, 0, "x", 1), 1);
    const FailPoint point(1);
    std::vector<std::uint8_t> bytes(256);
    const long before = simulated::live().allocations;
    UserBuffer buffer(bytes.data(), bytes.size());
    EXPECT_EQ(stm_core_read(file.get(), buffer.get(), 0), -EINTR);
    EXPECT_EQ(point.happened(), Failure::lock) << "the first that can fail";
    EXPECT_EQ(simulated::live().allocations, before);
}

} // namespace
} // namespace stm::test
