// SPDX-License-Identifier: GPL-2.0
// Pages that are mapped when a transaction starts, because those before it touched them.
#include "mapped.hpp"

#include <atomic>
#include <fstream>
#include <memory>
#include <thread>

using namespace stm::test;

namespace {

struct stm_statistics of_handle(int fd) {
    auto now = make<struct stm_statistics>(STM_BY_HANDLE | STM_STATISTICS_OF_HANDLE);
    EXPECT_EQ(request(fd, STM_IOC_STATISTICS, &now), 0);
    return now;
}

/** How many page faults the transactions of a handle had since it was asked last. */
class Faults {
public:
    explicit Faults(int fd) : fd_(fd), seen_(all()) {}
    std::uint64_t more() { return all() - std::exchange(seen_, all()); }

private:
    [[nodiscard]] std::uint64_t all() const {
        const struct stm_statistics now = of_handle(fd_);
        return now.load_faults + now.store_faults;
    }
    int fd_;
    std::uint64_t seen_;
};

class MappedPrediction : public Mapped {
protected:
    MappedPrediction() : Mapped(512 * kPage) {}
    void SetUp() override {
        Mapped::SetUp();
        std::string value;
        std::ifstream("/sys/module/stm/parameters/predicted_pages") >> value;
        ASSERT_EQ(value, "64");
    }

    /** Adds 1 to a number in each of so many pages, from a page on, and loads from the page behind
     * each of them: always from the same place in the program. */
    [[gnu::noinline]] void add(std::size_t first, std::size_t pages) const {
        do {
            stm_start(fd());
            for (std::size_t page = first; page < first + 2 * pages; page += 2)
                number(page * kPage) = number(page * kPage) + 1 + number((page + 1) * kPage);
        } while (stm_commit(fd()) != 0);
    }
};

TEST_F(MappedPrediction, MakesASteadyTransactionFreeOfFaults) {
    Faults faults(fd());
    add(0, 10);
    EXPECT_GE(faults.more(), 20u);
    add(0, 10); // learns, if need be, that what it loads first it stores to afterwards
    faults.more();
    for (int round = 0; round < 20; ++round)
        add(0, 10);
    EXPECT_EQ(faults.more(), 0u);
    EXPECT_EQ(number(18 * kPage), 22);
    const struct stm_statistics now = of_handle(fd());
    EXPECT_GE(now.predicted_used, 20u * 20);
    EXPECT_EQ(now.predicted_unused, 0u);
    EXPECT_EQ(now.commits, 22u);
}

TEST_F(MappedPrediction, KnowsTheStoresOfTheRunBefore) {
    Faults faults(fd());
    for (int round = 0; round < 2; ++round) {
        do {
            stm_start(fd());
            number(0) = 5;
            number(kPage) = 6;
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(faults.more(), round == 0 ? 2u : 0u);
    }
}

TEST_F(MappedPrediction, FollowsAPatternThatChanges) {
    Faults faults(fd());
    for (int round = 0; round < 5; ++round)
        add(0, 8);
    add(100, 8);
    add(100, 8);
    faults.more();
    const std::uint64_t unused = of_handle(fd()).predicted_unused;
    for (int round = 0; round < 10; ++round)
        add(100, 8);
    EXPECT_EQ(faults.more(), 0u);
    EXPECT_LE(of_handle(fd()).predicted_unused, unused + 16) << "the old pages are forgotten";
}

TEST_F(MappedPrediction, DoesNotGuessAtRandom) {
    for (int round = 0; round < 100; ++round)
        add(static_cast<std::size_t>(round) * 37 % 500, 1);
    const struct stm_statistics now = of_handle(fd());
    EXPECT_LE(now.predicted_unused, 12u);
    EXPECT_GE(now.load_faults + now.store_faults, 200u);
}

TEST_F(MappedPrediction, GivesNothingToWaitForThatWasNotTouched) {
    for (const bool touch : {true, true, true, false}) {
        stm_start(fd()); // one place
        if (touch) {
            EXPECT_EQ(number(0), 0);
        } else {
            EXPECT_EQ(stm_wait(fd(), nullptr), -1);
            EXPECT_EQ(errno, EDEADLK);
            Faults faults(fd());
            EXPECT_EQ(number(0), 0) << "it goes on";
            EXPECT_EQ(faults.more(), 0u);
        }
        EXPECT_EQ(stm_commit(fd()), 0);
    }
}

TEST_F(MappedPrediction, CanBeSwitchedOffByTheParameter) {
    add(0, 4);
    add(0, 4);
    const std::uint64_t used = of_handle(fd()).predicted_used;
    {
        const Parameter off("predicted_pages", "0");
        Faults faults(fd());
        add(0, 4);
        EXPECT_GE(faults.more(), 8u);
        EXPECT_EQ(of_handle(fd()).predicted_used, used);
    }
}

// The second begins as soon as the first lets it, while the first is still in its commit; for a
// prediction it would have to wait.
TEST_F(MappedPrediction, SwitchedOffThreadsThatTakeTurnsLoseNothing) {
    constexpr int kRounds = 1000;
    const Parameter off("predicted_pages", "0");
    const auto add_one = [&] {
        for (volatile int round = 0; round < kRounds;) {
            if (stm_try_start(fd()) < 0) {
                EXPECT_EQ(errno, EBUSY);
                continue;
            }
            for (std::size_t page = 2; page < 32; page += 2)
                EXPECT_EQ(number(page * kPage), 0);
            number(0) = number(0) + 1; // the last page that is taken out of the mapping
            if (stm_commit(fd()) == 0)
                round = round + 1;
        }
    };
    std::thread one(add_one);
    std::thread two(add_one);
    one.join();
    two.join();
    EXPECT_EQ(number(0), 2 * kRounds);
}

TEST_F(MappedPrediction, CanBeSwitchedOffByTheCaller) {
    for (const unsigned long argument : {STM_START_SITE(9) | STM_START_NO_PREDICTION, 0ull}) {
        Faults faults(fd());
        for (int round = 0; round < 3; ++round) {
            ASSERT_EQ(::ioctl(fd(), STM_IOC_START, argument), 1);
            number(0) = number(0) + 1;
            ASSERT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), 0);
        }
        EXPECT_GE(faults.more(), 3u);
    }
    EXPECT_EQ(of_handle(fd()).predicted_used, 0u);
    EXPECT_EQ(::ioctl(fd(), STM_IOC_START, 1ul << 16), -1);
    EXPECT_EQ(errno, EINVAL);
}

STM_HELPER(add_without_prediction) {
    View view(words.at(0), 4 * kPage);
    for (int round = 0; round < 5; ++round)
        store(view, 0, round);
    return of_handle(view.fd()).predicted_used == 0 ? 0 : 1;
}

TEST_F(MappedPrediction, CanBeSwitchedOffByTheEnvironment) {
    ASSERT_EQ(::setenv("STM_PREDICT", "0", 1), 0);
    Child child = Child::program("add_without_prediction", {region_.name()});
    ::unsetenv("STM_PREDICT");
    EXPECT_EQ(child.wait(), 0);
}

TEST_F(MappedPrediction, MapsNoMoreThanTheParameterSays) {
    const Parameter few("predicted_pages", "6");
    for (int round = 0; round < 3; ++round)
        add(0, 20);
    const std::uint64_t used = of_handle(fd()).predicted_used;
    add(0, 20);
    EXPECT_EQ(of_handle(fd()).predicted_used, used + 6);
}

TEST_F(MappedPrediction, MapsThePagesOfAFailedTry) {
    Faults faults(fd());
    volatile int tries = 0;
    volatile std::uint64_t first = 0;
    do {
        stm_start(fd());
        if (tries == 1)
            first = faults.more();
        tries = tries + 1;
        for (std::size_t page = 0; page < 10; ++page)
            number(page * kPage) = static_cast<long>(page) + tries;
        if (tries == 1)
            elsewhere([&] { store(another(), 0, 77); });
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(first, 10u) << "faults of the first try";
    EXPECT_EQ(tries, 2);
    EXPECT_EQ(faults.more(), 0u) << "the second try";
    EXPECT_EQ(number(9 * kPage), 11);
}

TEST_F(MappedPrediction, DoesNotChangeWhatConflictingProcessesDo) {
    constexpr int kRounds = 300;
    StartingLine line(3);
    const auto transfer = [&](const View& view, unsigned random) {
        line.wait();
        for (int round = 0; round < kRounds; ++round) {
            random = random * 1103515245 + 12345;
            const std::size_t from = (random >> 16) % 8 * kPage;
            const std::size_t to = (random >> 20) % 8 * kPage;
            do {
                stm_start(view.fd());
                long sum = 0;
                for (std::size_t page = 0; page < 8; ++page)
                    sum += view[page * kPage];
                if (sum != 0)
                    return 1; // never in one snapshot
                view[from] = view[from] - 1;
                view[to] = view[to] + 1;
            } while (stm_commit(view.fd()) != 0);
        }
        return 0;
    };
    Child first([&] { return transfer(another(), 1); });
    Child second([&] { return transfer(another(), 2); });
    EXPECT_EQ(transfer(another(), 3), 0);
    EXPECT_EQ(first.wait(), 0);
    EXPECT_EQ(second.wait(), 0);
    long sum = 0;
    for (std::size_t page = 0; page < 8; ++page)
        sum += number(page * kPage);
    EXPECT_EQ(sum, 0);
    EXPECT_GE(statistics(fd()).predicted_used, 8u * kRounds);
}

TEST_F(MappedPrediction, FollowsTheMappingThatIsUsed) {
    auto second = std::make_unique<Mapping>(fd(), size_);
    ASSERT_TRUE(second->ok());
    auto run = [&](volatile long* at) {
        do {
            stm_start(fd());
            *at = *at + 1;
        } while (stm_commit(fd()) != 0);
    };
    Faults faults(fd());
    for (int round = 0; round < 4; ++round)
        run(&number(0));
    faults.more();
    run(&number(0));
    EXPECT_EQ(faults.more(), 0u);
    for (int round = 0; round < 4; ++round)
        run(second->at<volatile long>());
    faults.more();
    run(second->at<volatile long>());
    EXPECT_EQ(faults.more(), 0u);
    second.reset(); // nothing is mapped where the pages were
    run(&number(0));
    run(&number(0));
    EXPECT_EQ(number(0), 12);
}

TEST_F(MappedPrediction, SurvivesWhatElseIsDoneWithTheMapping) {
    auto run = [&](volatile long* at) {
        do {
            stm_start(fd());
            *at = *at + 1;
            at[kPage / sizeof(long)] = *at;
        } while (stm_commit(fd()) != 0);
    };
    for (int round = 0; round < 3; ++round)
        run(&number(0));
    // Another mapping lies where the pages were.
    char* at = bytes();
    ASSERT_EQ(::mmap(at, 2 * kPage, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0),
              at);
    Mapping second(fd(), size_);
    ASSERT_TRUE(second.ok());
    for (int round = 0; round < 3; ++round)
        run(second.at<volatile long>());
    EXPECT_EQ(number(0), 0) << "the anonymous page was not replaced";
    EXPECT_EQ(*second.at<volatile long>(), 6);
    // The same place shows other pages.
    ASSERT_EQ(
        ::mmap(at, 2 * kPage, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_SHARED, fd(), 8 * kPage), at);
    for (int round = 0; round < 3; ++round)
        run(&number(0));
    EXPECT_EQ(*second.at<volatile long>(8 * kPage), 3);
    // It cannot be stored to any more, or not be loaded from.
    ASSERT_EQ(::mprotect(second.data(), 2 * kPage, PROT_READ), 0);
    EXPECT_EQ(signal_of_store(second.data()), SIGSEGV);
    auto load = [&] {
        long value = 0;
        do {
            stm_start(fd());
            value = *second.at<volatile long>();
        } while (stm_commit(fd()) != 0);
        return value;
    };
    EXPECT_EQ(load(), 6);
    EXPECT_EQ(load(), 6);
    ASSERT_EQ(::mprotect(second.data(), 2 * kPage, PROT_NONE), 0);
    stm_start(fd());
    stm_cancel(fd());
    EXPECT_EQ(signal_of_load(second.data()), SIGSEGV);
    ASSERT_EQ(::mprotect(second.data(), 2 * kPage, PROT_READ | PROT_WRITE), 0);
    run(second.at<volatile long>());
    EXPECT_EQ(load(), 7);
    // Moved away.
    Mapping third(fd(), size_);
    ASSERT_TRUE(third.ok());
    for (int round = 0; round < 2; ++round)
        run(third.at<volatile long>());
    Mapping place(-1, size_, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    ASSERT_TRUE(place.ok());
    void* moved = ::mremap(third.data(), size_, size_, MREMAP_MAYMOVE | MREMAP_FIXED, place.data());
    ASSERT_EQ(moved, place.data()) << std::strerror(errno);
    third.release();
    for (int round = 0; round < 3; ++round)
        run(static_cast<volatile long*>(moved));
    EXPECT_EQ(*static_cast<volatile long*>(moved), 12);
    // Its pages are dropped, in a transaction and outside.
    do {
        stm_start(fd());
        *static_cast<volatile long*>(moved) = 50;
        ::madvise(moved, kPage, MADV_DONTNEED);
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(*static_cast<volatile long*>(moved), 50);
}

TEST_F(MappedPrediction, GivesAChildNothingOfTheParents) {
    for (int round = 0; round < 4; ++round)
        add(0, 4);
    add(0, 4);
    volatile bool forked = false;
    do {
        stm_start(fd());
        number(0) = number(0) + 1000;
        if (!forked) {
            forked = true;
            elsewhere([&] {
                // No transaction, and the committed pages.
                EXPECT_EQ(number(0), 5);
                EXPECT_EQ(number(2 * kPage), 5);
                add(0, 4);
                add(0, 4);
                EXPECT_EQ(number(0), 7);
            });
        }
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(number(0), 1007);
    add(0, 4);
    EXPECT_EQ(number(0), 1008);
}

STM_HELPER(add_after_exec) {
    const int fd = std::stoi(words.at(0));
    Mapping map(fd, 4 * kPage);
    for (int round = 0; round < 3; ++round) {
        if (::ioctl(fd, STM_IOC_START, STM_START_SITE(9)) != 1)
            return 1;
        *map.at<volatile long>() = *map.at<volatile long>() + 1;
        if (::ioctl(fd, STM_IOC_COMMIT, 0) != 0)
            return 2;
    }
    return 0;
}

TEST_F(MappedPrediction, GoesOnInAnotherProgram) {
    Child child([&] {
        for (int round = 0; round < 3; ++round) {
            if (::ioctl(fd(), STM_IOC_START, STM_START_SITE(9)) != 1)
                return 1;
            number(0) = number(0) + 1;
            if (::ioctl(fd(), STM_IOC_COMMIT, 0) != 0)
                return 2;
        }
        const std::string descriptor = std::to_string(fd());
        ::execl("/proc/self/exe", "/proc/self/exe", "--helper", "add_after_exec",
                descriptor.c_str(), nullptr);
        return 3;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(number(0), 6);
}

TEST_F(MappedPrediction, WorksInSerialTransactions) {
    Region region("serial", 16 * kPage, STM_MUTEX);
    View view(region.name(), 16 * kPage);
    Faults faults(view.fd());
    for (int round = 0; round < 4; ++round) {
        faults.more();
        store(view, 3 * kPage, round);
    }
    EXPECT_EQ(faults.more(), 0u);
    EXPECT_EQ(view[3 * kPage], 3);
}

TEST_F(MappedPrediction, CostsNothingWithoutAMapping) {
    Fd plain(stm_open(region_.name().c_str(), 0, 0, 0));
    for (int round = 0; round < 5; ++round) {
        do {
            stm_start(plain.get());
            put(plain.get(), long{round});
        } while (stm_commit(plain.get()) != 0);
    }
    EXPECT_EQ(of_handle(plain.get()).predicted_used, 0u);
    EXPECT_EQ(of_handle(plain.get()).predicted_unused, 0u);
}

TEST_F(MappedPrediction, LeavesNothingInTheMappingAfterwards) {
    for (int round = 0; round < 4; ++round)
        add(0, 8);
    for (std::size_t page = 0; page < 16; ++page)
        EXPECT_EQ(signal_of_store(bytes(page * kPage)), SIGSEGV);
    View view = another();
    store(view, 0, 1234);
    EXPECT_EQ(number(0), 1234) << "the committed page";
    do {
        stm_start(view.fd());
        view[0] = 1;
        EXPECT_EQ(number(0), 1234);
    } while (stm_commit(view.fd()) != 0);
    EXPECT_EQ(number(0), 1);
}

// A thread without a part in the transaction touches the same pages all the time: what it loads is
// committed or the transaction's, and what is mapped for it is never left behind.
TEST_F(MappedPrediction, WorksBesideAThreadThatLoadsAllTheTime) {
    std::atomic<bool> done{false};
    std::atomic<long> wrong{0};
    std::thread reader([&] {
        while (!done)
            for (std::size_t page = 0; page < 8; ++page)
                if (number(page * kPage) < 0)
                    ++wrong;
    });
    for (int round = 0; round < 50; ++round)
        add(0, 4);
    done = true;
    reader.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(number(0), 50);
    View view = another();
    EXPECT_EQ(view[0], 50);
    store(view, 0, 5);
    EXPECT_EQ(number(0), 5);
}

} // namespace
