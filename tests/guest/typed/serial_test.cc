// SPDX-License-Identifier: GPL-2.0
// Typed transactions that hold the serial tokens: what the statistics say of them, and what the
// transactions may not be used for that lend them their tokens.
#include "typed.hpp"

#include <sys/ioctl.h>

using namespace stm::test;

namespace {

struct stm_statistics statistics_of(const TypedRegion& region) {
    auto statistics = make_named<struct stm_statistics>(region.name(), STM_BY_NAME);
    EXPECT_EQ(request(STM_IOC_STATISTICS, &statistics), 0);
    return statistics;
}

TEST(TypedSerial, OnesAreCountedOnce) {
    const TypedRegion first("first");
    const TypedRegion second("second");
    constexpr unsigned kTimes = 5;
    for (unsigned i = 0; i < kTimes; ++i) {
        EXPECT_TRUE(atomically(first, STM_TX_SERIAL,
                               [&](stm_tx* tx) { EXPECT_EQ(add(tx, first, 0, 1), 0); }));
    }
    struct stm_statistics counted = statistics_of(first);
    EXPECT_EQ(counted.starts, kTimes);
    EXPECT_EQ(counted.commits, kTimes);
    EXPECT_EQ(counted.read_only, 0u);
    EXPECT_EQ(counted.serial, kTimes);
    // In two regions, of which the second one is only read. The first attempt learns of that one.
    EXPECT_TRUE(atomically(first, STM_TX_SERIAL, [&](stm_tx* tx) {
        long value = 0;
        if (add(tx, first, 0, 1) == 0)
            static_cast<void>(stm_tx_load(tx, second, 0, &value, sizeof value));
    }));
    counted = statistics_of(first);
    EXPECT_EQ(counted.commits, kTimes + 1);
    EXPECT_EQ(counted.read_only, 0u);
    EXPECT_EQ(counted.starts, kTimes + 2);
    EXPECT_EQ(counted.aborts[STM_REASON_CANCEL], 1u);
    counted = statistics_of(second);
    EXPECT_EQ(counted.starts, 1u);
    EXPECT_EQ(counted.commits, 1u);
    EXPECT_EQ(counted.read_only, 1u);
}

// Adds to the number at 0, as the module's interface says, with a transaction that holds the token.
class ByRequest {
public:
    explicit ByRequest(int fd) : fd_(fd), clock_(fd, kPage, PROT_READ, STM_OFFSET_CLOCK) {}

    [[nodiscard]] int start() const { return ::ioctl(fd_, STM_IOC_START, STM_START_SERIAL); }
    [[nodiscard]] int commit(long value) const {
        struct stm_stripe_write write {};
        write.mask = 0xff;
        std::memcpy(write.bytes, &value, sizeof value);
        auto argument = make<struct stm_commit_sets>(STM_COMMIT_SERIAL);
        argument.sets.handle = -1;
        argument.sets.snapshot = *clock_.at<volatile std::uint64_t>();
        argument.sets.writes = reinterpret_cast<std::uintptr_t>(&write);
        argument.sets.write_count = 1;
        return request(fd_, STM_IOC_COMMIT_SETS, &argument);
    }

private:
    const int fd_;
    const Mapping clock_;
};

TEST(TypedSerial, OnesTakeNothingWithThemThatWasStoredInAMapping) {
    const TypedRegion region("stored");
    const int fd = region.fd();
    const Mapping mapping(fd, 16 * kPage);
    const ByRequest by_request(fd);
    volatile long* const number = mapping.at<volatile long>(2 * kPage);
    ASSERT_EQ(by_request.start(), 1);
    *number = 5;
    EXPECT_EQ(by_request.commit(1), EINVAL);
    EXPECT_EQ(value_at(region, 0), 0);
    EXPECT_EQ(*number, 5) << "the transaction is still there";
    EXPECT_EQ(::ioctl(fd, STM_IOC_CANCEL, STM_CANCEL_ALL), 0);
    EXPECT_EQ(*number, 0);
    // A load is harmless.
    ASSERT_EQ(by_request.start(), 1);
    EXPECT_EQ(*number, 0);
    EXPECT_EQ(by_request.commit(2), 0);
    EXPECT_EQ(value_at(region, 0), 2);
    EXPECT_EQ(value_at(region, 2 * kPage), 0);
    // And it is over.
    EXPECT_EQ(::ioctl(fd, STM_IOC_CANCEL, 0), -1);
    EXPECT_EQ(signal_of_store(mapping.at<>(2 * kPage)), SIGSEGV);
}

} // namespace
