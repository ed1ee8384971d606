// SPDX-License-Identifier: GPL-2.0
// Transactions in mappings: what they load, store and commit.
#include "tests/unit/kernel/transaction_test.hpp"

#include <algorithm>
#include <csignal>
#include <future>
#include <thread>
#include <utility>
#include <vector>

namespace stm::test {
namespace {

TEST_F(MappedTransactions, LoadAndStore) {
    EXPECT_EQ(load(file, 8), 0u);
    EXPECT_FALSE(store(file, 8, 1)) << "no transaction";
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 8), 0u);
    EXPECT_TRUE(store(file, 8, 5));
    EXPECT_EQ(load(file, 8), 5u);
    EXPECT_EQ(get(file, 8), 5u) << "a read call sees it as well";
    EXPECT_EQ(load(other, 8), 0u) << "nobody else does";
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(load(other, 8), 5u);
    EXPECT_EQ(load(file, 8), 5u);
    EXPECT_FALSE(store(file, 8, 6));
}

TEST_F(MappedTransactions, LoadZerosWhereNothingWasWritten) {
    EXPECT_EQ(start(file), 1);
    const Fault found = fault(file, 2, 2);
    ASSERT_EQ(found.result, STM_FAULT_MAP);
    const std::uint8_t* bytes = simulated::page_bytes(found.pages[0]);
    EXPECT_TRUE(std::all_of(bytes, bytes + kPage, [](auto byte) { return byte == 0; }));
    EXPECT_EQ(commit(file), 0);
}

TEST_F(MappedTransactions, TakeTheirStoresBackWhenCancelled) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 8, 5));
    EXPECT_EQ(start(file), 2);
    EXPECT_TRUE(store(file, 8, 6));
    EXPECT_TRUE(store(file, 5 * kPage, 7));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 8), 5u);
    EXPECT_EQ(load(file, 5 * kPage), 0u);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 8), 0u);
}

TEST_F(MappedTransactions, TakeBackWhatSeveralInnerPartsStored) {
    EXPECT_EQ(start(file), 1);
    put(file, 8, 1); // by a call, before the page is touched
    EXPECT_EQ(start(file), 2);
    put(file, 16, 2);
    EXPECT_EQ(start(file), 3);
    EXPECT_TRUE(store(file, 24, 3));
    EXPECT_EQ(load(file, 8), 1u);
    EXPECT_EQ(load(file, 16), 2u);
    disturb(0); // dooms it, and is not to be seen
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(load(file, 24), 3u);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 0), 0u) << "the snapshot";
    EXPECT_EQ(load(file, 8), 1u);
    EXPECT_EQ(load(file, 16), 0u);
    EXPECT_EQ(load(file, 24), 0u);
    EXPECT_EQ(start(file), 2);
    EXPECT_TRUE(store(file, 24, 4));
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 24), 0u);
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(get(other, 8), 0u);
}

TEST_F(MappedTransactions, StoreForEachInnerPartApart) {
    EXPECT_EQ(start(file), 1);
    for (const std::uint64_t depth : {2, 3, 4}) {
        EXPECT_EQ(start(file), static_cast<int>(depth));
        EXPECT_TRUE(store(file, 0, depth));
        EXPECT_TRUE(store(file, depth * kPage, depth));
    }
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(load(file, 0), 3u);
    EXPECT_EQ(load(file, 4 * kPage), 0u);
    EXPECT_EQ(load(file, 3 * kPage), 3u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(store(file, 4 * kPage, 5));
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 3u);
    for (const auto& [page, value] : {std::pair{2, 2}, {3, 3}, {4, 5}})
        EXPECT_EQ(get(other, static_cast<std::uint64_t>(page) * kPage),
                  static_cast<std::uint64_t>(value));
}

// Two that each add one to the same number: what the second stores is what it finds there then.
TEST_F(MappedTransactions, ConflictWhenAnotherStoredTheSame) {
    for (const std::uint64_t before : {0, 1}) { // a page that does not exist, and one that does
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, load(file, 0) + 1));
        EXPECT_EQ(start(other), 1);
        EXPECT_TRUE(store(other, 0, load(other, 0) + 1));
        EXPECT_EQ(commit(other), 0);
        EXPECT_EQ(commit(file), -EAGAIN);
        EXPECT_EQ(get(file, 0), before + 1);
    }
}

// The other commit stands still at each of its steps in turn until this one has ended.
TEST_F(MappedTransactions, LoseNothingInTheMiddleOfAnotherCommit) {
    std::uint64_t expected = 0;
    std::size_t committed = 0;
    bool everywhere = false;
    for (std::size_t step = 1; !everywhere; ++step) {
        SCOPED_TRACE(testing::Message() << "step " << step);
        EXPECT_EQ(start(file), 1);
        EXPECT_TRUE(store(file, 0, load(file, 0) + 1));
        std::promise<bool> there;
        std::promise<void> over;
        long rivals = -1;
        std::thread rival([&] {
            EXPECT_EQ(start(other), 1);
            EXPECT_TRUE(store(other, 0, load(other, 0) + 1));
            EXPECT_TRUE(store(other, 2 * kPage, step));
            bool told = false;
            const simulated::InterleaveCommit interleaved(step, [&] {
                told = true;
                there.set_value(true);
                over.get_future().wait();
            });
            rivals = commit(other);
            if (!told)
                there.set_value(false);
        });
        everywhere = !there.get_future().get();
        const long own = commit(file);
        over.set_value();
        rival.join();
        EXPECT_TRUE(own == 0 || own == -EAGAIN) << own;
        EXPECT_TRUE(rivals == 0 || rivals == -EAGAIN) << rivals;
        expected += (own == 0 ? 1 : 0) + (rivals == 0 ? 1 : 0);
        committed += own == 0 ? 1 : 0;
        ASSERT_EQ(get(file, 0), expected);
    }
    EXPECT_GT(committed, 0u);
    EXPECT_GT(expected, committed);
}

TEST_F(MappedTransactions, ThatStoreNothingNewMayBeOfTheirSnapshot) {
    disturb(0, 5);
    disturb(3 * kPage, 1);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(get(file, 3 * kPage), 1u);
    EXPECT_TRUE(store(file, 0, 5));
    disturb(3 * kPage, 2);
    EXPECT_EQ(commit(file), 0) << "it wrote nothing, and saw one snapshot";
}

TEST_F(MappedTransactions, ThatStoreWhatWasThereOnlyRead) {
    disturb(0, 5);
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 5));
    disturb(3 * kPage);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(transaction_of(file).last_reason, unsigned{STM_REASON_NONE});
    EXPECT_EQ(get(other, 0), 5u);
}

// The copy then differs from the region's page in many more bytes than were stored to.
TEST_F(MappedTransactions, LackNothingForWhatAnotherChanged) {
    const File small = open(control, "small", kCreate, {kBytes, 0});
    const File rival = open(control, "small", kOpen, {0, 0, 0});
    ASSERT_EQ(map(small, 0, kBytes / kPage, STM_MAP_WRITE), 0);
    EXPECT_EQ(start(small), 1);
    for (std::uint64_t page = 0; page < 4; ++page)
        EXPECT_TRUE(store(small, page * kPage, 1));
    const std::vector<std::uint8_t> bytes(4 * kPage, 0x55);
    EXPECT_EQ(write(rival, 0, bytes.data(), bytes.size()), static_cast<long>(bytes.size()));
    const FailPoint point(1); // no memory for the log of all that
    EXPECT_EQ(commit(small), -EAGAIN);
}

TEST_F(MappedTransactions, MixWithCalls) {
    EXPECT_EQ(start(file), 1);
    put(file, 8, 1);
    EXPECT_EQ(load(file, 8), 1u);
    EXPECT_TRUE(store(file, 16, 2));
    put(file, 24, 3);
    EXPECT_EQ(load(file, 24), 3u);
    EXPECT_EQ(get(file, 16), 2u);
    EXPECT_EQ(commit(file), 0);
    for (const std::uint64_t value : {1, 2, 3})
        EXPECT_EQ(get(other, 8 * value), value);
}

TEST_F(MappedTransactions, ConflictByWhatTheyLoaded) {
    EXPECT_EQ(start(file, STM_START_SIGNAL(SIGUSR1)), 1);
    EXPECT_EQ(load(file, 0), 0u);
    disturb(0);
    disturb(3 * kPage);
    EXPECT_EQ(load(file, 0), 0u) << "the snapshot";
    EXPECT_EQ(fault(file, 3, 3).result, STM_FAULT_FORBIDDEN) << "there is none for this page";
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{SIGUSR1});
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(load(file, 0), 77u);
}

TEST_F(MappedTransactions, BelongToOneThreadOfAProcess) {
    EXPECT_EQ(start(file), 1);
    std::thread([&] {
        EXPECT_EQ(start(file), -EBUSY);
        EXPECT_EQ(start(other), 1) << "another handle";
        EXPECT_EQ(cancel(other), 0);
        Process child(200, kRoot, "child");
        const As now(child);
        EXPECT_EQ(start(file), 1) << "another address space";
        EXPECT_TRUE(store(file, 0, 1));
        EXPECT_EQ(commit(file), 0);
        simulated::unmap_all(file.view());
    }).join();
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(get(file, 0), 1u);
}

TEST_F(MappedTransactions, LetOtherThreadsWaitWhenDoomed) {
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 0), 0u);
    disturb(0);
    disturb(3 * kPage);
    std::thread([&] { EXPECT_EQ(fault(file, 3, 3).result, STM_FAULT_WAIT); }).join();
    EXPECT_EQ(fault(file, 3, 3).result, STM_FAULT_FORBIDDEN);
    EXPECT_EQ(cancel(file), 0);
    std::thread([&] { EXPECT_EQ(load(file, 3 * kPage), 77u); }).join();
}

TEST_F(MappedTransactions, BeganBeforeTheMappingSeeIt) {
    File late = open(control, "tx", kOpen, {0, 0, 0});
    EXPECT_EQ(start(late), 1);
    put(late, 0, 4);
    ASSERT_EQ(map(late, 0, 1, STM_MAP_WRITE), 0);
    EXPECT_EQ(load(late, 0), 4u);
    EXPECT_TRUE(store(late, 8, 5));
    EXPECT_EQ(commit(late), 0);
    EXPECT_EQ(get(other, 0), 4u);
    EXPECT_EQ(get(other, 8), 5u);
}

TEST_F(MappedTransactions, WriteOnlyWhatTheyStored) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 1));
    EXPECT_EQ(start(other), 1);
    EXPECT_EQ(get(other, 1024), 0u); // of the same page
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(validate(other), 0);
    EXPECT_EQ(commit(other), 0);
}

TEST_F(MappedTransactions, DoNotReuseAPageThatIsPinned) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 1));
    stm_page* pinned = simulated::mapped_page(file.view(), 0);
    stm_linux_page_get(pinned); // for input or output
    EXPECT_EQ(commit(file), 0);
    *reinterpret_cast<std::uint64_t*>(simulated::page_bytes(pinned)) = 1234;
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(load(file, kPage), 0u);
    EXPECT_NE(simulated::mapped_page(file.view(), 1), pinned);
    EXPECT_EQ(load(file, 0), 1u);
    EXPECT_NE(simulated::mapped_page(file.view(), 0), pinned);
    EXPECT_TRUE(store(file, kPage, 1));
    EXPECT_EQ(commit(file), 0);
    stm_linux_page_release(pinned);
    EXPECT_EQ(get(other, 0), 1u);
}

TEST_F(MappedTransactions, FaultOutsideOfTheRegionInNoWay) {
    EXPECT_EQ(start(file), 1);
    for (const std::uint64_t index : {kBytes / kPage, kBytes / kPage + 1, ~std::uint64_t{0}}) {
        EXPECT_EQ(fault(file, index, index).result, STM_FAULT_OUTSIDE);
        EXPECT_EQ(fault(file, index, index, Access::store).result, STM_FAULT_OUTSIDE);
    }
    EXPECT_EQ(cancel(file), 0);
}

} // namespace
} // namespace stm::test
