// SPDX-License-Identifier: GPL-2.0
// Journals of direct regions: whose they are, and what becomes of a commit whose thread does not
// come to its end.
#include "tests/unit/kernel/typed_test.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <set>
#include <sys/mman.h>
#include <thread>
#include <utility>

namespace stm::test {
namespace {

using simulated::AsThread;
using simulated::OtherThread;
using simulated::Sleepless;

constexpr std::uint64_t kResume = 0x1234;

class Journals : public Typed {
protected:
    struct Claim {
        long result;
        std::uint64_t owner;
        std::uint64_t offset;
        std::uint32_t outcome;
    };
    static Claim claim(const File& of) {
        auto argument = argument_of<stm_claim_journal>(0);
        argument.resume = kResume;
        const long result = request(of, STM_IOC_JOURNAL, argument);
        return {result, argument.owner, argument.offset, argument.outcome};
    }
    static long settle(const File& of, std::uint64_t stripe) {
        return stm_core_control(of.get(), STM_IOC_SETTLE, stripe);
    }
    static stm_journal& journal_at(const File& of, std::uint64_t offset) {
        return *static_cast<stm_journal*>(window_page(of, STM_OFFSET_JOURNALS + offset));
    }
    static std::uint64_t& record(const File& of, std::uint64_t stripe) {
        return static_cast<std::uint64_t*>(
            window_page(of, STM_OFFSET_RECORDS + stripe * 8 / kPage * kPage))[stripe % (kPage / 8)];
    }
    static std::uint64_t& word(const File& of, std::uint64_t position) {
        return static_cast<std::uint64_t*>(
            window_page(of, STM_OFFSET_COMMITTED + position / kPage * kPage))[position % kPage / 8];
    }
    // The middle of a commit of 7 to the positions: locked, and active or committed.
    static void be_in_commit(const File& of, const Claim& own,
                             const std::vector<std::uint64_t>& positions, std::uint64_t version) {
        stm_journal& journal = journal_at(of, own.offset);
        journal.count = positions.size();
        for (std::size_t i = 0; i < positions.size(); ++i) {
            journal.writes[i] = write_of(positions[i], 7);
            word(of, positions[i]);
            record(of, positions[i] / 64) = STM_RECORD_LOCKED(own.owner);
        }
        journal.state = version == 0 ? STM_JOURNAL_ACTIVE : STM_JOURNAL_COMMITTED(version);
    }
    static std::uint64_t advance(const File& of) {
        return __atomic_add_fetch(&static_cast<stm_clock*>(window_page(of, STM_OFFSET_CLOCK))->now,
                                  1, __ATOMIC_ACQ_REL);
    }
    static std::uint64_t where_to_resume(const File& of) {
        stm_fault fault{};
        fault.write = 1;
        fault.memory = simulated::current_memory();
        const MmapLock held;
        return stm_core_window_store(of.get(), &fault) == STM_FAULT_AGAIN ? fault.resume : 0;
    }
    static stm_fault_result store_to(const File& of, std::uint64_t offset) {
        stm_fault fault{};
        fault.index = offset / kPage;
        fault.write = 1;
        fault.memory = simulated::current_memory();
        const MmapLock held;
        return stm_core_make_window_writable(of.get(), &fault);
    }

    File direct = open(control, "direct", kCreate, {kBytes, STM_REGION_DIRECT, 0666});
    File second = open(control, "direct", kOpen, {0, 0, 0});
};

TEST_F(Journals, BelongToAThreadAndAHandle) {
    const Claim own = claim(direct);
    ASSERT_EQ(own.result, 0);
    EXPECT_EQ(claim(direct).owner, own.owner) << "the same again";
    const Claim by_other_handle = claim(second);
    EXPECT_NE(by_other_handle.offset, own.offset);
    OtherThread thread;
    {
        const AsThread as(thread);
        const Claim others = claim(direct);
        EXPECT_EQ(others.result, 0);
        EXPECT_NE(others.offset, own.offset);
        EXPECT_NE(others.owner, own.owner);
    }
}

TEST_F(Journals, AreOfDirectRegionsAndForWhoMayWrite) {
    EXPECT_EQ(claim(file).result, -EOPNOTSUPP);
    EXPECT_EQ(settle(file, 0), -EOPNOTSUPP);
    EXPECT_EQ(stm_core_control(file.get(), STM_IOC_WAKE, 1), -EOPNOTSUPP);
    const File reader = open(control, "direct", STM_OPEN_READ, {0, 0, 0});
    EXPECT_EQ(claim(reader).result, -EBADF);
    EXPECT_EQ(stm_core_control(reader.get(), STM_IOC_WAKE, 1), -EBADF);
    EXPECT_EQ(settle(reader, 0), 0) << "who reads waits, too";
    EXPECT_EQ(settle(direct, kBytes / 64), -EINVAL);
    auto argument = argument_of<stm_claim_journal>(0);
    argument.resume = ~0ull;
    EXPECT_EQ(request(direct, STM_IOC_JOURNAL, argument), -EINVAL);
    EXPECT_EQ(
        open(control, "both", kCreate, {kPage, STM_REGION_DIRECT | STM_REGION_PLAIN, 0666}).error(),
        -EINVAL);
    EXPECT_EQ(
        open(control, "both", kCreate, {kPage, STM_REGION_DIRECT | STM_REGION_MUTEX, 0666}).error(),
        -EINVAL);
}

TEST_F(Journals, ADeathBeforeThePointOfNoReturnIsUndone) {
    OtherThread thread;
    {
        const AsThread as(thread);
        be_in_commit(direct, claim(direct), {0, 640}, 0);
    }
    EXPECT_EQ(settle(second, 0), -EAGAIN) << "its owner lives";
    thread.end();
    EXPECT_EQ(settle(second, 0), 0);
    EXPECT_EQ(get(second, 0), 0u);
    EXPECT_EQ(get(second, 640), 0u) << "both are released";
    put(second, 640, 3);
    EXPECT_EQ(get(direct, 640), 3u);
}

TEST_F(Journals, ADeathBehindItIsFinished) {
    OtherThread thread;
    {
        const AsThread as(thread);
        const Claim own = claim(direct);
        const std::uint64_t version = advance(direct);
        be_in_commit(direct, own, {0, 640, 2 * kPage + 8}, version);
        // It has released one itself, and somebody else has written there since.
        record(direct, 10) = version << 1;
    }
    put(second, 640, 99);
    thread.end();
    EXPECT_EQ(settle(second, 0), 0);
    EXPECT_EQ(get(second, 0), 7u);
    EXPECT_EQ(get(second, 640), 99u) << "what was released is not touched again";
    EXPECT_EQ(get(second, 2 * kPage + 8), 7u);
}

TEST_F(Journals, ATransactionOfAnotherWayIsNotHeldUpByADeadOwner) {
    OtherThread thread;
    {
        const AsThread as(thread);
        const Claim own = claim(direct);
        be_in_commit(direct, own, {0}, advance(direct));
    }
    thread.end();
    EXPECT_EQ(get(second, 0), 7u) << "a read call sees to it itself";
}

TEST_F(Journals, TheEndOfAnAddressSpaceSettlesAll) {
    OtherThread thread;
    {
        const AsThread as(thread);
        be_in_commit(direct, claim(direct), {0}, advance(direct));
    }
    thread.end();
    {
        const MmapLock held;
        stm_core_memory_gone(direct.get(), simulated::current_memory());
    }
    EXPECT_EQ(record_of(direct, 0) & 1, 0u);
    EXPECT_EQ(word(direct, 0), 7u);
}

TEST_F(Journals, TheLastCloseOfAHandleSettlesAll) {
    be_in_commit(direct, claim(direct), {0}, advance(direct));
    direct.close();
    EXPECT_EQ(record_of(second, 0) & 1, 0u);
    EXPECT_EQ(word(second, 0), 7u);
}

TEST_F(Journals, AreTakenFromAnOwnerThatStandsStill) {
    for (const bool happened : {false, true}) {
        put(second, 0, 1);
        OtherThread thread;
        Claim own{};
        {
            const AsThread as(thread);
            own = claim(direct);
            ASSERT_EQ(own.result, 0);
            be_in_commit(direct, own, {0}, happened ? advance(direct) : 0);
            EXPECT_EQ(store_to(direct, STM_OFFSET_RECORDS), STM_FAULT_MAP);
        }
        {
            const Sleepless time;
            EXPECT_EQ(settle(second, 0), -EAGAIN);
            stm_linux_delay(10'000'000);
            EXPECT_EQ(settle(second, 0), -EAGAIN) << "not for long yet";
            stm_linux_delay(10'000'000);
            stm_linux_delay(10'000'000);
            EXPECT_EQ(settle(second, 0), 0);
        }
        EXPECT_EQ(get(second, 0), happened ? 7u : 1u);
        OtherThread neighbour;
        {
            const AsThread as(neighbour);
            ASSERT_EQ(claim(direct).result, 0);
            EXPECT_EQ(where_to_resume(direct), 0u);
            EXPECT_EQ(store_to(direct, STM_OFFSET_RECORDS), STM_FAULT_AGAIN)
                << "or the taken one could store through the same page";
        }
        {
            const AsThread as(thread);
            EXPECT_EQ(where_to_resume(direct), kResume);
            EXPECT_EQ(store_to(direct, STM_OFFSET_RECORDS), STM_FAULT_AGAIN);
            const Claim again = claim(direct);
            EXPECT_EQ(again.outcome,
                      happened ? STM_JOURNAL_TAKEN | STM_JOURNAL_FINISHED : STM_JOURNAL_TAKEN);
            EXPECT_NE(again.owner, own.owner);
            EXPECT_EQ(again.offset, own.offset);
            EXPECT_EQ(where_to_resume(direct), 0u);
            EXPECT_EQ(store_to(direct, STM_OFFSET_RECORDS), STM_FAULT_MAP);
            EXPECT_EQ(claim(direct).outcome, 0u) << "it is told once";
        }
        {
            const AsThread as(neighbour);
            EXPECT_EQ(store_to(direct, STM_OFFSET_RECORDS), STM_FAULT_MAP);
        }
    }
}

// Between the look at an owner that stands still and the moment when it is kept from the pages.
TEST_F(Journals, AnOwnerThatGoesOnWhileItIsBeingTakenKeepsItsJournal) {
    for (const bool asks_again : {false, true}) {
        for (std::size_t step = 1; step < 12; ++step) {
            OtherThread thread;
            Claim own{};
            {
                const AsThread as(thread);
                own = claim(direct);
                ASSERT_EQ(own.result, 0);
                be_in_commit(direct, own, {0}, asks_again ? advance(direct) : 0);
            }
            const Sleepless time;
            EXPECT_EQ(settle(second, 0), -EAGAIN);
            for (int i = 0; i < 3; ++i)
                stm_linux_delay(10'000'000);
            bool went_on = false;
            {
                const Interleave point(step, [&] {
                    const AsThread as(thread);
                    went_on = true;
                    if (asks_again) {
                        EXPECT_EQ(claim(direct).result, 0);
                    } else {
                        record(direct, 0) = 0;
                        journal_at(direct, own.offset).state = STM_JOURNAL_IDLE;
                    }
                });
                (void)settle(second, 0);
            }
            if (!went_on)
                break;
            EXPECT_EQ(record(direct, 0) & 1, 0u) << "step " << step;
            const AsThread as(thread);
            EXPECT_EQ(where_to_resume(direct), 0u) << "step " << step;
        }
    }
}

// In the same moment, and somebody else finds it gone.
TEST_F(Journals, ACommitThatHasHappenedIsWholeIfItsOwnerEndsWhileItIsBeingTaken) {
    for (std::size_t step = 1; step < 30; ++step) {
        put(second, 0, 1);
        put(second, 640, 1);
        OtherThread thread;
        {
            const AsThread as(thread);
            be_in_commit(direct, claim(direct), {0, 640}, advance(direct));
        }
        const Sleepless time;
        EXPECT_EQ(settle(second, 0), -EAGAIN);
        for (int i = 0; i < 3; ++i)
            stm_linux_delay(10'000'000);
        bool ended = false;
        {
            const Interleave point(step, [&] {
                ended = true;
                thread.end();
                (void)settle(second, 10);
            });
            (void)settle(second, 0);
        }
        if (!ended)
            return;
        EXPECT_EQ(settle(second, 10), 0);
        EXPECT_EQ(settle(second, 0), 0);
        EXPECT_EQ(record(direct, 0) & 1, 0u) << "step " << step;
        EXPECT_EQ(record(direct, 10) & 1, 0u) << "step " << step;
        EXPECT_EQ(word(direct, 0), 7u) << "step " << step;
        EXPECT_EQ(word(direct, 640), 7u) << "step " << step;
    }
    FAIL() << "it does not come to its end";
}

// Linux holds the mmap_lock of an address space that has ended while it takes the mappings away,
// and whoever takes a journal may be waiting for that lock.
TEST_F(Journals, TheEndOfAnAddressSpaceWaitsForNobodyWhoTakesOne) {
    for (std::size_t step = 1; step < 30; ++step) {
        put(second, 0, 1);
        simulated::Process process(7, simulated::kRoot);
        OtherThread thread;
        {
            const simulated::As caller(process);
            const AsThread as(thread);
            be_in_commit(direct, claim(direct), {0}, advance(direct));
        }
        const Sleepless time;
        EXPECT_EQ(settle(second, 0), -EAGAIN);
        for (int i = 0; i < 3; ++i)
            stm_linux_delay(10'000'000);
        bool happened = false;
        bool waits = false;
        std::promise<void> gone;
        std::thread ending;
        {
            const Interleave point(step, [&] {
                happened = true;
                thread.end();
                ending = std::thread([&] {
                    const simulated::As caller(process);
                    {
                        const MmapLock held;
                        stm_core_memory_gone(direct.get(), simulated::current_memory());
                    }
                    gone.set_value();
                });
                waits = gone.get_future().wait_for(std::chrono::seconds(2)) !=
                        std::future_status::ready;
            });
            (void)settle(second, 0);
        }
        if (!happened)
            return;
        ending.join();
        EXPECT_FALSE(waits) << "step " << step;
        EXPECT_EQ(record(direct, 0) & 1, 0u) << "step " << step;
        EXPECT_EQ(word(direct, 0), 7u) << "step " << step;
    }
    FAIL() << "it does not come to its end";
}

// Each of 64 threads has one for each of 64 handles.
TEST_F(Journals, AllOfThemMayBeInUse) {
    constexpr std::size_t kEach = 64;
    static_assert(kEach * kEach == STM_MOST_JOURNALS);
    std::array<OtherThread, kEach> threads;
    std::vector<File> files;
    std::set<std::uint64_t> offsets;
    for (std::size_t i = 0; i < kEach; ++i) {
        files.push_back(open(control, "direct", kOpen, {0, 0, 0}));
        ASSERT_TRUE(files.back().ok());
        for (OtherThread& thread : threads) {
            const AsThread as(thread);
            const Claim own = claim(files.back());
            ASSERT_EQ(own.result, 0);
            offsets.insert(own.offset);
        }
    }
    EXPECT_EQ(offsets.size(), std::size_t{STM_MOST_JOURNALS});
    EXPECT_EQ(*offsets.rbegin(), std::uint64_t{STM_MOST_JOURNALS - 1} * STM_JOURNAL_BYTES);
    EXPECT_EQ(claim(direct).result, -ENOSPC);
    // Everything else goes on, without one.
    put(direct, 0, 5);
    EXPECT_EQ(get(second, 0), 5u);
    EXPECT_EQ(commit_sets(direct, writing(now(direct), 0, 6)), 0);
    EXPECT_EQ(get(second, 0), 6u);
    EXPECT_GE(start(direct, STM_START_SERIAL), 0);
    EXPECT_EQ(commit(direct), 0);
    // The last one is repaired like any other, and makes room.
    {
        const AsThread as(threads.back());
        const Claim own = claim(files.back());
        ASSERT_EQ(own.result, 0) << "who has one keeps it";
        be_in_commit(files.back(), own, {0}, advance(direct));
    }
    threads.back().end();
    EXPECT_EQ(claim(direct).result, 0);
    EXPECT_EQ(get(second, 0), 7u);
}

TEST_F(Journals, TheEndOfAnOwnerWakesWhoWaitsForWhatItHasReleased) {
    OtherThread thread;
    {
        const AsThread as(thread);
        be_in_commit(direct, claim(direct), {0}, 0);
    }
    Sets sets = reading(now(second), 0);
    record(direct, 0) = 0;
    std::thread waiter([&] {
        auto argument = argument_of<stm_wait_sets>(0);
        argument.sets = sets.argument();
        argument.timeout_ns = STM_WAIT_FOREVER;
        EXPECT_EQ(request(second, STM_IOC_WAIT_SETS, argument), 0);
    });
    while (simulated::sleepers() == 0)
        std::this_thread::yield();
    const std::uint64_t version = advance(direct);
    {
        const AsThread as(thread);
        journal_at(direct, claim(direct).offset).state = STM_JOURNAL_COMMITTED(version);
    }
    __atomic_store_n(&record(direct, 0), version << 1, __ATOMIC_RELEASE);
    thread.end();
    {
        const MmapLock held;
        stm_core_memory_gone(direct.get(), simulated::current_memory());
    }
    waiter.join();
}

// Nothing is locked any more, so nobody asks about it.
TEST_F(Journals, AnOwnerThatStopsBehindItsLastReleaseKeepsNobodyAsleep) {
    const Claim own = claim(direct);
    be_in_commit(direct, own, {0}, 0);
    record(direct, 0) = 0;
    const Sets sets = reading(now(second), 0);
    constexpr std::uint64_t kTimeout = 5'000'000'000;
    std::thread by_sets([&] {
        auto argument = argument_of<stm_wait_sets>(0);
        argument.sets = sets.argument();
        argument.timeout_ns = kTimeout;
        EXPECT_EQ(request(second, STM_IOC_WAIT_SETS, argument), 0);
    });
    std::thread by_calls([&] {
        EXPECT_GE(start(second), 0);
        EXPECT_EQ(get(second, 0), 0u);
        auto argument = argument_of<stm_wait>(0);
        argument.timeout_ns = kTimeout;
        EXPECT_EQ(request(second, STM_IOC_WAIT, argument), 0);
    });
    while (simulated::sleepers() < 2)
        std::this_thread::yield();
    __atomic_store_n(&record(direct, 0), STM_RECORD_LOCKED(own.owner), __ATOMIC_RELEASE);
    const std::uint64_t version = advance(direct);
    __atomic_store_n(&journal_at(direct, own.offset).state, STM_JOURNAL_COMMITTED(version),
                     __ATOMIC_RELEASE);
    __atomic_store_n(&word(direct, 0), 7, __ATOMIC_RELEASE);
    __atomic_store_n(&record(direct, 0), version << 1, __ATOMIC_RELEASE);
    const auto begin = std::chrono::steady_clock::now();
    by_sets.join();
    by_calls.join();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
}

TEST_F(Journals, AThreadWithoutOneStoresNothing) {
    EXPECT_EQ(store_to(direct, STM_OFFSET_RECORDS), STM_FAULT_FORBIDDEN);
    ASSERT_EQ(claim(direct).result, 0);
    EXPECT_EQ(store_to(direct, STM_OFFSET_RECORDS), STM_FAULT_MAP);
    EXPECT_EQ(store_to(second, STM_OFFSET_RECORDS), STM_FAULT_FORBIDDEN) << "by another handle";
    simulated::exec();
    EXPECT_EQ(store_to(direct, STM_OFFSET_RECORDS), STM_FAULT_FORBIDDEN) << "another program";
}

TEST_F(Journals, ALockOfNobodyIsReleased) {
    word(direct, 0) = 5;
    for (const std::uint64_t owner : {std::uint64_t{1} << 61 | 77, std::uint64_t{1} << 50}) {
        record(direct, 0) = STM_RECORD_LOCKED(owner);
        EXPECT_EQ(settle(second, 0), 0);
        EXPECT_EQ(get(second, 0), 5u);
    }
}

TEST_F(Journals, ALockIsReleasedAlsoWhereNothingHasBeenStored) {
    constexpr std::uint64_t kStripe = 3 * kPage / 64;
    record(direct, kStripe) = STM_RECORD_LOCKED(std::uint64_t{1} << 61 | 77);
    EXPECT_EQ(settle(second, kStripe), 0);
    EXPECT_EQ(record(direct, kStripe) & 1, 0u);
}

TEST_F(Journals, NonsenseInOneHarmsNobody) {
    for (const std::uint64_t count : {std::uint64_t{3}, ~std::uint64_t{0}}) {
        OtherThread thread;
        {
            const AsThread as(thread);
            const Claim own = claim(direct);
            stm_journal& journal = journal_at(direct, own.offset);
            for (unsigned i = 0; i < 50; ++i)
                journal.writes[i] = {i * 0x123456789abcull, ~0ull, {}};
            journal.writes[1] = write_of(64, 7);
            journal.count = count;
            record(direct, 1) = STM_RECORD_LOCKED(own.owner);
            // A version that no commit has.
            journal.state = STM_JOURNAL_COMMITTED(1ull << 50);
        }
        thread.end();
        EXPECT_EQ(settle(second, 1), 0);
        EXPECT_EQ(get(second, 64), 0u);
    }
}

TEST_F(Journals, OnesOfEndedThreadsAreUsedAgain) {
    std::uint64_t offset = 0;
    for (int i = 0; i < 20; ++i) {
        OtherThread thread;
        const AsThread as(thread);
        const Claim own = claim(direct);
        ASSERT_EQ(own.result, 0);
        offset = std::max(offset, own.offset);
    }
    EXPECT_LE(offset, std::uint64_t{8 * STM_JOURNAL_BYTES});
}

TEST_F(Journals, ASerialTransactionWaitsForACommit) {
    const Claim own = claim(direct);
    be_in_commit(direct, own, {0}, 0);
    std::thread serial([&] {
        EXPECT_GE(start(second, STM_START_SERIAL), 0);
        EXPECT_EQ(__atomic_load_n(&journal_at(direct, own.offset).state, __ATOMIC_ACQUIRE),
                  std::uint64_t{STM_JOURNAL_IDLE});
        // Nothing is locked now.
        EXPECT_EQ(get(second, 0), 0u);
        EXPECT_EQ(commit(second), 0);
    });
    const auto* const clock = static_cast<const stm_clock*>(window_page(direct, STM_OFFSET_CLOCK));
    while (__atomic_load_n(&clock->closed, __ATOMIC_ACQUIRE) == 0)
        std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    __atomic_store_n(&record(direct, 0), 0, __ATOMIC_RELEASE);
    __atomic_store_n(&journal_at(direct, own.offset).state, STM_JOURNAL_IDLE, __ATOMIC_RELEASE);
    serial.join();
    EXPECT_EQ(clock->closed, 0u);
}

// A program may make its journals active again as quickly as they are taken.
TEST_F(Journals, WhoIsKilledTakesNoMoreOfThem) {
    constexpr std::size_t kMany = 8;
    std::array<OtherThread, kMany> threads;
    std::array<Claim, kMany> owns{};
    const auto active = [&] {
        return std::count_if(owns.begin(), owns.end(), [&](const Claim& own) {
            return journal_at(direct, own.offset).state != STM_JOURNAL_IDLE;
        });
    };
    const Sleepless time;
    for (std::size_t i = 0; i < kMany; ++i) {
        {
            const AsThread as(threads[i]);
            owns[i] = claim(direct);
            be_in_commit(direct, owns[i], {i * 64}, 0);
        }
        EXPECT_EQ(settle(second, i), -EAGAIN);
    }
    for (int i = 0; i < 3; ++i)
        stm_linux_delay(10'000'000);
    {
        const simulated::Dying killed;
        EXPECT_EQ(start(second, STM_START_SERIAL), -EINTR);
    }
    EXPECT_EQ(active(), kMany - 1);
    EXPECT_GE(start(second, STM_START_SERIAL), 0);
    EXPECT_EQ(active(), 0);
    EXPECT_EQ(commit(second), 0);
}

TEST_F(Journals, ASleepersNumberIsThereForWhoCommits) {
    const auto* const clock = static_cast<const stm_clock*>(window_page(direct, STM_OFFSET_CLOCK));
    EXPECT_EQ(clock->sleepers, 0u);
    EXPECT_EQ(stm_core_poll_ready(direct.get()), 0);
    EXPECT_EQ(clock->sleepers, 1u);
    EXPECT_EQ(stm_core_poll_ready(second.get()), 0);
    EXPECT_EQ(clock->sleepers, 1u);
    // The first commit that is told of finds that nobody polls any more.
    EXPECT_EQ(stm_core_control(direct.get(), STM_IOC_WAKE, 1), 0);
    EXPECT_EQ(clock->sleepers, 0u);
    EXPECT_EQ(stm_core_poll_ready(direct.get()), 0);
    EXPECT_EQ(clock->sleepers, 1u);
    direct.close();
}

// The thread sanitizer's own atomic operations hold a lock, in which a fault would come.
#ifndef __SANITIZE_THREAD__
// What another thread does in front of this one's next store to a page.
class BeforeTheNextStore {
public:
    BeforeTheNextStore(void* page, std::function<void()> action) {
        page_ = page;
        action_ = std::move(action);
        struct sigaction handler {};
        handler.sa_handler = happen;
        EXPECT_EQ(sigaction(SIGSEGV, &handler, &before_), 0);
        EXPECT_EQ(mprotect(page_, kPage, PROT_READ), 0);
    }
    ~BeforeTheNextStore() {
        EXPECT_EQ(page_, nullptr) << "there was no store";
        sigaction(SIGSEGV, &before_, nullptr);
    }
    BeforeTheNextStore(const BeforeTheNextStore&) = delete;
    BeforeTheNextStore& operator=(const BeforeTheNextStore&) = delete;

private:
    static void happen(int) {
        mprotect(std::exchange(page_, nullptr), kPage, PROT_READ | PROT_WRITE);
        action_();
    }
    inline static void* page_;
    inline static std::function<void()> action_;
    struct sigaction before_ {};
};

TEST_F(Journals, WhoPollsIsCountedAlsoBesideAnotherOneThatBeginsTo) {
    auto* const clock = static_cast<stm_clock*>(window_page(direct, STM_OFFSET_CLOCK));
    for (int round = 0; round < 2; ++round) {
        {
            const BeforeTheNextStore meanwhile(clock, [&] {
                EXPECT_EQ(stm_core_poll_ready(second.get()), 0);
                EXPECT_NE(clock->sleepers, 0u) << "it sleeps now";
            });
            EXPECT_EQ(stm_core_poll_ready(direct.get()), 0);
        }
        EXPECT_EQ(clock->sleepers, 1u);
        EXPECT_EQ(stm_core_control(direct.get(), STM_IOC_WAKE, 1), 0);
        EXPECT_EQ(clock->sleepers, 0u);
    }
}
#endif

// A program that stores what it likes keeps nobody else in the kernel for ever.
TEST_F(Journals, ARecordThatNoCommitHasStoredStopsNobody) {
    const Sleepless quick;
    put(second, 0, 1);
    put(second, 640, 2);
    // A lock like one of the module's.
    record(direct, 0) = STM_RECORD_LOCKED(1);
    record(direct, 10) = STM_RECORD_LOCKED(1);
    EXPECT_EQ(settle(second, 0), -EAGAIN) << "a commit of the module's would look like that";
    EXPECT_EQ(get(second, 0), 1u);
    put(second, 640, 3);
    EXPECT_EQ(get(direct, 640), 3u);
    // A version that the clock has not given.
    record(direct, 0) = (clock_of(direct) + 1000) << 1;
    EXPECT_EQ(get(second, 0), 1u);
    record(direct, 0) = (clock_of(direct) + 1000) << 1;
    EXPECT_EQ(settle(second, 0), 0);
    EXPECT_EQ(record_of(second, 0), clock_of(second) << 1);
    put(second, 0, 4);
    EXPECT_EQ(get(direct, 0), 4u);
}

TEST_F(Journals, FailuresLeaveNothing) {
    for (std::size_t step = 1;; ++step) {
        ASSERT_LT(step, 1000u);
        const FailPoint point(step);
        const File made = open(control, "failing", kCreate, {kPage, STM_REGION_DIRECT, 0666});
        const long claimed = made.ok() ? claim(made).result : made.error();
        if (point.happened() == Failure::none) {
            EXPECT_EQ(claimed, 0);
            break;
        }
        if (made.ok()) {
            EXPECT_EQ(destroy_name(control, "failing", STM_DESTROY_DEFERRED), 0);
        }
    }
}

} // namespace
} // namespace stm::test
