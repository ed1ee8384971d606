// SPDX-License-Identifier: GPL-2.0
// What an offer begins, and what the module believes of a cell.
#include "tests/unit/kernel/offer_test.hpp"
#include "tests/unit/kernel/vector_test.hpp"

#include <csignal>

namespace stm::test {
namespace {

TEST_F(Offers, AreTakenAgainAndAgain) {
    const stm_statistics before = statistics_of(other);
    for (int round = 0; round < 5; ++round) {
        ASSERT_TRUE(cell.begin());
        EXPECT_EQ(commit(file), 0);
        EXPECT_EQ(cell.begun(), 0u);
    }
    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(cancel(file), 0);
    EXPECT_TRUE(cell.offers());
    const stm_statistics after = statistics_of(other);
    EXPECT_EQ(after.starts - before.starts, 6u);
    EXPECT_EQ(after.commits - before.commits, 5u);
    EXPECT_EQ(after.read_only - before.read_only, 5u);
    EXPECT_EQ(after.aborts[STM_REASON_CANCEL] - before.aborts[STM_REASON_CANCEL], 1u);
    EXPECT_EQ(commit(file), -EINVAL) << "there is none without one being begun";
}

TEST_F(Offers, BeginWhatEveryCallTakesForATransaction) {
    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(cancel(file, STM_CANCEL_ALL), 0);

    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(start(file), 2) << "nested at once";
    EXPECT_EQ(commit(file), 0);
    EXPECT_FALSE(cell.offers()) << "it goes on";
    EXPECT_EQ(commit(file), 0);

    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(validate(file), 0);
    EXPECT_EQ(commit(file), 0);

    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(wait(file, 0), -EDEADLK) << "nothing was read";
    EXPECT_EQ(commit(file), 0);

    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(start(file, STM_START_RESTART), 1);
    EXPECT_EQ(statistics_of(file).restarts, 1u);
    EXPECT_EQ(commit(file), 0);

    ASSERT_TRUE(cell.begin());
    const std::uint64_t starts = statistics_of(other).starts;
    EXPECT_EQ(statistics_of(file).starts, starts + 1) << "who asks for the numbers has begun";
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Offers, BeginWhatReadAndWriteCallsArePartOf) {
    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(write(file, 0, "abc", 3), 3);
    EXPECT_EQ(read_string(other, 0, 3), std::string(3, '\0')) << "is part of it";
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(read_string(other, 0, 3), "abc");

    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(read_string(file, 0, 3), "abc");
    disturb(0);
    EXPECT_EQ(write(file, kPage, "abc", 3), 3);
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_FALSE(cell.offers()) << "the next one may have to wait";
    run(file);
    EXPECT_TRUE(cell.offers());
}

TEST_F(Offers, BeginWhatVectorsArePartOf) {
    const std::uint64_t value = 5;
    std::uint64_t seen = 0;
    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(Pieces().write(0, &value, 8).read(0, &seen, 8).access(file), 0);
    EXPECT_EQ(seen, 5u);
    EXPECT_EQ(committed(0), 0u) << "is part of it";
    EXPECT_EQ(Pieces().access_and_commit(file), 0);
    EXPECT_EQ(committed(0), 5u);

    ASSERT_TRUE(cell.begin()) << "a commit that went well is followed by an offer";
    EXPECT_EQ(Pieces().write(kPage, &value, 8).access_and_commit(file), 0)
        << "the only call of the transaction";
    EXPECT_EQ(committed(1), 5u);
    EXPECT_TRUE(cell.offers());
    EXPECT_EQ(Pieces().write(2 * kPage, &value, 8).access(file), 0);
    EXPECT_EQ(committed(2), 5u) << "nothing was begun: a call of its own";
}

TEST_F(Offers, AreForTheirSite) {
    EXPECT_EQ(start(file, STM_START_SITE(5)), 1);
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(cell.offers(5));
    EXPECT_FALSE(cell.begin(6));
    EXPECT_TRUE(cell.begin(5));
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(cell.offers(5)) << "it was that site again";
}

TEST_F(Offers, AreNotMadeWherePagesWouldBeMapped) {
    map_it();
    EXPECT_EQ(start(file, STM_START_SITE(5)), 1);
    load(1);
    EXPECT_EQ(commit(file), 0);
    EXPECT_FALSE(cell.offers(5));
    settings.predicted_pages = 0;
    EXPECT_EQ(start(file, STM_START_SITE(5)), 1);
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(cell.begin(5));
    load(1);
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(cell.offers(5)) << "nothing is";
}

TEST_F(Offers, LetPredictionLearn) {
    map_it();
    EXPECT_EQ(start(file, STM_START_SITE(5)), 1);
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(cell.begin(5));
    load(1);
    EXPECT_EQ(commit(file), 0);
    EXPECT_FALSE(cell.offers(5));
    EXPECT_EQ(start(file, STM_START_SITE(5)), 1);
    EXPECT_NE(simulated::mapped_page(file.view(), 1), nullptr);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Offers, AreNotMadeInAMutexRegion) {
    Cell own;
    File mutex = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    EXPECT_EQ(start(mutex), 1);
    EXPECT_EQ(own.attach(mutex), 0);
    EXPECT_EQ(commit(mutex), 0);
    EXPECT_TRUE(own.attached());
    EXPECT_FALSE(own.offers());
}

TEST_F(Offers, CarryTheSignal) {
    run(file);
    EXPECT_EQ(cell.attach(file, SIGUSR1), 0);
    run(file);
    ASSERT_TRUE(cell.begin());
    EXPECT_EQ(read_string(file, 0, 1), std::string(1, '\0'));
    disturb(0);
    simulated::run_timers();
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{SIGUSR1});
    EXPECT_EQ(validate(file), -EAGAIN);
    EXPECT_EQ(cancel(file), 0);
}

class Cells : public Offers {
protected:
    const std::uint64_t place = reinterpret_cast<std::uint64_t>(&cell);

    long attach(std::uint64_t address, std::uint32_t signal = 0) {
        stm_cell argument{};
        argument.address = address;
        argument.signal = signal;
        return request(file, STM_IOC_CELL, argument);
    }
};

TEST_F(Cells, AreRefusedWhereTheyCannotBePinned) {
    EXPECT_EQ(attach(place + 8), -EINVAL);
    EXPECT_EQ(attach(16), -EFAULT);
    {
        const simulated::ReadOnlyMemory constant(&cell, sizeof(cell));
        EXPECT_EQ(attach(place), -EFAULT);
    }
    {
        const simulated::UnpinnableMemory file_memory;
        EXPECT_EQ(attach(place), -EINVAL);
    }
}

TEST_F(Cells, AreRefusedWithArgumentsThatAreNotKnown) {
    EXPECT_EQ(attach(place, 65), -EINVAL);
    stm_cell wrong{};
    wrong.flags = 2;
    EXPECT_EQ(request(file, STM_IOC_CELL, wrong), -EINVAL);
    wrong.flags = 0;
    wrong.reserved = 1;
    EXPECT_EQ(request(file, STM_IOC_CELL, wrong), -EINVAL);
    Cell strange;
    EXPECT_EQ(strange.attach(other), -EINVAL) << "no transaction yet";
}

TEST_F(Cells, StayAttachedWhenTheNextOneCannotBe) {
    std::size_t failures = 0;
    for (std::size_t nth = 1;; ++nth) {
        const FailPoint point(nth);
        const long result = attach(place);
        if (point.happened() == Failure::none) {
            EXPECT_EQ(result, 0);
            break;
        }
        EXPECT_EQ(result, simulated::errno_of(point.happened()));
        EXPECT_TRUE(cell.attached());
        ++failures;
    }
    EXPECT_GE(failures, 2u);
    EXPECT_EQ(simulated::live().pins, 1) << "one in the place of the other";
}

TEST_F(Cells, AreTakenAwayByAnAddressOfNull) {
    EXPECT_EQ(attach(0), 0);
    EXPECT_FALSE(cell.attached());
    EXPECT_EQ(simulated::live().pins, 0);
    run(file);
    EXPECT_FALSE(cell.attached());
}

// Whatever stands in the cell harms only the thread's own transactions.
TEST_F(Offers, BelieveNothing) {
    map_it();
    run(file);
    cell.scribble(STM_CELL_ATTACHED, ~std::uint64_t{0});
    EXPECT_EQ(load(1), 0u) << "begun with a site that nobody offered";
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(commit(file), 0);
    cell.scribble(0, 0);
    run(file);
    EXPECT_TRUE(cell.offers());
    EXPECT_EQ(load(1), 0u);
    cell.scribble(STM_CELL_OFFER(0), STM_CELL_OFFER(0));
    EXPECT_EQ(transaction_of(file).depth, 0u) << "nothing was offered";
    EXPECT_EQ(commit(file), -EINVAL);
    EXPECT_EQ(start(file), 1);
    cell.scribble(1, 2);
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(cancel(file, STM_CANCEL_ALL), 0);
    cell.scribble(3, 4);
    EXPECT_EQ(transaction_of(file).depth, 1u) << "an offer stood: it is its own fault";
    EXPECT_EQ(commit(file), 0);
}

} // namespace
} // namespace stm::test
