// SPDX-License-Identifier: GPL-2.0
// What one typed transaction sees and does, and what other ways of access see of it.
#include "typed.hpp"

#include <algorithm>
#include <thread>

using namespace stm::test;

namespace {

TEST(Typed, CommitsWhatItHasStored) {
    const TypedRegion region("commits");
    stm_tx* const tx = stm_tx_begin(region, 0);
    ASSERT_NE(tx, nullptr);
    EXPECT_EQ(stm_tx_current(), tx);
    long value = -1;
    ASSERT_EQ(stm_tx_load(tx, region, 8, &value, sizeof value), 0);
    EXPECT_EQ(value, 0);
    value = 42;
    ASSERT_EQ(stm_tx_store(tx, region, 8, &value, sizeof value), 0);
    value = 0;
    ASSERT_EQ(stm_tx_load(tx, region, 8, &value, sizeof value), 0);
    EXPECT_EQ(value, 42);
    long outside = -1;
    ASSERT_EQ(::pread(region.fd(), &outside, sizeof outside, 8), 8);
    EXPECT_EQ(outside, 0) << "nothing is visible before the commit";
    ASSERT_EQ(stm_tx_commit(tx), 0) << std::strerror(errno);
    EXPECT_EQ(stm_tx_current(), nullptr);
    ASSERT_EQ(::pread(region.fd(), &outside, sizeof outside, 8), 8);
    EXPECT_EQ(outside, 42);
    EXPECT_EQ(value_at(region, 8), 42);
    const Mapping mapping(region.fd(), kPage, PROT_READ);
    EXPECT_EQ(*mapping.at<long>(8), 42);
    EXPECT_EQ(static_cast<const long*>(stm_region_committed(region))[1], 42);
}

TEST(Typed, SeesWhatCallsHaveCommitted) {
    const TypedRegion region("calls");
    for (long i = 0; i < 100; ++i) {
        const long value = i + 1;
        ASSERT_EQ(::pwrite(region.fd(), &value, sizeof value, i * 640), 8);
        ASSERT_EQ(value_at(region, static_cast<std::uint64_t>(i) * 640), value);
    }
}

TEST(Typed, LoadsAndStoresAnyLengthAtAnyPlace) {
    const TypedRegion region("lengths", 64 * kPage);
    std::vector<char> expected(64 * kPage);
    std::vector<char> buffer(64 * kPage);
    unsigned seed = 1;
    for (int round = 0; round < 300; ++round) {
        seed = seed * 1664525 + 1013904223;
        const std::size_t at = seed % (60 * kPage);
        const std::size_t bytes = seed / 7 % (round % 10 == 0 ? 3 * kPage : 100);
        ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
            if (stm_tx_load(tx, region, at, buffer.data(), bytes) != 0)
                return;
            for (std::size_t i = 0; i < bytes; ++i)
                ASSERT_EQ(buffer[i], expected[at + i]);
            std::fill_n(buffer.begin(), bytes, static_cast<char>(round));
            if (stm_tx_store(tx, region, at, buffer.data(), bytes) != 0)
                return;
        }));
        std::fill_n(expected.begin() + static_cast<long>(at), bytes, static_cast<char>(round));
    }
    ASSERT_EQ(::pread(region.fd(), buffer.data(), buffer.size(), 0),
              static_cast<ssize_t>(buffer.size()));
    EXPECT_EQ(buffer, expected);
}

// What it has read changes: it does not see two states, and is repeated.
TEST(Typed, IsRepeatedWhenWhatItHasReadChanges) {
    const TypedRegion region("repeated");
    int attempts = 0;
    long first = 0;
    long second = 0;
    ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        ++attempts;
        if (stm_tx_load(tx, region, 0, &first, sizeof first) != 0)
            return;
        if (attempts == 1) {
            for (const off_t at : {0, 640}) {
                const long one = 1;
                ASSERT_EQ(::pwrite(region.fd(), &one, sizeof one, at), 8);
            }
        }
        const int result = stm_tx_load(tx, region, 640, &second, sizeof second);
        EXPECT_EQ(result, attempts == 1 ? STM_TX_AGAIN : 0);
        EXPECT_EQ(stm_tx_valid(tx), attempts == 1 ? 0 : 1);
    }));
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(first, 1);
    EXPECT_EQ(second, 1);
}

TEST(Typed, GoesOnWhenOnlyOtherThingsHaveChanged) {
    const TypedRegion region("goes_on");
    int attempts = 0;
    ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        ++attempts;
        EXPECT_EQ(add(tx, region, 0, 1), 0);
        const long five = 5;
        ASSERT_EQ(::pwrite(region.fd(), &five, sizeof five, 640), 8);
        EXPECT_EQ(add(tx, region, 640, 1), 0);
    }));
    EXPECT_EQ(attempts, 1);
    EXPECT_EQ(value_at(region, 0), 1);
    EXPECT_EQ(value_at(region, 640), 6);
}

TEST(Typed, CancelHasNoEffect) {
    const TypedRegion region("cancel");
    stm_tx* const tx = stm_tx_begin(region, 0);
    EXPECT_EQ(add(tx, region, 0, 1), 0);
    stm_tx_cancel(tx);
    EXPECT_EQ(stm_tx_current(), nullptr);
    EXPECT_EQ(value_at(region, 0), 0);
}

TEST(Typed, RestartForgetsWhatWasStored) {
    const TypedRegion region("restart");
    stm_tx* const tx = stm_tx_begin(region, 0);
    EXPECT_EQ(add(tx, region, 0, 1), 0);
    stm_tx_restart(tx);
    EXPECT_EQ(add(tx, region, 64, 1), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(value_at(region, 0), 0);
    EXPECT_EQ(value_at(region, 64), 1);
}

TEST(Typed, PartsAreMergedOrUndone) {
    const TypedRegion region("parts");
    ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        long seen = 0;
        EXPECT_EQ(add(tx, region, 0, 1), 0);
        EXPECT_EQ(stm_tx_nest(tx), 0);
        EXPECT_EQ(add(tx, region, 0, 10), 0);
        EXPECT_EQ(add(tx, region, 64, 10), 0);
        EXPECT_EQ(stm_tx_nest(tx), 0);
        EXPECT_EQ(add(tx, region, 0, 100), 0);
        stm_tx_merge(tx);
        EXPECT_EQ(stm_tx_load(tx, region, 0, &seen, sizeof seen), 0);
        EXPECT_EQ(seen, 111);
        stm_tx_undo(tx);
        EXPECT_EQ(stm_tx_load(tx, region, 0, &seen, sizeof seen), 0);
        EXPECT_EQ(seen, 1);
        EXPECT_EQ(stm_tx_load(tx, region, 64, &seen, sizeof seen), 0);
        EXPECT_EQ(seen, 0);
        EXPECT_EQ(stm_tx_nest(tx), 0);
        EXPECT_EQ(add(tx, region, 128, 7), 0);
        stm_tx_merge(tx);
    }));
    EXPECT_EQ(value_at(region, 0), 1);
    EXPECT_EQ(value_at(region, 64), 0);
    EXPECT_EQ(value_at(region, 128), 7);
}

TEST(Typed, ReadsAndWritesMuch) {
    constexpr std::size_t kStripes = 20'000;
    const TypedRegion region("much", kStripes * 128);
    ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        for (std::size_t i = 0; i < kStripes; ++i)
            if (add(tx, region, (i * 7919 % kStripes) * 128, 1) != 0)
                return;
    })) << std::strerror(errno);
    long sum = 0;
    ASSERT_TRUE(atomically(region, STM_TX_READ_ONLY, [&](stm_tx* tx) {
        sum = 0;
        for (std::size_t i = 0; i < kStripes; ++i) {
            long value = 0;
            if (stm_tx_load(tx, region, i * 128, &value, sizeof value) != 0)
                return;
            sum += value;
        }
    }));
    EXPECT_EQ(sum, static_cast<long>(kStripes));
}

// ---- processes and threads ---------------------------------------------------------------------

TEST(Typed, ChildrenUseTheRegionsOfTheirParent) {
    const TypedRegion region("fork");
    stm_tx* const tx = stm_tx_begin(region, 0);
    EXPECT_EQ(add(tx, region, 0, 1), 0);
    const int status = Child::doing([&] {
                           EXPECT_EQ(stm_tx_current(), nullptr)
                               << "the parent's is not the child's";
                           EXPECT_EQ(value_at(region, 0), 0);
                           set_value(region, 64, 5);
                       }).wait();
    EXPECT_EQ(status, 0);
    EXPECT_EQ(stm_tx_current(), tx);
    EXPECT_EQ(add(tx, region, 64, 1), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(value_at(region, 0), 1);
    EXPECT_EQ(value_at(region, 64), 6);
}

TEST(Typed, EachThreadHasOneOfItsOwn) {
    const TypedRegion region("threads");
    stm_tx* const tx = stm_tx_begin(region, 0);
    EXPECT_EQ(add(tx, region, 0, 1), 0);
    std::thread([&] {
        EXPECT_EQ(stm_tx_current(), nullptr);
        set_value(region, 640, 3);
        // It ends with its thread, without an effect.
        EXPECT_EQ(add(stm_tx_begin(region, 0), region, 64, 1), 0);
    }).join();
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(value_at(region, 0), 1);
    EXPECT_EQ(value_at(region, 64), 0);
    EXPECT_EQ(value_at(region, 640), 3);
}

TEST(Typed, ThreadsCountTogether) {
    const TypedRegion region("count");
    constexpr int kThreads = 4;
    constexpr int kEach = 2000;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i)
        threads.emplace_back([&] {
            for (int k = 0; k < kEach; ++k)
                EXPECT_TRUE(
                    atomically(region, 0, [&](stm_tx* tx) { return add(tx, region, 0, 1); }));
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(value_at(region, 0), kThreads * kEach);
}

TEST(Typed, ARegionOutlivesItsName) {
    const TypedRegion region("nameless");
    ASSERT_EQ(stm_unlink_deferred(region.name().c_str()), 0);
    set_value(region, 0, 8);
    EXPECT_EQ(value_at(region, 0), 8);
}

TEST(Typed, AnAttachedDescriptorStaysOpen) {
    const Region region("descriptor", kPage, 0);
    {
        const Attached attached(stm_region_attach(region.fd()));
        EXPECT_EQ(stm_region_size(attached), kPage);
        EXPECT_NE(stm_region_fd(attached), region.fd());
        set_value(attached, 0, 3);
    }
    long value = 0;
    EXPECT_EQ(::pread(region.fd(), &value, sizeof value, 0), 8);
    EXPECT_EQ(value, 3);
}

// ---- the serial path ---------------------------------------------------------------------------

TEST(Typed, SerialOnesAreNotOvertaken) {
    const TypedRegion region("serial");
    int attempts = 0;
    std::thread other;
    ASSERT_TRUE(atomically(region, STM_TX_SERIAL, [&](stm_tx* tx) {
        ++attempts;
        EXPECT_EQ(add(tx, region, 0, 1), 0);
        other = std::thread([&] { set_value(region, 0, 10); });
        ::usleep(50'000);
        EXPECT_EQ(add(tx, region, 640, 1), 0);
    }));
    other.join();
    EXPECT_EQ(attempts, 1);
    EXPECT_EQ(value_at(region, 0), 10) << "the other one came later";
    EXPECT_EQ(value_at(region, 640), 1);
}

TEST(Typed, SerialOnesThatOnlyReadGiveTheTokenBack) {
    const TypedRegion region("serial_read");
    long value = 0;
    for (const bool cancel : {false, true}) {
        stm_tx* const tx = stm_tx_begin(region, STM_TX_SERIAL);
        ASSERT_NE(tx, nullptr);
        EXPECT_EQ(stm_tx_load(tx, region, 0, &value, sizeof value), 0);
        if (cancel)
            stm_tx_cancel(tx);
        else
            EXPECT_EQ(stm_tx_commit(tx), 0);
        EXPECT_EQ(Child::doing([&] { set_value(region, 0, 1); }).wait(), 0);
    }
}

TEST(Typed, ATokenIsTakenFromTheDead) {
    const TypedRegion region("dead");
    EXPECT_EQ(Child::doing([&] {
                  EXPECT_NE(stm_tx_begin(region, STM_TX_SERIAL), nullptr);
                  ::_exit(0);
              }).wait(),
              0);
    set_value(region, 0, 1);
    EXPECT_EQ(value_at(region, 0), 1);
}

} // namespace
