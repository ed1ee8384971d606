// SPDX-License-Identifier: GPL-2.0
// Page faults for the core file of the calling process.
#include "tests/unit/kernel/typed_test.hpp"

#include <cstring>
#include <optional>

namespace stm::test {
namespace {

stm_fault dump_of(std::uint64_t index) {
    stm_fault fault{};
    fault.index = fault.first = fault.last = index;
    fault.dump = 1;
    fault.memory = simulated::current_memory();
    fault.address = simulated::address_of(index);
    return fault;
}

class Dumps : public MappedTransactions {
protected:
    // What the core file has there; nothing for a hole.
    static std::optional<std::uint64_t> dumped(const File& of, std::uint64_t position) {
        stm_page* page = simulated::mapped_page(of.view(), position / kPage);
        if (page == nullptr) {
            stm_fault fault = dump_of(position / kPage);
            const MmapLock held;
            if (stm_core_transactional_fault(of.get(), &fault) != STM_FAULT_MAP)
                return std::nullopt;
            page = fault.pages[0];
            simulated::map_page(of.view(), position / kPage, page, false);
        }
        std::uint64_t value = 0;
        std::memcpy(&value, simulated::page_bytes(page) + position % kPage, sizeof value);
        return value;
    }
};

TEST_F(Dumps, AllocateNothingInARegion) {
    const File plain = open(control, "plain");
    put(plain, 0, 7);
    put(file, 0, 7);
    for (const File* const of : {&plain, static_cast<const File*>(&file)}) {
        const auto resident = info_of(*of).resident_bytes;
        const std::uint64_t window = of == &plain ? 0 : STM_OFFSET_COMMITTED / kPage;
        for (std::uint64_t index = 0; index < 2; ++index) {
            stm_fault fault = dump_of(window + index);
            const MmapLock held;
            EXPECT_EQ(of == &plain ? stm_core_fault(of->get(), &fault)
                                   : stm_core_window_fault(of->get(), &fault),
                      index == 0 ? STM_FAULT_MAP : STM_FAULT_OUTSIDE);
        }
        EXPECT_EQ(info_of(*of).resident_bytes, resident);
    }
}

TEST_F(Dumps, ShowWhatIsCommittedOutsideOfTransactions) {
    put(file, 8, 7);
    EXPECT_EQ(dumped(file, 8), 7u);
    EXPECT_EQ(dumped(file, kPage), std::nullopt);
    EXPECT_EQ(info_of(file).resident_bytes, kPage);
}

TEST_F(Dumps, ShowATransactionAndWhatIsCommittedAroundIt) {
    for (std::uint64_t page = 0; page < 4; ++page)
        put(file, page * kPage, 7);
    ASSERT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 8));
    put(file, 2 * kPage + 8, 9);
    disturb(3 * kPage, 10);
    EXPECT_EQ(dumped(file, 0), 8u);
    EXPECT_EQ(dumped(file, kPage), 7u);
    EXPECT_EQ(dumped(file, 2 * kPage + 8), 9u) << "by a call";
    EXPECT_EQ(dumped(file, 3 * kPage), 10u) << "newer than its snapshot";
    EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_NONE});
    EXPECT_EQ(cancel(file), 0);
}

// The page need not be in the page table any more: MADV_DONTNEED takes it out, for one.
TEST_F(Dumps, ShowWhatATransactionHasLoadedAsItSawIt) {
    for (std::uint64_t page = 0; page < 2; ++page)
        put(file, page * kPage, 7);
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 0), 7u);
    for (std::uint64_t page = 0; page < 2; ++page)
        disturb(page * kPage, 8);
    simulated::unmap_own(file.view());
    EXPECT_EQ(dumped(file, 0), 7u);
    EXPECT_EQ(dumped(file, kPage), 8u);
    EXPECT_EQ(cancel(file), 0);
}

// A private copy of each page would be as much memory again as the region has.
TEST_F(Dumps, TakeNoMemoryForATransaction) {
    constexpr std::uint64_t kPages = 40;
    settings.max_stripes = 16 * 64;
    const File fresh = open(control, "tx", kOpen, {0, 0, 0});
    ASSERT_EQ(map(fresh, 0, kBytes / kPage, STM_MAP_WRITE), 0);
    for (std::uint64_t page = 0; page < kPages; ++page)
        put(file, page * kPage, page);
    ASSERT_EQ(start(fresh), 1);
    EXPECT_TRUE(store(fresh, 0, 100));
    const auto pages = simulated::live().pages;
    for (std::uint64_t page = 1; page < kPages; ++page)
        EXPECT_EQ(dumped(fresh, page * kPage), page);
    EXPECT_EQ(simulated::live().pages, pages);
    EXPECT_EQ(transaction_of(fresh).doom, unsigned{STM_REASON_NONE});
    EXPECT_EQ(cancel(fresh), 0);
}

} // namespace
} // namespace stm::test
