// SPDX-License-Identifier: GPL-2.0
// What transactions of several processes and threads, in mappings, see of each other.
#include "mapped.hpp"

#include <atomic>
#include <memory>
#include <sys/ioctl.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr unsigned kPages = 32;

class MappedIsolation : public Mapped {};

void step(volatile int& round) {
    round = round + 1;
}

unsigned next(unsigned& random, unsigned most) {
    random = random * 1103515245 + 12345;
    return (random >> 12) % most;
}

TEST_F(MappedIsolation, StoresToDifferentBytesOfAPageAreNeverLost) {
    constexpr int kProcesses = 4;
    constexpr int kRounds = 100;
    StartingLine line(kProcesses);
    std::vector<Child> children;
    for (int index = 0; index < kProcesses; ++index)
        children.emplace_back([&] {
            View view = another();
            volatile char* own = view.bytes(static_cast<std::size_t>(index)); // neighbours
            line.wait();
            for (volatile int round = 0; round < kRounds; step(round))
                do {
                    stm_start(view.fd());
                    *own = static_cast<char>(*own + 1);
                } while (stm_commit(view.fd()) != 0);
            return 0;
        });
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    for (std::size_t index = 0; index < kProcesses; ++index)
        EXPECT_EQ(*bytes(index), kRounds);
}

TEST_F(MappedIsolation, AStoreConflictsWithOneElsewhereInThePage) {
    // Past the library: so a conflict is an error of the commit, and no restart.
    ASSERT_EQ(::ioctl(fd(), STM_IOC_START, 0), 1);
    number(0) = 1;
    elsewhere([&] { store(another(), 2048, 2); });
    EXPECT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(number(0), 0);
    EXPECT_EQ(number(2048), 2);
    // Calls are finer than pages.
    ASSERT_EQ(::ioctl(fd(), STM_IOC_START, 0), 1);
    put(fd(), 1L);
    elsewhere([&] { store(another(), 2048, 3); });
    EXPECT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), 0);
    EXPECT_EQ(number(0), 1);
    EXPECT_EQ(number(2048), 3);
}

TEST_F(MappedIsolation, CountersOfMappingsAndCallsAreExact) {
    constexpr int kProcesses = 6;
    constexpr int kRounds = 100;
    StartingLine line(kProcesses);
    std::vector<Child> children;
    for (int index = 0; index < kProcesses; ++index)
        children.emplace_back([&] {
            View view = another();
            line.wait();
            for (volatile int round = 0; round < kRounds; step(round))
                do {
                    stm_start(view.fd());
                    if (index % 2 == 0)
                        view[0] = view[0] + 1;
                    else
                        put(view.fd(), get(view.fd()) + 1);
                } while (stm_commit(view.fd()) != 0);
            return 0;
        });
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(number(0), kProcesses * kRounds);
    EXPECT_LE(statistics(fd()).longest_streak, 24u);
}

TEST_F(MappedIsolation, WriteSkewIsExcluded) {
    // Each leaves only while the other is there.
    constexpr std::size_t kRounds = 150;
    std::vector<std::unique_ptr<StartingLine>> lines;
    for (std::size_t round = 0; round < kRounds; ++round)
        lines.push_back(std::make_unique<StartingLine>(2));
    auto leave = [&](std::size_t own, std::size_t other) {
        View view = another();
        for (volatile int round = 0; round < static_cast<int>(kRounds); step(round)) {
            const auto at = static_cast<std::size_t>(round) * 8;
            lines[at / 8]->wait();
            do {
                stm_start(view.fd());
                if (view[other + at] == 0)
                    view[own + at] = 1;
            } while (stm_commit(view.fd()) != 0);
        }
        return 0;
    };
    Child first([&] { return leave(0, kPage); });
    Child second([&] { return leave(kPage, 0); });
    EXPECT_EQ(first.wait(), 0);
    EXPECT_EQ(second.wait(), 0);
    for (std::size_t at = 0; at < kRounds * 8; at += 8)
        EXPECT_EQ(number(at) + number(kPage + at), 1) << "round " << at / 8;
}

// The sum is right inside of each attempt, also of those that cannot commit.
TEST_F(MappedIsolation, AuditsSeeOneStateWhileOthersTransfer) {
    constexpr long kEach = 100;
    do {
        stm_start(fd());
        for (unsigned page = 0; page < kPages; ++page)
            number(page * kPage) = kEach;
    } while (stm_commit(fd()) != 0);
    std::vector<Child> movers;
    for (unsigned index = 0; index < 3; ++index)
        movers.emplace_back([&, index] {
            View view = another();
            volatile unsigned seed = index + 1;
            for (;;) {
                unsigned random = 0;
                do {
                    stm_start(view.fd());
                    random = seed;
                    const std::size_t from = next(random, kPages) * kPage;
                    const std::size_t to = next(random, kPages) * kPage;
                    if (index == 2) {
                        put(view.fd(), get(view.fd(), static_cast<off_t>(from)) - 1,
                            static_cast<off_t>(from));
                        put(view.fd(), get(view.fd(), static_cast<off_t>(to)) + 1,
                            static_cast<off_t>(to));
                    } else {
                        view[from] = view[from] - 1;
                        view[to] = view[to] + 1;
                    }
                } while (stm_commit(view.fd()) != 0);
                seed = random * 69069 + 1;
            }
            return 0;
        });
    volatile int attempts = 0;
    volatile int audits = 0;
    const double end = seconds() + 8;
    while (seconds() < end) {
        do {
            stm_start(fd());
            attempts = attempts + 1;
            long sum = 0;
            for (unsigned page = 0; page < kPages; ++page)
                sum += number((page * 7) % kPages * kPage);
            ASSERT_EQ(sum, kPages * kEach) << "attempt " << attempts;
        } while (stm_commit(fd()) != 0);
        audits = audits + 1;
    }
    movers.clear();
    std::printf("%d audits in %d attempts\n", audits, attempts);
    EXPECT_GT(audits, 5);
    long sum = 0;
    for (unsigned page = 0; page < kPages; ++page)
        sum += number(page * kPage);
    EXPECT_EQ(sum, kPages * kEach);
}

TEST_F(MappedIsolation, AForkedChildHasItsOwnView) {
    store(view_, 0, 1);
    ASSERT_EQ(::ioctl(fd(), STM_IOC_START, 0), 1);
    number(0) = 2;
    EXPECT_EQ(number(kPage), 0);
    elsewhere([&] { // on the same descriptor and mapping
        EXPECT_EQ(number(0), 1) << "the parent's transaction is not the child's";
        EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
        EXPECT_EQ(transaction(fd()).depth, 0u);
        ASSERT_EQ(stm_try_start(fd()), 0) << std::strerror(errno);
        EXPECT_EQ(number(0), 1);
        number(2 * kPage) = 5;
        EXPECT_EQ(stm_commit(fd()), 0);
        EXPECT_EQ(number(2 * kPage), 5);
    });
    EXPECT_EQ(number(0), 2);
    EXPECT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), 0);
    EXPECT_EQ(number(0), 2);
    EXPECT_EQ(number(2 * kPage), 5);
}

TEST_F(MappedIsolation, ParentAndChildRunTransactionsOnOneHandleAtOnce) {
    constexpr int kRounds = 300;
    auto count = [&](std::size_t own) {
        for (volatile int round = 0; round < kRounds; step(round)) {
            do {
                stm_start(fd());
                number(own) = number(own) + 1;
                number(0) = number(0) + 1;
            } while (stm_commit(fd()) != 0);
            (void)get(fd());
            EXPECT_EQ(number(own), round + 1); // and so a page of the region is mapped again
        }
    };
    Child child = Child::doing([&] { count(kPage); });
    count(2 * kPage);
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(number(0), 2 * kRounds);
}

TEST_F(MappedIsolation, ASecondThreadOnABusyMappedHandleIsRefused) {
    stm_start(fd());
    number(0) = 1;
    std::thread([&] {
        EXPECT_EQ(stm_try_start(fd()), -1);
        EXPECT_EQ(errno, EBUSY);
    }).join();
    EXPECT_EQ(stm_commit(fd()), 0);
    std::thread([&] {
        ASSERT_EQ(stm_try_start(fd()), 0);
        number(0) = 2;
        EXPECT_EQ(stm_commit(fd()), 0);
    }).join();
    EXPECT_EQ(number(0), 2);
    stm_start(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(MappedIsolation, ThreadsWithAHandleEachRunAtOnce) {
    constexpr int kThreads = 4;
    constexpr int kRounds = 100;
    std::vector<std::thread> threads;
    std::atomic<int> inside = 0;
    for (int index = 0; index < kThreads; ++index)
        threads.emplace_back([&, index] {
            View view = another();
            const auto own = static_cast<std::size_t>(index + 1) * kPage;
            stm_start(view.fd());
            view[own] = 1;
            ++inside;
            while (inside < kThreads)
                std::this_thread::yield();
            for (int other = 0; other < kThreads; ++other)
                EXPECT_EQ(view[static_cast<std::size_t>(other + 1) * kPage], other == index);
            stm_cancel(view.fd());
            for (volatile int round = 0; round < kRounds; step(round))
                do {
                    stm_start(view.fd());
                    view[0] = view[0] + 1;
                } while (stm_commit(view.fd()) != 0);
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(number(0), kThreads * kRounds);
}

// Another thread of the process that looks at the same mapping from outside must not bring a
// committed page into a transaction.
TEST_F(MappedIsolation, AThreadThatLooksFromOutsideDoesNotSpoilASnapshot) {
    Child writer([&] {
        View view = another();
        for (long value = 1;; ++value) {
            do {
                stm_start(view.fd());
                view[0] = value;
                view[kPage] = value;
            } while (stm_commit(view.fd()) != 0);
        }
        return 0;
    });
    std::atomic<bool> done = false;
    std::thread looker([&] {
        while (!done) {
            ::madvise(bytes(), kPage, MADV_DONTNEED);
            (void)*const_cast<const volatile char*>(bytes());
        }
    });
    volatile int wrong = 0;
    volatile int rounds = 0;
    const double end = seconds() + 10;
    while (seconds() < end && wrong == 0) {
        do {
            stm_start(fd());
            const long first = number(0);
            const long second = number(kPage);
            const long again = number(0);
            if (first != second || first != again)
                wrong = wrong + 1;
        } while (stm_commit(fd()) != 0);
        rounds = rounds + 1;
    }
    done = true;
    looker.join();
    EXPECT_EQ(wrong, 0) << "in round " << rounds;
    std::printf("%d rounds\n", rounds);
}

// -- A list that is walked by its pointers: the same address in all processes --

struct Node {
    Node* next;
    Node* self;
    long key;
    long twice;
};

class MappedList : public Mapped {
protected:
    static constexpr std::uintptr_t kBase = 0x200000000000;
    static constexpr unsigned kNodes = 64;
    struct Area {
        Node head;
        Node* unused;
    };
    // One node in each page but the first, so that a walk takes many faults.
    static Node* node(unsigned n) { return reinterpret_cast<Node*>(kBase + n * kPage); }
    static Area* area() { return reinterpret_cast<Area*>(kBase); }

    MappedList() : Mapped((kNodes + 1) * kPage) {}
    [[nodiscard]] bool attach(Fd& handle) const {
        handle = Fd(stm_open(region_.name().c_str(), 0, 0, 0));
        return ::mmap(reinterpret_cast<void*>(kBase), size_, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_FIXED_NOREPLACE, handle.get(),
                      0) == reinterpret_cast<void*>(kBase);
    }
    // Keys rise, all nodes are whole. Within a transaction.
    static long walk() {
        long length = 0;
        long before = -1;
        for (Node* at = area()->head.next; at != nullptr; at = at->next) {
            if (at->self != at || at->twice != 2 * at->key || at->key <= before)
                return -1;
            before = at->key;
            if (++length > kNodes)
                return -2;
        }
        return length;
    }
    static void insert(long key) {
        Node** place = &area()->head.next;
        while (*place != nullptr && (*place)->key < key)
            place = &(*place)->next;
        Node* fresh = area()->unused;
        if (fresh == nullptr || (*place != nullptr && (*place)->key == key))
            return;
        area()->unused = fresh->next;
        *fresh = {*place, fresh, key, 2 * key};
        *place = fresh;
    }
    static void remove(long key) {
        Node** place = &area()->head.next;
        while (*place != nullptr && (*place)->key < key)
            place = &(*place)->next;
        Node* gone = *place;
        if (gone == nullptr || gone->key != key)
            return;
        *place = gone->next;
        // Poison: a walk that came here would see it.
        *gone = {area()->unused, nullptr, -77, 0};
        area()->unused = gone;
    }
};

TEST_F(MappedList, WalksNeverMeetADanglingOrTornNode) {
    Fd handle;
    ASSERT_TRUE(attach(handle));
    do {
        stm_start(handle.get());
        for (unsigned n = 1; n <= kNodes; ++n)
            *node(n) = {n == kNodes ? nullptr : node(n + 1), nullptr, -77, 0};
        area()->unused = node(1);
        for (long key = 0; key < 30; key += 3)
            insert(key);
    } while (stm_commit(handle.get()) != 0);
    ASSERT_EQ(::munmap(reinterpret_cast<void*>(kBase), size_), 0);

    std::vector<Child> changers;
    for (unsigned index = 0; index < 2; ++index)
        changers.emplace_back([&, index] {
            Fd own;
            if (!attach(own))
                return 1;
            volatile unsigned seed = 77 * index + 1;
            for (;;) {
                volatile unsigned step = 0;
                do {
                    stm_start(own.get());
                    unsigned random = seed;
                    const long key = next(random, 30);
                    if (next(random, 2) == 0)
                        insert(key);
                    else
                        remove(key);
                    step = random;
                } while (stm_commit(own.get()) != 0);
                seed = step * 69069 + 1;
            }
            return 0;
        });
    std::vector<Child> walkers;
    for (int index = 0; index < 2; ++index)
        walkers.emplace_back([&] {
            Fd own;
            if (!attach(own))
                return 1;
            volatile int walks = 0;
            volatile long bad = 0;
            const double end = seconds() + 8;
            while (seconds() < end && bad == 0) {
                do {
                    stm_start(own.get());
                    const long length = walk();
                    if (length < 0)
                        bad = length;
                } while (stm_commit(own.get()) != 0);
                walks = walks + 1;
            }
            std::printf("%d walks\n", walks);
            EXPECT_EQ(bad, 0);
            EXPECT_GT(walks, 5);
            return 0;
        });
    for (Child& walker : walkers)
        EXPECT_EQ(walker.wait(), 0);
    changers.clear();
}

} // namespace
