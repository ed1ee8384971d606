// SPDX-License-Identifier: GPL-2.0
// Pages that are mapped at the start of a transaction because those before it touched them; and the
// limits of what a transaction may touch.
#include "tests/unit/kernel/two_handles.hpp"

#include <csignal>
#include <initializer_list>
#include <thread>

namespace stm::test {
namespace {

class Predictions : public TwoHandles<400> {
protected:
    static constexpr std::uint64_t kSite = STM_START_SITE(0x1234'5678);

    void SetUp() override { ASSERT_EQ(map(file, 0, kPages, STM_MAP_WRITE), 0); }

    struct Touch {
        std::uint64_t page;
        Access access = Access::load;
        std::uint64_t value = 1;
    };
    // Whether the program could do it.
    bool touch(const Touch& what) {
        const Fault found = fault(file, what.page, what.page, what.access);
        if (found.result != STM_FAULT_MAP)
            return false;
        if (what.access == Access::store)
            *word(found) = what.value;
        return true;
    }
    // One transaction, and how many faults it had.
    std::uint64_t run(std::initializer_list<Touch> touches, std::uint64_t argument = kSite) {
        const std::uint64_t before = faults();
        EXPECT_EQ(start(file, argument), 1);
        for (const Touch& what : touches)
            EXPECT_TRUE(touch(what));
        EXPECT_EQ(commit(file), 0);
        return faults() - before;
    }
    std::uint64_t faults() {
        const stm_statistics now = statistics_of(file);
        return now.load_faults + now.store_faults;
    }
    bool mapped(std::uint64_t page) { return simulated::mapped_page(file.view(), page) != nullptr; }
};

TEST_F(Predictions, MakeASteadyTransactionFreeOfFaults) {
    const std::initializer_list<Touch> touches = {{9}, {3, Access::store}, {4}, {200}};
    EXPECT_EQ(run(touches), 4u);
    for (int round = 0; round < 5; ++round)
        EXPECT_EQ(run(touches), 0u);
    const stm_statistics now = statistics_of(file);
    EXPECT_EQ(now.load_faults, 3u);
    EXPECT_EQ(now.store_faults, 1u);
    EXPECT_EQ(now.predicted_used, 20u);
    EXPECT_EQ(now.predicted_unused, 0u);
    for (const std::uint64_t page : {9, 3, 4, 200})
        EXPECT_FALSE(mapped(page)) << page;
}

TEST_F(Predictions, DoNotChangeWhatIsSeenAndWritten) {
    for (std::uint64_t value = 1; value < 6; ++value) {
        disturb(9, value);
        EXPECT_EQ(start(file, kSite), 1);
        EXPECT_EQ(load(9), value);
        EXPECT_TRUE(touch({3, Access::store, value * 10}));
        EXPECT_EQ(commit(file), 0);
        std::uint64_t stored = 0;
        EXPECT_EQ(read(other, 3 * kPage, &stored, sizeof(stored)), long{sizeof(stored)});
        EXPECT_EQ(stored, value * 10);
    }
}

TEST_F(Predictions, AreOfTheirSite) {
    EXPECT_EQ(run({{1}, {2}}, STM_START_SITE(1)), 2u);
    EXPECT_EQ(run({{3}}, STM_START_SITE(2)), 1u);
    EXPECT_EQ(run({{1}, {2}}, STM_START_SITE(1)), 0u);
    EXPECT_EQ(run({{3}}, STM_START_SITE(2)), 0u);
    EXPECT_EQ(statistics_of(file).predicted_unused, 0u);
}

TEST_F(Predictions, AreOfTheLastSites) {
    for (std::uint64_t site = 1; site <= 100; ++site)
        EXPECT_EQ(run({{site}}, STM_START_SITE(site)), 1u);
    EXPECT_EQ(run({{100}}, STM_START_SITE(100)), 0u);
    EXPECT_EQ(run({{1}}, STM_START_SITE(1)), 1u) << "forgotten";
}

TEST_F(Predictions, AreOfTheirThread) {
    EXPECT_EQ(run({{1}}), 1u);
    std::thread([&] { EXPECT_EQ(run({{1}}), 1u); }).join();
    std::thread([&] {
        EXPECT_EQ(run({{1}}), 1u) << "of the context of a thread that ended";
    }).join();
    EXPECT_EQ(run({{1}}), 0u);
}

TEST_F(Predictions, ForgetWhatIsTouchedNoMore) {
    for (int round = 0; round < 4; ++round)
        run({{1}, {2}});
    EXPECT_EQ(run({{3}, {4}}), 2u);
    for (int round = 0; round < 10; ++round)
        EXPECT_EQ(run({{3}, {4}}), 0u);
    EXPECT_EQ(statistics_of(file).predicted_unused, 4u) << "twice each";
}

TEST_F(Predictions, LearnThatAPageIsStoredTo) {
    run({{1}});
    EXPECT_EQ(run({{1}}), 0u);
    EXPECT_EQ(run({{1}, {1, Access::store, 2}}), 1u);
    EXPECT_EQ(run({{1}, {1, Access::store, 3}}), 1u) << "once is no habit";
    EXPECT_EQ(run({{1}, {1, Access::store, 4}}), 0u);
    for (int round = 0; round < 4; ++round)
        EXPECT_EQ(run({{1}}), 0u);
    EXPECT_EQ(start(file, kSite), 1);
    EXPECT_FALSE(simulated::touch(file.view(), 1, true)) << "mapped for loads again";
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(Predictions, GiveUpPagesForWhichTheyDoNotPay) {
    // Three pages are always touched, another one at random.
    for (std::uint64_t round = 0; round < 100; ++round)
        run({{0}, {1}, {2}, {3 + round * 37 % (kPages - 3)}});
    const stm_statistics now = statistics_of(file);
    EXPECT_GE(now.predicted_used, 3 * 95u);
    EXPECT_LE(now.predicted_unused, 6u);
    EXPECT_EQ(run({{0}, {1}, {2}, {5}}), 1u);
    for (int round = 0; round < 3; ++round)
        run({{0}, {1}, {2}, {5}});
    EXPECT_EQ(run({{0}, {1}, {2}, {5}}), 0u) << "and begin again where they would";
}

// The store has its fault all the same.
TEST_F(Predictions, AreNotMadeForLongOfASinglePageForLoadsThatIsRarelyStoredTo) {
    for (std::uint64_t round = 0; round < 60; ++round) {
        run({{1}});
        run({{1}});
        run({{1}, {1, Access::store, round}});
    }
    for (int round = 0; round < 20; ++round)
        EXPECT_EQ(run({{1}}), 1u);
}

// To map it before costs more than its fault.
TEST_F(Predictions, AreNotMadeForLongOfASinglePageThatIsOnlyLoaded) {
    for (int round = 0; round < 40; ++round)
        run({{1}});
    for (int round = 0; round < 20; ++round)
        EXPECT_EQ(run({{1}}), 1u);
    for (int round = 0; round < 5000; ++round)
        run({{1}});
    EXPECT_LE(statistics_of(file).predicted_used, 8 * 40u);
    for (int round = 0; round < 100; ++round)
        EXPECT_EQ(run({{3, Access::store}}, STM_START_SITE(9)), round == 0 ? 1u : 0u)
            << "another site has pauses of its own, and stores are worth more";
}

// Where pages are chosen at random a prediction costs more than it saves.
class RandomPages : public Predictions {
protected:
    static constexpr std::uint64_t kTable = 64;
    // Loads 20 of the table's pages.
    std::uint64_t run_at_random() {
        const std::uint64_t before = faults();
        EXPECT_EQ(start(file, kSite), 1);
        for (int turn = 0; turn < 20; ++turn) {
            random_ = random_ * 6364136223846793005u + 1442695040888963407u;
            EXPECT_TRUE(touch_if_unmapped((random_ >> 33) % kTable));
        }
        EXPECT_EQ(commit(file), 0);
        return faults() - before;
    }
    std::uint64_t predicted() {
        const stm_statistics now = statistics_of(file);
        return now.predicted_used + now.predicted_unused;
    }

private:
    bool touch_if_unmapped(std::uint64_t page) {
        return simulated::touch(file.view(), page, false) || touch({page});
    }
    std::uint64_t random_ = 1;
};

TEST_F(RandomPages, AreHardlyPredictedAfterAWhile) {
    for (int round = 0; round < 1000; ++round)
        run_at_random();
    const std::uint64_t before = predicted();
    for (int round = 0; round < 5000; ++round)
        run_at_random();
    EXPECT_LE(predicted() - before, 5 * 5 * kTable) << "a few trials of a few transactions";
}

TEST_F(RandomPages, ThatBecomeSteadyArePredictedAgain) {
    for (int round = 0; round < 1000; ++round)
        run_at_random();
    int rounds = 0;
    while (rounds < 5000 && run({{1}, {2}, {70}, {90}}) != 0)
        ++rounds;
    EXPECT_LT(rounds, 5000);
    for (int round = 0; round < 100; ++round)
        EXPECT_EQ(run({{1}, {2}, {70}, {90}}), 0u);
}

TEST_F(Predictions, AreOfNoMorePagesThanTheParameterSays) {
    settings.predicted_pages = 3;
    run({{1}, {2}, {3}, {4}, {5}});
    EXPECT_EQ(run({{1}, {2}, {3}, {4}, {5}}), 2u);
    settings.predicted_pages = 1000;
    const auto run_many = [&] {
        const std::uint64_t before = faults();
        EXPECT_EQ(start(file, kSite), 1);
        for (std::uint64_t page = 0; page < 300; ++page)
            EXPECT_TRUE(touch({page}));
        EXPECT_EQ(commit(file), 0);
        return faults() - before;
    };
    run_many();
    EXPECT_EQ(run_many(), 300u - 256u);
    settings.predicted_pages = 10;
    EXPECT_EQ(run_many(), 290u);
}

TEST_F(Predictions, CanBeSwitchedOff) {
    run({{1}});
    EXPECT_EQ(run({{1}}, kSite | STM_START_NO_PREDICTION), 1u) << "by a flag";
    EXPECT_EQ(run({{1}}, 0), 1u) << "without a site";
    settings.predicted_pages = 0;
    EXPECT_EQ(run({{1}}), 1u) << "by the parameter";
    EXPECT_EQ(run({{1}}), 1u);
    settings.predicted_pages = 64;
    EXPECT_EQ(run({{1}}), 0u);
    EXPECT_EQ(statistics_of(file).predicted_used, 1u);
}

TEST_F(Predictions, MapThePagesOfAFailedTry) {
    EXPECT_EQ(start(file, kSite), 1);
    EXPECT_TRUE(touch({1}));
    EXPECT_TRUE(touch({2, Access::store}));
    disturb(1);
    EXPECT_EQ(commit(file), -EAGAIN);
    const std::uint64_t before = faults();
    EXPECT_EQ(start(file, kSite | STM_START_RESTART), 1);
    EXPECT_TRUE(touch({1}));
    EXPECT_TRUE(touch({2, Access::store}));
    EXPECT_EQ(load(1), 77u);
    EXPECT_EQ(faults(), before);
    disturb(1, 78);
    EXPECT_EQ(validate(file), -EAGAIN);
    EXPECT_EQ(start(file, kSite | STM_START_RESTART), 1);
    EXPECT_TRUE(mapped(1));
    EXPECT_TRUE(touch({2, Access::store, 5}));
    EXPECT_EQ(load(1), 78u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(faults(), before);
    std::uint64_t stored = 0;
    EXPECT_EQ(read(other, 2 * kPage, &stored, sizeof(stored)), long{sizeof(stored)});
    EXPECT_EQ(stored, 5u);
}

TEST_F(Predictions, AreOfTheSnapshot) {
    run({{1}, {2}});
    EXPECT_EQ(start(file, kSite | STM_START_SIGNAL(SIGUSR1)), 1);
    EXPECT_EQ(load(1), 0u);
    disturb(2);
    disturb(3);
    EXPECT_EQ(load(2), 0u) << "it was copied at the start";
    EXPECT_EQ(fault(file, 3, 3).result, STM_FAULT_FORBIDDEN) << "is not of that snapshot";
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{SIGUSR1});
    EXPECT_EQ(commit(file), -EAGAIN);
}

TEST_F(Predictions, ThatBringConflictsStop) {
    run({{1}, {2}});
    run({{1}, {2}});
    // From now on page 2 is not touched, but changed by others in the meantime.
    int conflicts = 0;
    for (std::uint64_t round = 0; round < 20; ++round) {
        EXPECT_EQ(start(file, kSite | (round != 0 ? STM_START_RESTART : 0)), 1);
        EXPECT_TRUE(touch({1, Access::store, round}));
        disturb(2, round);
        conflicts += commit(file) == 0 ? 0 : 1;
    }
    EXPECT_GE(conflicts, 1);
    EXPECT_LE(conflicts, 3);
}

TEST_F(Predictions, DoNotWriteWhatWasNotStored) {
    run({{1, Access::store, 5}});
    run({{1, Access::store, 6}});
    const auto before = statistics_of(file).read_only;
    EXPECT_EQ(start(file, kSite), 1);
    EXPECT_TRUE(mapped(1));
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(statistics_of(file).read_only, before + 1);
}

TEST_F(Predictions, ThatNobodyTouchedAreNothingToWaitFor) {
    run({{3}, {4, Access::store}});
    EXPECT_EQ(start(file, kSite), 1);
    EXPECT_TRUE(mapped(3));
    EXPECT_EQ(wait(file), -EDEADLK);
    EXPECT_EQ(transaction_of(file).depth, 1u) << "it is not over";
    EXPECT_TRUE(mapped(3));
    EXPECT_TRUE(touch({3}));
    EXPECT_EQ(commit(file), 0);
    const stm_statistics now = statistics_of(file);
    EXPECT_EQ(now.predicted_used, 1u);
    EXPECT_EQ(now.predicted_unused, 1u);
}

TEST_F(Predictions, ThatWereReadByCallsAreUsed) {
    run({{3}});
    EXPECT_EQ(start(file, kSite), 1);
    std::uint64_t number = 0;
    EXPECT_EQ(read(file, 3 * kPage, &number, sizeof(number)), long{sizeof(number)});
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(statistics_of(file).predicted_used, 1u);
}

TEST_F(Predictions, OfMappingsThatAreElsewhereNowAreLeftOut) {
    run({{1}, {2}});
    {
        const simulated::MappingsMoved moved;
        EXPECT_EQ(start(file, kSite), 1);
        EXPECT_FALSE(mapped(1));
        EXPECT_EQ(cancel(file), 0);
    }
    EXPECT_EQ(statistics_of(file).predicted_unused, 0u);
}

TEST_F(Predictions, OfAnotherAddressSpaceAreLeftOut) {
    run({{1}});
    Process child(200, kRoot, "child");
    const As now(child);
    EXPECT_EQ(start(file, kSite), 1);
    EXPECT_TRUE(touch({1}));
    EXPECT_EQ(commit(file), 0);
    simulated::unmap_all(file.view());
}

TEST_F(Predictions, GoWithNestedParts) {
    const auto nested = [&](bool keep) {
        const std::uint64_t before = faults();
        EXPECT_EQ(start(file, kSite), 1);
        EXPECT_TRUE(touch({1, Access::store, 10}));
        EXPECT_EQ(start(file, kSite), 2);
        EXPECT_TRUE(touch({2, Access::store, 20}));
        EXPECT_TRUE(touch({1, Access::store, 11}));
        EXPECT_EQ(keep ? commit(file) : cancel(file), 0);
        EXPECT_EQ(load(1), keep ? 11u : 10u);
        EXPECT_EQ(load(2), keep ? 20u : 0u);
        EXPECT_EQ(cancel(file), 0);
        return faults() - before;
    };
    nested(true);
    EXPECT_EQ(nested(true), 0u);
    EXPECT_EQ(nested(false), 0u);
}

TEST_F(Predictions, AllocateNothingInTheSteadyState) {
    const auto run_all = [&] {
        EXPECT_EQ(start(file, kSite), 1);
        for (std::uint64_t page = 0; page < 60; ++page)
            EXPECT_TRUE(touch({page, page % 2 == 0 ? Access::load : Access::store, page}));
        EXPECT_EQ(commit(file), 0);
    };
    for (int round = 0; round < 3; ++round)
        run_all();
    const auto pages = simulated::pages_allocated();
    const auto live = simulated::live();
    for (int round = 0; round < 10; ++round)
        run_all();
    EXPECT_EQ(simulated::pages_allocated(), pages);
    EXPECT_EQ(simulated::live(), live);
}

TEST_F(Predictions, WithoutMemoryAreSimplyLess) {
    std::size_t points = 0;
    for (;; ++points) {
        SCOPED_TRACE(testing::Message() << "point " << points + 1);
        const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kPages * kPage, 0});
        ASSERT_EQ(map(fresh, 0, kPages, STM_MAP_WRITE), 0);
        const auto touch_all = [&] {
            for (std::uint64_t page = 0; page < 40; ++page) {
                const Fault found = fault(fresh, page * 2, page * 2, Access::store);
                ASSERT_EQ(found.result, STM_FAULT_MAP);
                *word(found) += 1;
            }
        };
        ASSERT_EQ(start(fresh, kSite), 1);
        touch_all();
        ASSERT_EQ(commit(fresh), 0);
        Failure failure = Failure::none;
        {
            const FailPoint point(points + 1);
            EXPECT_EQ(start(fresh, kSite), 1);
            failure = point.happened();
        }
        touch_all();
        EXPECT_EQ(commit(fresh), 0);
        std::uint64_t value = 0;
        EXPECT_EQ(read(fresh, 78 * kPage, &value, sizeof(value)), long{sizeof(value)});
        EXPECT_EQ(value, 2u);
        simulated::unmap_all(fresh.view());
        EXPECT_EQ(destroy_handle(fresh, STM_DESTROY_DEFERRED), 0);
        if (failure == Failure::none)
            break;
    }
    std::printf("[  points  ] %-34s %zu\n", "a predicted start", points);
    EXPECT_GE(points, 10u);
}

// -- Limits --

TEST_F(Predictions, DoNotCountForTheLimit) {
    settings.max_stripes = 20 * 64;
    const File fresh = open(control, "tx", kOpen, {0, 0, 0});
    ASSERT_EQ(map(fresh, 0, kPages, STM_MAP_WRITE), 0);
    const auto run_from = [&](std::uint64_t first, std::uint64_t count) {
        EXPECT_EQ(start(fresh, kSite), 1);
        for (std::uint64_t page = first; page < first + count; ++page)
            EXPECT_EQ(fault(fresh, page, page).result, STM_FAULT_MAP) << page;
        return commit(fresh);
    };
    EXPECT_EQ(run_from(0, 20), 0);
    EXPECT_EQ(run_from(100, 20), 0) << "beside twenty others that were guessed wrong";
}

TEST_F(Predictions, ATransactionThatTouchesTooMuchCanNotCommit) {
    settings.max_stripes = 20 * 64;
    const File fresh = open(control, "tx", kOpen, {0, 0, 0});
    ASSERT_EQ(map(fresh, 0, kPages, STM_MAP_WRITE), 0);
    EXPECT_EQ(start(fresh), 1);
    std::uint64_t page = 0;
    while (page < 50 && fault(fresh, page, page, Access::store).result == STM_FAULT_MAP)
        ++page;
    EXPECT_EQ(page, 21u);
    EXPECT_EQ(validate(fresh), -E2BIG);
    EXPECT_EQ(transaction_of(fresh).doom, unsigned{STM_REASON_TOO_BIG});
    EXPECT_EQ(commit(fresh), -E2BIG);
    EXPECT_EQ(transaction_of(fresh).depth, 0u);
    EXPECT_EQ(transaction_of(fresh).doom, unsigned{STM_REASON_NONE});
    EXPECT_EQ(transaction_of(fresh).last_reason, unsigned{STM_REASON_TOO_BIG});
    EXPECT_EQ(statistics_of(fresh).aborts[STM_REASON_TOO_BIG], 1u);
    EXPECT_EQ(start(fresh), 1);
    EXPECT_EQ(fault(fresh, 0, 0, Access::store).result, STM_FAULT_MAP);
    EXPECT_EQ(commit(fresh), 0);
}

TEST_F(Predictions, ATransactionWithoutMemoryCanNotCommit) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(touch({1, Access::store, 5}));
    for (int time = 0; time < 3; ++time) {
        const FailPoint point(1);
        EXPECT_EQ(fault(file, 2, 2).result, STM_FAULT_AGAIN);
    }
    EXPECT_EQ(validate(file), 0);
    {
        const FailPoint point(1);
        EXPECT_EQ(fault(file, 2, 2).result, STM_FAULT_NO_MEMORY);
    }
    EXPECT_EQ(validate(file), -ENOMEM);
    EXPECT_FALSE(touch({2})) << "there is memory again, but it is over";
    EXPECT_EQ(commit(file), -ENOMEM);
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_NO_MEMORY], 1u);
    EXPECT_EQ(load(1), 0u);
}

TEST_F(Predictions, AnotherThreadsFaultDoesNotEndATransaction) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(touch({1, Access::store, 5}));
    std::thread([&] {
        const FailPoint point(1);
        EXPECT_EQ(fault(file, 2, 2).result, STM_FAULT_NO_MEMORY);
    }).join();
    EXPECT_EQ(validate(file), 0);
    EXPECT_EQ(commit(file), 0);
}

} // namespace
} // namespace stm::test
