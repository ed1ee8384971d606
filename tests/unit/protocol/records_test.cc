// SPDX-License-Identifier: GPL-2.0
// Ownership records that are looked at together give what they give one by one.
#include "runtime/protocol/records.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace stm::test {
namespace {

using protocol::Orec;
using runtime::Atomic;
using runtime::Order;
using runtime::u32;
using runtime::u64;

constexpr u32 kMost = protocol::kStripesPerPage;
constexpr u64 kVersion = 1000;

class Records {
public:
    Records() { fill(Orec::unlocked(kVersion)); }
    void fill(Orec orec) {
        for (Atomic<u64>& record : records_)
            record.store(orec.word(), Order::relaxed);
    }
    void set(u32 number, Orec orec) { records_[number].store(orec.word(), Order::relaxed); }
    [[nodiscard]] u64 newer(u32 count, u64 version = kVersion) const {
        return protocol::which_are_newer(records_.data(), count, version);
    }
    [[nodiscard]] bool none_newer(u32 count, u64 version = kVersion) const {
        return protocol::none_newer(records_.data(), count, version);
    }

private:
    std::array<Atomic<u64>, kMost> records_{};
};

TEST(Records, EachThatIsNewerOrLockedIsFoundAtItsPlaceWhateverTheirNumber) {
    constexpr u64 kLowestOwner = 1;
    constexpr u64 kHighestOwner = (u64{1} << 62) - 1;
    for (const Orec odd : {Orec::unlocked(kVersion + 1), Orec::unlocked(protocol::kMaxVersion),
                           Orec::locked(kLowestOwner), Orec::locked(kHighestOwner)})
        for (u32 count = 1; count <= kMost; ++count)
            for (u32 place = 0; place < kMost; ++place) {
                Records records;
                records.set(place, odd);
                const bool is_there = place < count;
                ASSERT_EQ(records.newer(count), is_there ? u64{1} << place : 0)
                    << odd.word() << ", " << place << " of " << count;
                ASSERT_EQ(records.none_newer(count), !is_there) << place << " of " << count;
            }
}

TEST(Records, VersionsAtTheLimitAndBelowAreNotNewer) {
    Records records;
    EXPECT_TRUE(records.none_newer(kMost));
    EXPECT_EQ(records.newer(kMost), 0);
    EXPECT_EQ(records.newer(kMost, kVersion - 1), ~u64{0});
    records.fill(Orec::unlocked(0));
    EXPECT_TRUE(records.none_newer(kMost, 0));
    records.fill(Orec::unlocked(protocol::kMaxVersion));
    EXPECT_TRUE(records.none_newer(kMost, protocol::kMaxVersion));
    EXPECT_TRUE(records.none_newer(0, 0));
    EXPECT_EQ(records.newer(0, 0), 0);
}

// The union of the versions 511 and 512 is above 1000, which neither of them is.
TEST(Records, VersionsWhoseBitsTogetherAreAboveTheLimitAreNotNewer) {
    Records records;
    records.set(3, Orec::unlocked(511));
    records.set(60, Orec::unlocked(512));
    EXPECT_TRUE(records.none_newer(kMost));
    records.set(61, Orec::unlocked(kVersion + 1));
    EXPECT_FALSE(records.none_newer(kMost));
    EXPECT_EQ(records.newer(kMost), u64{1} << 61);
}

TEST(Records, RandomOnesAreAsOneByOne) {
    std::mt19937_64 random(1);
    for (u32 round = 0; round < 20000; ++round) {
        Records records;
        const auto count = static_cast<u32>(random() % (kMost + 1));
        const u64 version = random() % 64;
        u64 expected = 0;
        for (u32 i = 0; i < kMost; ++i) {
            const u64 other = random() % 70;
            const Orec orec = random() % 80 == 0 ? Orec::locked(other + 1) : Orec::unlocked(other);
            records.set(i, orec);
            if (i < count && (orec.is_locked() || orec.version() > version))
                expected |= u64{1} << i;
        }
        ASSERT_EQ(records.newer(count, version), expected);
        ASSERT_EQ(records.none_newer(count, version), expected == 0);
    }
}

} // namespace
} // namespace stm::test
