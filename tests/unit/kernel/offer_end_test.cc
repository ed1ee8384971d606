// SPDX-License-Identifier: GPL-2.0
// Offers end with the descriptor, the program, the thread or the file.
#include "tests/unit/kernel/offer_test.hpp"

#include <thread>

namespace stm::test {
namespace {

TEST_F(Offers, EndWithACloseByAnybody) {
    EXPECT_EQ(simulated::live().pins, 1);
    std::thread([&] { stm_core_flush(file.get(), simulated::still_open()); }).join();
    EXPECT_FALSE(cell.attached()) << "the number may be another file's";
    EXPECT_EQ(simulated::live().pins, 0);
    run(file);
    EXPECT_FALSE(cell.attached());
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(cell.attach(file), 0);
    std::thread([&] { stm_core_flush(file.get(), simulated::still_open()); }).join();
    EXPECT_EQ(commit(file), 0);
    EXPECT_FALSE(cell.attached()) << "also in the middle of a transaction";
}

TEST_F(Offers, BeginWhatACloseByAnotherThreadLetsGoOn) {
    map_it();
    ASSERT_TRUE(cell.begin());
    std::thread([&] { stm_core_flush(file.get(), simulated::still_open()); }).join();
    EXPECT_EQ(load(1), 0u);
    store(2, 3);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(committed(2), 3u);
    EXPECT_FALSE(cell.attached());
}

TEST_F(Offers, BeginWhatTheCloseOfTheLastDescriptorEnds) {
    ASSERT_TRUE(cell.begin());
    stm_core_flush(file.get(), simulated::kLastDescriptor);
    EXPECT_EQ(transaction_of(file).depth, 1u) << "until the thread has been told";
    EXPECT_EQ(commit(file), -ECANCELED);
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_CLOSED], 1u);
}

TEST_F(Offers, EndWithExec) {
    map_it();
    const std::uint64_t starts = statistics_of(file).starts;
    run(file);
    ASSERT_TRUE(cell.begin());
    simulated::exec();
    EXPECT_EQ(transaction_of(file).depth, 0u) << "another program took it";
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(commit(file), 0);
    EXPECT_FALSE(cell.offers()) << "nor is this program's memory known";
    EXPECT_EQ(simulated::live().pins, 0);
    EXPECT_EQ(statistics_of(file).starts, starts + 2);
}

TEST_F(Offers, EndWithTheThread) {
    map_it();
    Cell& own = cell_of_second_thread;
    simulated::OtherThread second;
    {
        const simulated::AsThread it(second);
        run(file);
        EXPECT_EQ(own.attach(file), 0);
        run(file);
        ASSERT_TRUE(own.begin());
    }
    second.end();
    const std::uint64_t starts = statistics_of(other).starts;
    EXPECT_EQ(load(1), 0u) << "outside of any transaction";
    disturb(1);
    EXPECT_EQ(load(1), 77u);
    EXPECT_EQ(statistics_of(other).starts, starts);
    std::thread([&] { run(file); }).join(); // takes its context over
    EXPECT_FALSE(own.attached());
    EXPECT_EQ(simulated::live().pins, 1);
}

TEST_F(Offers, EndWithTheFile) {
    ASSERT_TRUE(cell.begin());
    file.close();
    EXPECT_EQ(simulated::live().pins, 0);
    EXPECT_FALSE(cell.attached());
}

} // namespace
} // namespace stm::test
