// SPDX-License-Identifier: GPL-2.0
// What a program can map beside a region's bytes.
#include "tests/unit/kernel/typed_test.hpp"

namespace stm::test {
namespace {

class Windows : public Typed {
protected:
    static int map_window(const File& of, std::uint64_t offset, std::uint64_t bytes,
                          unsigned wanted = 0, unsigned* allowed = nullptr) {
        unsigned result = 0;
        return stm_core_map(of.get(), offset / kPage, bytes / kPage, wanted,
                            allowed == nullptr ? &result : allowed);
    }
    static stm_fault_result touch(const File& of, std::uint64_t offset, int write = 0) {
        stm_fault fault{};
        fault.index = fault.first = fault.last = offset / kPage;
        fault.write = write;
        return stm_core_window_fault(of.get(), &fault);
    }
};

TEST_F(Windows, AreMappedForLoadsAlone) {
    for (const auto& [offset, bytes] :
         {std::pair<std::uint64_t, std::uint64_t>{STM_OFFSET_COMMITTED, kBytes},
          {STM_OFFSET_RECORDS, kBytes / 8},
          {STM_OFFSET_CLOCK, kPage}}) {
        unsigned allowed = ~0u;
        EXPECT_EQ(map_window(file, offset, bytes, 0, &allowed), 0);
        EXPECT_EQ(allowed, unsigned{STM_MAP_WINDOW});
        EXPECT_EQ(map_window(file, offset, bytes, STM_MAP_WRITE), -EACCES);
        EXPECT_EQ(map_window(file, offset, bytes, STM_MAP_EXEC), -EACCES);
        EXPECT_EQ(map_window(file, offset, bytes + kPage), -EINVAL);
        EXPECT_EQ(map_window(file, offset + bytes, kPage), -EINVAL);
        EXPECT_EQ(touch(file, offset), STM_FAULT_MAP);
        EXPECT_EQ(touch(file, offset, 1), STM_FAULT_FORBIDDEN);
        EXPECT_EQ(touch(file, offset + bytes), STM_FAULT_OUTSIDE);
    }
    EXPECT_EQ(map_window(file, 1ull << 55, kPage), -EINVAL) << "between the region and its windows";
}

TEST_F(Windows, OfAPlainRegionAreRefused) {
    const File plain = open(control, "plain");
    for (const std::uint64_t offset :
         {STM_OFFSET_COMMITTED, STM_OFFSET_RECORDS, STM_OFFSET_CLOCK}) {
        EXPECT_EQ(map_window(plain, offset, kPage), -EINVAL);
        EXPECT_EQ(touch(plain, offset), STM_FAULT_OUTSIDE);
    }
}

TEST_F(Windows, CoverTheRecordsOfAPartOfAPage) {
    const File small = open(control, "small", kCreate, {kPage, 0, 0666});
    EXPECT_EQ(map_window(small, STM_OFFSET_RECORDS, kPage), 0);
    EXPECT_EQ(record_of(small, 63), 0u);
}

TEST_F(Windows, TellTheGeometry) {
    const auto* const clock = static_cast<const stm_clock*>(window_page(file, STM_OFFSET_CLOCK));
    EXPECT_EQ(clock->region_size, kBytes);
    EXPECT_EQ(clock->stripe_size, 64u);
    EXPECT_EQ(clock->record_size, 8u);
}

TEST_F(Windows, ShowWhatIsCommittedAndNeverATransactionsOwnPages) {
    ASSERT_EQ(map(file, 0, kBytes / kPage, STM_MAP_WRITE), 0);
    const auto* const committed =
        static_cast<const std::uint64_t*>(window_page(file, STM_OFFSET_COMMITTED));
    ASSERT_EQ(start(file), 1);
    ASSERT_TRUE(MappedTransactions::store(file, 0, 5));
    EXPECT_EQ(committed[0], 0u);
    EXPECT_EQ(window_page(file, STM_OFFSET_COMMITTED), committed);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(committed[0], 5u);
    EXPECT_EQ(window_page(other, STM_OFFSET_COMMITTED), committed) << "the same to everybody";
}

TEST_F(Windows, AreNoMappingsOfTheView) {
    ASSERT_EQ(map_window(file, STM_OFFSET_COMMITTED, kBytes), 0);
    // Two threads of a process may have transactions on a handle that is not mapped.
    ASSERT_EQ(start(file), 1);
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_EQ(commit(file), 0);
    }).join();
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Windows, BringThePagesAroundThatAreThere) {
    for (std::uint64_t page = 0; page < 8; ++page)
        put(file, page * kPage, page);
    stm_fault fault{};
    fault.index = STM_OFFSET_COMMITTED / kPage + 3;
    fault.first = fault.index - 3;
    fault.last = fault.index + 20;
    ASSERT_EQ(stm_core_window_fault(file.get(), &fault), STM_FAULT_MAP);
    EXPECT_EQ(fault.first, STM_OFFSET_COMMITTED / kPage);
    EXPECT_EQ(fault.count, 8u);
    EXPECT_EQ(info_of(file).resident_bytes, 8 * kPage);
}

} // namespace
} // namespace stm::test
