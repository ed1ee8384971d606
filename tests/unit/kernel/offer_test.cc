// SPDX-License-Identifier: GPL-2.0
// Transactions that begin without a system call: the thread takes an offer that the module made in
// the thread's own memory.
#include "tests/unit/kernel/kernel_test.hpp"

#include <atomic>
#include <csignal>
#include <thread>

namespace stm::test {
namespace {

// A thread's cell, used as <stm/ioctl.h> says.
class Cell {
public:
    long attach(const File& file, unsigned signal = 0) {
        stm_cell argument{};
        argument.address = reinterpret_cast<std::uint64_t>(&words_);
        argument.signal = signal;
        return request(file, STM_IOC_CELL, argument);
    }
    std::uint64_t offer() { return std::atomic_ref(words_.offer).load(); }
    std::uint64_t begun() { return std::atomic_ref(words_.begun).load(); }
    bool attached() { return offer() != 0; }
    bool offers(std::uint32_t site = 0) { return offer() == STM_CELL_OFFER(site); }
    // Begins a transaction, if that is possible without a system call.
    bool begin(std::uint32_t site = 0) {
        if (!offers(site))
            return false;
        std::atomic_ref(words_.begun).store(STM_CELL_OFFER(site));
        return offers(site) || std::atomic_ref(words_.begun).exchange(0) == 0;
    }
    // What no library does.
    void scribble(std::uint64_t offer, std::uint64_t begun) {
        std::atomic_ref(words_.offer).store(offer);
        std::atomic_ref(words_.begun).store(begun);
    }

private:
    alignas(sizeof(stm_start_cell)) stm_start_cell words_{};
};

class Offers : public KernelTest {
protected:
    static constexpr std::uint64_t kPages = 16;
    File file = open(control, "tx", kCreate, {kPages * kPage, 0});
    File other = open(control, "tx", kOpen, {0, 0, 0});
    Cell cell;
    Cell cell_of_second_thread; // outlives the file, which writes to it when it is closed

    void SetUp() override {
        ASSERT_EQ(start(file), 1);
        ASSERT_EQ(cell.attach(file), 0);
        ASSERT_EQ(commit(file), 0);
        ASSERT_TRUE(cell.offers());
    }
    // The first mapping takes the offer back.
    void map_it() {
        ASSERT_EQ(map(file, 0, kPages, STM_MAP_WRITE), 0);
        EXPECT_FALSE(cell.offers());
        run(file);
    }
    // One by system calls: after it, nothing stands against the next offer.
    void run(const File& by) {
        EXPECT_EQ(start(by), 1);
        EXPECT_EQ(commit(by), 0);
    }
    static std::uint64_t* word(const Fault& found) {
        return reinterpret_cast<std::uint64_t*>(simulated::page_bytes(found.pages.at(0)));
    }
    std::uint64_t load(std::uint64_t page) { return *word(fault(file, page, page)); }
    void store(std::uint64_t page, std::uint64_t value) {
        *word(fault(file, page, page, Access::store)) = value;
    }
    // Another process writes there.
    void disturb(std::uint64_t page, std::uint64_t value = 77) {
        std::thread([&] {
            UserBuffer buffer(&value, sizeof(value));
            EXPECT_EQ(stm_core_write(other.get(), buffer.get(), page * kPage),
                      static_cast<long>(sizeof(value)));
        }).join();
    }
    std::uint64_t committed(std::uint64_t page) {
        std::uint64_t value = 0;
        EXPECT_EQ(read(other, page * kPage, &value, sizeof(value)), long{sizeof(value)});
        return value;
    }
};

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
    for (std::size_t step = 1;; ++step) {
        ASSERT_EQ(start(file), 1);
        store(1, step);
        bool happened = false;
        {
            const Interleave loaded(step, [&] { std::thread([&] { load(2); }).join(); });
            EXPECT_EQ(commit(file), 0);
            happened = loaded.happened();
        }
        // Either the load was the transaction's, or nothing is offered that it has spoilt.
        EXPECT_FALSE(cell.offers() && simulated::mapped_page(file.view(), 2) != nullptr) << step;
        if (!happened)
            break;
        ASSERT_LT(step, 1000u);
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
    for (std::size_t step = 1;; ++step) {
        run(file);
        ASSERT_TRUE(cell.begin());
        long began = 0;
        bool happened = false;
        {
            const Interleave started(step, [&] {
                const simulated::AsThread it(second);
                began = start(file);
            });
            EXPECT_EQ(commit(file), 0);
            happened = started.happened();
        }
        EXPECT_TRUE(!happened || began == 1 || began == -EBUSY) << began;
        EXPECT_FALSE(began == 1 && cell.offers()) << step;
        if (began == 1) {
            const simulated::AsThread it(second);
            EXPECT_EQ(commit(file), 0);
        }
        if (!happened)
            break;
        ASSERT_LT(step, 1000u);
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
    for (std::size_t step = 1;; ++step) {
        ASSERT_EQ(start(file), 1);
        EXPECT_FALSE(own.offers());
        bool happened = false;
        {
            const Interleave another(step, [&] {
                const simulated::AsThread it(second);
                if (start(file) == 1) {
                    EXPECT_EQ(commit(file), 0);
                }
            });
            EXPECT_EQ(commit(file), 0);
            happened = another.happened();
        }
        EXPECT_FALSE(cell.offers() && own.offers()) << step;
        granted += own.offers();
        if (!happened)
            break;
        ASSERT_LT(step, 1000u);
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

TEST_F(Offers, EndWithTheFile) {
    ASSERT_TRUE(cell.begin());
    file.close();
    EXPECT_EQ(simulated::live().pins, 0);
    EXPECT_FALSE(cell.attached());
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

TEST_F(Offers, NeedACellThatCanBePinned) {
    const auto attach = [&](std::uint64_t address, std::uint32_t signal = 0) {
        stm_cell argument{};
        argument.address = address;
        argument.signal = signal;
        return request(file, STM_IOC_CELL, argument);
    };
    const auto place = reinterpret_cast<std::uint64_t>(&cell);
    EXPECT_EQ(attach(place + 8), -EINVAL);
    EXPECT_EQ(attach(place, 65), -EINVAL);
    EXPECT_EQ(attach(16), -EFAULT);
    {
        const simulated::ReadOnlyMemory constant(&cell, sizeof(cell));
        EXPECT_EQ(attach(place), -EFAULT);
    }
    {
        const simulated::UnpinnableMemory file_memory;
        EXPECT_EQ(attach(place), -EINVAL);
    }
    stm_cell wrong{};
    wrong.flags = 1;
    EXPECT_EQ(request(file, STM_IOC_CELL, wrong), -EINVAL);
    wrong.flags = 0;
    wrong.reserved = 1;
    EXPECT_EQ(request(file, STM_IOC_CELL, wrong), -EINVAL);
    Cell strange;
    EXPECT_EQ(strange.attach(other), -EINVAL) << "no transaction yet";
    std::size_t failures = 0;
    for (std::size_t nth = 1;; ++nth) {
        const FailPoint point(nth);
        const long result = attach(place);
        if (point.happened() == Failure::none) {
            EXPECT_EQ(result, 0);
            break;
        }
        EXPECT_EQ(result, simulated::errno_of(point.happened()));
        ++failures;
    }
    EXPECT_GE(failures, 2u);
    EXPECT_EQ(simulated::live().pins, 1) << "one in the place of the other";
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
