// SPDX-License-Identifier: GPL-2.0
// Offers and the view of the mappings: a load outside of transactions and another thread's
// transaction take an offer back.
#include "tests/unit/kernel/offer_test.hpp"

#include <atomic>
#include <thread>

namespace stm::test {
namespace {

TEST_F(Offers, BeginWithTheView) {
    map_it();
    for (std::uint64_t round = 1; round < 4; ++round) {
        ASSERT_TRUE(cell.begin());
        EXPECT_EQ(load(1), round - 1);
        EXPECT_EQ(load(2), 0u);
        store(1, round);
        EXPECT_EQ(committed(1), round - 1);
        EXPECT_EQ(commit(file), 0);
        EXPECT_EQ(committed(1), round);
        EXPECT_EQ(simulated::mapped_page(file.view(), 1), nullptr);
    }
    ASSERT_TRUE(cell.begin());
    store(3, 5);
    disturb(3);
    EXPECT_EQ(commit(file), -EAGAIN) << "what was touched is tracked";
}

TEST_F(Offers, AreTakenBackByALoadOutside) {
    map_it();
    EXPECT_TRUE(cell.offers());
    EXPECT_EQ(load(1), 0u);
    EXPECT_FALSE(cell.offers());
    EXPECT_FALSE(cell.begin());
    disturb(1);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(simulated::mapped_page(file.view(), 1), nullptr) << "the start has unmapped it";
    EXPECT_EQ(load(1), 77u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(cell.offers());
    const Fault refused = fault(file, 1, 1, Access::store);
    EXPECT_EQ(refused.result, STM_FAULT_FORBIDDEN) << "outside";
}

TEST_F(Offers, AreNotMadeAfterALoadOutsideDuringTheCommit) {
    map_it();
    for (EachMoment moment; moment.next();) {
        ASSERT_EQ(start(file), 1);
        store(1, moment.step());
        moment.in_the_middle([&] { std::thread([&] { load(2); }).join(); },
                             [&] { EXPECT_EQ(commit(file), 0); });
        // Either the load was the transaction's, or nothing is offered that it has spoilt.
        EXPECT_FALSE(cell.offers() && simulated::mapped_page(file.view(), 2) != nullptr);
    }
}

TEST_F(Offers, GiveALoadOfAnotherThreadToTheTransaction) {
    map_it();
    ASSERT_TRUE(cell.begin());
    std::thread([&] { EXPECT_EQ(load(1), 0u); }).join();
    EXPECT_EQ(cell.begun(), 0u) << "the module knows it";
    disturb(1);
    EXPECT_EQ(load(1), 0u) << "the snapshot";
    store(2, 1);
    EXPECT_EQ(commit(file), -EAGAIN);
}

TEST_F(Offers, StandWhenAnotherProcessLoads) {
    map_it();
    Process child(7, kRoot);
    {
        const As it(child);
        EXPECT_EQ(load(1), 0u);
        simulated::unmap_own(file.view());
    }
    EXPECT_TRUE(cell.begin());
    EXPECT_EQ(load(1), 0u);
    disturb(1);
    EXPECT_EQ(load(1), 0u);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Offers, DoNotLetTwoThreadsHaveTheView) {
    map_it();
    ASSERT_TRUE(cell.begin());
    std::thread([&] { EXPECT_EQ(start(file), -EBUSY); }).join();
    EXPECT_EQ(commit(file), 0);
    EXPECT_TRUE(cell.offers());
    std::thread([&] {
        EXPECT_EQ(start(file), 1);
        EXPECT_FALSE(cell.offers()) << "taken back";
        std::thread([&] { EXPECT_EQ(start(file), -EBUSY); }).join();
        EXPECT_EQ(load(1), 0u);
        EXPECT_EQ(commit(file), 0);
    }).join();
    run(file);
    EXPECT_TRUE(cell.begin());
    EXPECT_EQ(commit(file), 0);
}

TEST_F(Offers, AreNotMadeWhileAnotherThreadHasTheView) {
    map_it();
    simulated::OtherThread second;
    for (EachMoment moment; moment.next();) {
        run(file);
        ASSERT_TRUE(cell.begin());
        long began = 0;
        const auto start_another = [&] {
            const simulated::AsThread it(second);
            began = start(file);
        };
        moment.in_the_middle(start_another, [&] { EXPECT_EQ(commit(file), 0); });
        EXPECT_TRUE(!moment.happened() || began == 1 || began == -EBUSY) << began;
        EXPECT_FALSE(began == 1 && cell.offers());
        if (began == 1) {
            const simulated::AsThread it(second);
            EXPECT_EQ(commit(file), 0);
        }
    }
}

TEST_F(Offers, AreNotMadeToTwoThreadsOfTheView) {
    map_it();
    simulated::OtherThread second;
    Cell& own = cell_of_second_thread;
    {
        const simulated::AsThread it(second);
        EXPECT_EQ(start(file), 1);
        EXPECT_EQ(own.attach(file), 0);
        EXPECT_EQ(commit(file), 0);
    }
    std::size_t granted = 0;
    for (EachMoment moment; moment.next();) {
        ASSERT_EQ(start(file), 1);
        EXPECT_FALSE(own.offers());
        const auto run_another = [&] {
            const simulated::AsThread it(second);
            if (start(file) == 1) {
                EXPECT_EQ(commit(file), 0);
            }
        };
        moment.in_the_middle(run_another, [&] { EXPECT_EQ(commit(file), 0); });
        EXPECT_FALSE(cell.offers() && own.offers());
        granted += own.offers();
    }
    EXPECT_GT(granted, 0u) << "it never came in between";
}

TEST_F(Offers, LeaveThreadsAloneThatUseCalls) {
    std::thread([&] {
        Cell& own = cell_of_second_thread;
        EXPECT_EQ(start(file), 1);
        EXPECT_EQ(own.attach(file), 0);
        EXPECT_EQ(commit(file), 0);
        EXPECT_TRUE(own.begin());
        EXPECT_EQ(write(file, 0, "abc", 3), 3);
        EXPECT_EQ(commit(file), 0);
    }).join();
    EXPECT_TRUE(cell.offers());
}

TEST_F(Offers, GiveTheViewToWhatRunsAtTheFirstMapping) {
    ASSERT_TRUE(cell.begin());
    ASSERT_EQ(map(file, 0, kPages, STM_MAP_WRITE), 0);
    EXPECT_EQ(load(1), 0u);
    disturb(1);
    EXPECT_EQ(load(1), 0u);
    store(2, 1);
    EXPECT_EQ(commit(file), -EAGAIN);
}

TEST_F(Offers, OfTwoThreadsEndWithTheFirstMappingWhereverThatIs) {
    Process child(7, kRoot);
    std::thread([&] {
        Cell& own = cell_of_second_thread;
        EXPECT_EQ(start(file), 1);
        EXPECT_EQ(own.attach(file), 0);
        EXPECT_EQ(commit(file), 0);
        EXPECT_TRUE(own.offers() && cell.offers()) << "there is no view yet";
        {
            const As it(child);
            EXPECT_EQ(map(file, 0, kPages, STM_MAP_WRITE), 0);
        }
        EXPECT_FALSE(own.offers() || cell.offers());
    }).join();
}

// The context of a thread that has ended goes to one of another process, where a page that was
// found before that thread looked is mapped after it.
TEST_F(Offers, AreNotMadeByWhatAThreadOfAnotherProcessHasSeen) {
    map_it();
    Process child(7, kRoot);
    simulated::OtherThread second;
    stm_fault found{};
    found.index = 1;
    found.last = 1;
    found.address = simulated::address_of(1);
    {
        const As it(child);
        found.memory = simulated::current_memory();
        ASSERT_EQ(stm_core_transactional_fault(file.get(), &found), STM_FAULT_MAP);
    }
    {
        const simulated::AsThread it(second);
        run(file);
    }
    second.end();
    const As it(child);
    simulated::map_page(file.view(), 1, found.pages[0], false);
    std::thread([&] {
        const As also(child);
        EXPECT_EQ(start(file), 1);
        EXPECT_EQ(simulated::mapped_page(file.view(), 1), nullptr);
        EXPECT_EQ(commit(file), 0);
    }).join();
}

// A thread that begins by offers, and others of its process that load all the time: what it sees is
// of one snapshot.
TEST_F(Offers, KeepOpacityBesideThreadsThatLoad) {
    map_it();
    std::atomic<bool> done{false};
    std::thread loader([&] {
        while (!done)
            fault(file, 5, 5);
    });
    std::thread writer([&] {
        for (std::uint64_t value = 1; !done; ++value) {
            while (true) {
                EXPECT_EQ(start(other), 1);
                UserBuffer first(&value, sizeof(value));
                UserBuffer second(&value, sizeof(value));
                EXPECT_GT(stm_core_write(other.get(), first.get(), 1 * kPage), 0);
                EXPECT_GT(stm_core_write(other.get(), second.get(), 2 * kPage), 0);
                if (commit(other) == 0)
                    break;
            }
        }
    });
    for (int round = 0; round < 500; ++round) {
        if (!cell.begin()) {
            EXPECT_EQ(start(file), 1);
        }
        const Fault first = fault(file, 1, 1);
        const Fault second = fault(file, 2, 2);
        if (first.result == STM_FAULT_MAP && second.result == STM_FAULT_MAP) {
            EXPECT_EQ(*word(first), *word(second));
        }
        const long ended = commit(file);
        EXPECT_TRUE(ended == 0 || ended == -EAGAIN) << ended;
    }
    done = true;
    loader.join();
    writer.join();
}

} // namespace
} // namespace stm::test
