// SPDX-License-Identifier: GPL-2.0
// Mappings that stay warm: what a program sees of them. What is the same as in others is also asked
// by the other programs of this folder, which run with STM_WARM=1, too.
#include "mapped.hpp"

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <thread>
#include <vector>

using namespace stm::test;

namespace {

class WarmMappings : public Mapped {
protected:
    void SetUp() override {
        Mapped::SetUp();
        ASSERT_EQ(stm_set_warm(fd(), 1), 0) << std::strerror(errno);
        load(0); // its start tells the kernel
    }
    /** In a transaction. */
    long load(const View& view, std::size_t at) const {
        volatile long value = 0;
        do {
            stm_start(view.fd());
            value = view[at];
        } while (stm_commit(view.fd()) != 0);
        return value;
    }
    long load(std::size_t at) const { return load(view_, at); }
    void store_here(std::size_t at, long value) const { store(view_, at, value); }
    void store_elsewhere(std::size_t at, long value) const {
        EXPECT_EQ(Child::doing([&] { store(another(), at, value); }).wait(), 0);
    }
    [[nodiscard]] std::uint64_t faults() const { return statistics(fd()).load_faults; }
    /** Whether its pages are in the page table: only then does a load see something old. */
    void make_warm(std::size_t at) const { load(at); }
};

TEST_F(WarmMappings, ASteadyReaderHasNoFault) {
    // A thread that does not run for a tenth of a second loses its pages.
    EXPECT_TRUE(eventually([&] {
        make_warm(0);
        const std::uint64_t before = faults();
        for (int round = 0; round < 100; ++round)
            EXPECT_EQ(load(0), 0);
        return faults() == before;
    }));
}

// However short the way is that its starts take.
TEST_F(WarmMappings, ALimitOfAttemptsIsKept) {
    for (long value = 1; value < 5; ++value)
        store_here(0, value);
    ASSERT_EQ(stm_set_retry_limit(fd(), 1), 0);
    stm_defer_restarts();
    EXPECT_EQ(stm_try_start(fd()), 0);
    view_[1] = view_[0] + 1;
    store_elsewhere(0, 7);
    EXPECT_EQ(stm_try_commit(fd()), 1);
    stm_allow_restarts();
    errno = 0;
    EXPECT_EQ(stm_try_start(fd()), -1);
    EXPECT_EQ(errno, EAGAIN);
    ASSERT_EQ(stm_set_retry_limit(fd(), 0), 0);
    EXPECT_EQ(load(0), 7);
}

TEST_F(WarmMappings, ATransactionSeesWhatOthersHaveCommitted) {
    for (long value = 1; value < 20; ++value) {
        make_warm(0);
        store_elsewhere(0, value);
        EXPECT_EQ(load(0), value);
    }
}

// Nobody closes a descriptor meanwhile, as a child does at its end. So it is the clock alone that
// tells the start.
TEST_F(WarmMappings, AStartWithoutACallSeesWhatWasCommitted) {
    const View other = another();
    for (long value = 1; value < 20; ++value) {
        make_warm(0);
        make_warm(0);
        store(other, 0, value);
        EXPECT_EQ(load(0), value);
    }
}

TEST_F(WarmMappings, OthersSeeWhatATransactionHasCommitted) {
    const View view = another();
    for (long value = 1; value < 20; ++value) {
        store_here(0, value);
        EXPECT_EQ(view[0], value);
        EXPECT_EQ(load(0), value);
    }
}

TEST_F(WarmMappings, ALoadOutsideShowsTheLastSnapshotAndNotForever) {
    make_warm(0);
    store_elsewhere(0, 7);
    const long seen = number(0);
    EXPECT_TRUE(seen == 0 || seen == 7) << seen;
    EXPECT_TRUE(eventually([&] { return number(0) == 7; }));
    EXPECT_EQ(load(0), 7);
}

TEST_F(WarmMappings, ARefreshShowsWhatIsCommitted) {
    for (long value = 1; value < 10; ++value) {
        make_warm(0);
        store_elsewhere(0, value);
        EXPECT_EQ(stm_refresh(fd()), 0);
        EXPECT_EQ(number(0), value);
        EXPECT_EQ(load(0), value);
    }
    stm_start(fd());
    EXPECT_EQ(stm_refresh(fd()), -1);
    EXPECT_EQ(errno, EBUSY);
    stm_cancel(fd());
    EXPECT_EQ(stm_refresh(-1), -1);
    EXPECT_EQ(errno, EBADF);
}

TEST_F(WarmMappings, StoresOutsideAreRefused) {
    store_here(0, 1);
    EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
    make_warm(0);
    EXPECT_EQ(load(0), 1);
    EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
    long value = 5;
    iovec local{&value, sizeof value};
    iovec remote{bytes(), sizeof value};
    EXPECT_EQ(::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0), -1);
    ASSERT_EQ(::mprotect(bytes(), kPage, PROT_READ), 0);
    ASSERT_EQ(::mprotect(bytes(), kPage, PROT_READ | PROT_WRITE), 0);
    EXPECT_EQ(::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0), -1);
    EXPECT_EQ(load(0), 1);
    EXPECT_EQ(another()[0], 1);
}

TEST_F(WarmMappings, AMappingMayChangeBetweenTransactions) {
    store_here(0, 1);
    make_warm(0);
    store_elsewhere(kPage, 2);
    ASSERT_EQ(::munmap(bytes(), kPage), 0);
    EXPECT_EQ(load(kPage), 2);
    void* const place =
        ::mmap(bytes(), kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd(), 0);
    ASSERT_EQ(place, bytes());
    store_elsewhere(0, 3);
    EXPECT_EQ(load(0), 3);
    void* const aside = ::mmap(nullptr, 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_EQ(::mremap(bytes(), kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, aside), aside);
    volatile long* const moved = static_cast<volatile long*>(aside);
    store_elsewhere(0, 4);
    volatile long seen = 0;
    do {
        stm_start(fd());
        seen = *moved;
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(seen, 4);
    ASSERT_EQ(::madvise(bytes(kPage), kPage, MADV_DONTNEED), 0);
    EXPECT_EQ(load(kPage), 2);
    ASSERT_EQ(::munmap(aside, 2 * kPage), 0);
}

TEST_F(WarmMappings, AForkedChildSeesWhatIsCommitted) {
    make_warm(0);
    store_elsewhere(0, 1);
    EXPECT_EQ(Child::doing([&] {
                  EXPECT_EQ(number(0), 1);
                  for (long value = 2; value < 10; ++value) {
                      EXPECT_EQ(load(0), value - 1);
                      store_here(0, value);
                      EXPECT_EQ(load(0), value);
                  }
                  EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
              }).wait(),
              0);
    EXPECT_EQ(load(0), 9);
}

TEST_F(WarmMappings, ThreadsTakeTurns) {
    for (long value = 1; value < 20; ++value) {
        make_warm(0);
        std::thread([&] {
            store_here(0, value);
            EXPECT_EQ(load(0), value);
        }).join();
        EXPECT_EQ(load(0), value);
    }
}

TEST_F(WarmMappings, ALoopOnOldDataEnds) {
    make_warm(0);
    volatile int tries = 0;
    do {
        stm_start(fd());
        tries = tries + 1;
        const long before = number(0);
        if (tries == 1) {
            store_elsewhere(0, before + 1);
            for (;;)
                ;
        }
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(tries, 2);
}

TEST_F(WarmMappings, CallsBetweenTransactionsReadWhatIsCommitted) {
    make_warm(0);
    store_elsewhere(0, 1);
    long value = 0;
    ASSERT_EQ(::pread(fd(), &value, sizeof value, 0), 8);
    EXPECT_EQ(value, 1);
    value = 2;
    ASSERT_EQ(::pwrite(fd(), &value, sizeof value, 0), 8);
    EXPECT_EQ(load(0), 2);
}

// A pipe holds the page itself, which was only loaded. Others may read it there at any time.
TEST_F(WarmMappings, APinnedPageShowsNothingOfLaterTransactions) {
    const auto splice_and = [&](const auto& action) {
        int ends[2];
        ASSERT_EQ(::pipe(ends), 0);
        make_warm(0);
        volatile long before = 0;
        volatile ssize_t spliced = 0;
        // Inside, where the page is the transaction's in any case.
        do {
            stm_start(fd());
            before = number(0);
            iovec piece{bytes(), kPage};
            if (spliced == 0)
                spliced = ::vmsplice(ends[1], &piece, 1, 0);
        } while (stm_commit(fd()) != 0);
        ASSERT_EQ(spliced, static_cast<ssize_t>(kPage));
        const auto expect_what_was = [&] {
            long content[kPage / sizeof(long)];
            EXPECT_EQ(::read(ends[0], content, kPage), static_cast<ssize_t>(kPage));
            EXPECT_EQ(content[0], before);
        };
        action(before, expect_what_was);
        ::close(ends[0]);
        ::close(ends[1]);
    };
    for (int round = 0; round < 8; ++round) {
        splice_and([&](long before, const auto& expect_what_was) {
            stm_start(fd());
            number(0) = before + 1;
            expect_what_was();
            stm_cancel(fd());
            EXPECT_EQ(load(0), before);
        });
        splice_and([&](long before, const auto& expect_what_was) {
            store_here(0, before + 1);
            expect_what_was();
            EXPECT_EQ(load(0), before + 1);
        });
        splice_and([&](long before, const auto& expect_what_was) {
            store_elsewhere(0, before + 1);
            EXPECT_EQ(load(0), before + 1);
            expect_what_was();
        });
    }
}

TEST_F(WarmMappings, LeaveNothingWhenTheyAreClosed) {
    std::string name;
    {
        Region region("closed", 4 * kPage, kTransactional);
        name = region.name();
        View view(name, 4 * kPage);
        ASSERT_EQ(stm_set_warm(view.fd(), 1), 0);
        EXPECT_EQ(load(view, 0), 0);
        EXPECT_EQ(load(view, 0), 0);
        EXPECT_EQ(info_of(name).mappings, 2u) << "and that of the clock";
        view.close();
        ASSERT_EQ(::munmap(view.bytes(), 4 * kPage), 0);
        view.mapping().release();
        EXPECT_EQ(info_of(name).handles, 1u) << "that of the region itself";
        EXPECT_EQ(info_of(name).mappings, 0u);
    }
    EXPECT_FALSE(exists(name));
}

// The clock that the process has is of the file that had the number before.
TEST_F(WarmMappings, ANumberThatBecomesAnotherRegionsIsNotTakenForIt) {
    const Region region("second", 4 * kPage, kTransactional);
    View second(region.name(), 4 * kPage);
    // A child that ended would close a descriptor, and each start would be a call.
    const View third(region.name(), 4 * kPage);
    for (long value = 1; value < 10; ++value)
        store(second, 0, value);
    View view(another());
    ASSERT_EQ(stm_set_warm(view.fd(), 1), 0);
    EXPECT_EQ(load(view, 0), 0);
    ASSERT_EQ(::dup2(second.fd(), view.fd()), view.fd());
    const int number = view.fd();
    const auto add = [&] {
        do {
            stm_start(number);
            second[0] = second[0] + 1;
        } while (stm_commit(number) != 0);
    };
    for (int round = 0; round < 40; ++round) {
        add();
        store(third, 0, 100);
        add();
        long value = 0;
        ASSERT_EQ(::pread(number, &value, sizeof value, 0), 8);
        EXPECT_EQ(value, 101);
    }
}

// The same where both clocks happen to be equal: then nothing else tells.
TEST_F(WarmMappings, ANumberIsNotTakenForAnotherRegionsWithTheSameClock) {
    const auto clock_of = [](const View& view) {
        void* const place =
            ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, view.fd(), STM_OFFSET_CLOCK);
        EXPECT_NE(place, MAP_FAILED);
        return static_cast<const volatile std::uint64_t*>(place);
    };
    const Region region("second", 4 * kPage, kTransactional);
    const View second(region.name(), 4 * kPage);
    const View second_too(region.name(), 4 * kPage);
    const View first_too(another());
    const volatile std::uint64_t* const first_clock = clock_of(first_too);
    const volatile std::uint64_t* const second_clock = clock_of(second_too);
    const View view(another());
    ASSERT_EQ(stm_set_warm(view.fd(), 1), 0);
    EXPECT_EQ(load(view, 0), 0);
    ASSERT_EQ(::dup2(second.fd(), view.fd()), view.fd());
    const auto seen = [&] {
        volatile long value = 0;
        do {
            stm_start(view.fd());
            value = second[0];
        } while (stm_commit(view.fd()) != 0);
        return long{value};
    };
    long turn = 0;
    for (int round = 0; round < 20; ++round) {
        while (*first_clock < *second_clock)
            store(first_too, 8, ++turn);
        while (*second_clock < *first_clock)
            store(second_too, 8, ++turn);
        for (int again = 0; again < 4; ++again)
            seen();
        store(second_too, 0, ++turn);
        EXPECT_EQ(seen(), turn);
    }
}

TEST_F(WarmMappings, CanBeSwitchedOff) {
    make_warm(0);
    ASSERT_EQ(stm_set_warm(fd(), 0), 0);
    load(0);
    store_elsewhere(0, 1);
    EXPECT_EQ(number(0), 1) << "the page of the transaction is not there any more";
    EXPECT_EQ(load(0), 1);
}

TEST_F(WarmMappings, AreRefusedWhereTheyCannotBe) {
    EXPECT_EQ(stm_set_warm(-1, 1), -1);
    EXPECT_EQ(errno, EBADF);
    const Region plain("plain", kPage, STM_PLAIN);
    const Fd handle(stm_open(plain.name().c_str(), 0, 0, 0));
    EXPECT_EQ(stm_set_warm(handle.get(), 1), -1);
    EXPECT_EQ(errno, EOPNOTSUPP);
}

// Numbers in pages of their own that are always equal. Some that look make no system call.
TEST_F(WarmMappings, NobodySeesHalfACommit) {
    constexpr int kNumbers = 4;
    constexpr int kRounds = 2000;
    const auto change = [&] {
        const View view = another();
        ASSERT_EQ(stm_set_warm(view.fd(), 1), 0);
        for (int round = 0; round < kRounds; ++round) {
            do {
                stm_start(view.fd());
                const long next = view[0] + 1;
                for (std::size_t at = 0; at < kNumbers; ++at)
                    view[at * kPage] = next;
            } while (stm_commit(view.fd()) != 0);
        }
    };
    Child one = Child::doing(change);
    Child two = Child::doing(change);
    long last = 0;
    for (;;) {
        volatile long seen[kNumbers] = {};
        do {
            stm_start(fd());
            for (std::size_t at = 0; at < kNumbers; ++at)
                seen[at] = number(at * kPage);
            for (std::size_t at = 1; at < kNumbers; ++at)
                EXPECT_EQ(seen[at], seen[0]);
        } while (stm_commit(fd()) != 0);
        EXPECT_GE(seen[0], last);
        last = seen[0];
        if (last == 2 * kRounds || HasFailure())
            break;
    }
    EXPECT_EQ(one.wait(), 0);
    EXPECT_EQ(two.wait(), 0);
}

// -- Pages that are stored to again and again, whether the mapping stays warm or not --

class StoredPages : public Mapped, public ::testing::WithParamInterface<bool> {
protected:
    void SetUp() override {
        Mapped::SetUp();
        ASSERT_EQ(stm_set_warm(fd(), GetParam() ? 1 : 0), 0) << std::strerror(errno);
        for (int round = 0; round < 8; ++round)
            run([] {});
    }
    /** A transaction that counts in one of two pages, and does something else. All are begun at
     * one place, so that the pages are expected to be stored to. Whether it was committed. */
    template <typename Body>
    bool run(Body body) {
        stm_start(fd());
        if (counts_ && ++turns_ % 4 != 0)
            number(0) = number(0) + 1;
        else if (counts_)
            number(kPage) = number(kPage) + 1;
        body();
        return stm_commit(fd()) == 0;
    }
    [[nodiscard]] long committed(std::size_t at) const {
        long value = 0;
        EXPECT_EQ(::pread(other_.fd(), &value, sizeof value, static_cast<off_t>(at)),
                  static_cast<ssize_t>(sizeof value));
        return value;
    }
    /** Both pages show what is committed. */
    void expect_whole() const {
        EXPECT_EQ(number(0), committed(0));
        EXPECT_EQ(number(kPage), committed(kPage));
    }
    static Fd temporary_file() {
        char name[] = "/tmp/stored-XXXXXX";
        Fd file(::mkstemp(name));
        EXPECT_GE(file.get(), 0);
        ::unlink(name);
        return file;
    }
    /** In this process, where the processor may remember that it was allowed. */
    static bool is_refused(volatile long& place) {
        static sigjmp_buf back;
        static volatile bool refused;
        struct sigaction action {};
        struct sigaction before {};
        action.sa_handler = [](int) { siglongjmp(back, 1); };
        EXPECT_EQ(::sigaction(SIGSEGV, &action, &before), 0);
        refused = true;
        if (sigsetjmp(back, 1) == 0) {
            place = -1;
            refused = false;
        }
        EXPECT_EQ(::sigaction(SIGSEGV, &before, nullptr), 0);
        return refused;
    }

    /** Whether Linux has noted that a page was stored to since its notes were cleared. */
    static bool is_soft_dirty(const void* place) {
        const Fd map(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
        std::uint64_t entry = 0;
        EXPECT_EQ(::pread(map.get(), &entry, sizeof entry,
                          static_cast<off_t>(reinterpret_cast<std::uintptr_t>(place) / kPage *
                                             sizeof entry)),
                  static_cast<ssize_t>(sizeof entry));
        return (entry >> 55 & 1) != 0;
    }
    static void clear_notes(char which) {
        const Fd notes(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
        EXPECT_EQ(::write(notes.get(), &which, 1), 1);
    }

    View other_ = another();
    bool counts_ = true;
    long turns_ = 0;
    volatile long* volatile place_ = nullptr; // of a child's, in the same place there
};

TEST_P(StoredPages, RefuseStoresAfterTheCommit) {
    for (int round = 0; round < 16; ++round) {
        EXPECT_TRUE(run([] {}));
        EXPECT_TRUE(is_refused(number(0)));
        EXPECT_TRUE(is_refused(number(kPage)));
        expect_whole();
    }
}

TEST_P(StoredPages, RefuseStoresOfAnotherThreadAfterTheCommit) {
    std::atomic<int> turn = 0;
    for (int round = 0; round < 8; ++round) {
        std::thread thread;
        // It comes when the pages are there for stores.
        EXPECT_TRUE(run([&] {
            thread = std::thread([&] {
                number(8) = round; // of the transaction
                turn = 1;
                while (turn != 2)
                    std::this_thread::yield();
                EXPECT_TRUE(is_refused(number(0)));
                EXPECT_TRUE(is_refused(number(kPage)));
            });
            while (turn != 1)
                std::this_thread::yield();
        }));
        turn = 2;
        thread.join();
        turn = 0;
        EXPECT_EQ(committed(8), round);
        expect_whole();
    }
}

TEST_P(StoredPages, ShowNothingOfATransactionThatFailed) {
    for (int round = 0; round < 8; ++round) {
        const long before = committed(0);
        const long before_too = committed(kPage);
        stm_defer_restarts();
        EXPECT_FALSE(run([&] {
            EXPECT_EQ(number(2 * kPage - 8), round);
            store(other_, 2 * kPage - 8, round + 1);
        }));
        stm_allow_restarts();
        EXPECT_EQ(number(0), before);
        EXPECT_EQ(number(kPage), before_too);
        expect_whole();
        EXPECT_TRUE(run([] {}));
    }
}

TEST_P(StoredPages, AreCommittedAlsoWhereTheKernelStores) {
    const Fd file = temporary_file();
    for (long round = 1; round < 16; ++round) {
        ASSERT_EQ(::pwrite(file.get(), &round, sizeof round, 0),
                  static_cast<ssize_t>(sizeof round));
        EXPECT_TRUE(run([&] {
            EXPECT_EQ(::pread(file.get(), bytes(16), sizeof round, 0),
                      static_cast<ssize_t>(sizeof round));
            EXPECT_EQ(::pread(file.get(), bytes(kPage + 16), sizeof round, 0),
                      static_cast<ssize_t>(sizeof round));
        }));
        EXPECT_EQ(committed(16), round);
        EXPECT_EQ(committed(kPage + 16), round);
        // Past the page table.
        const long other = -round;
        EXPECT_TRUE(run([&] {
            const iovec local{const_cast<long*>(&other), sizeof other};
            for (const std::size_t at : {std::size_t{24}, kPage + 24}) {
                const iovec remote{bytes(at), sizeof other};
                EXPECT_EQ(::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0),
                          static_cast<ssize_t>(sizeof other));
            }
        }));
        EXPECT_EQ(committed(24), other);
        EXPECT_EQ(committed(kPage + 24), other);
        expect_whole();
    }
}

TEST_P(StoredPages, MayLeaveThePageTableInTheMiddle) {
    for (long round = 1; round < 16; ++round) {
        EXPECT_TRUE(run([&] {
            number(32) = round;
            number(kPage + 32) = round;
            ASSERT_EQ(::madvise(bytes(), 2 * kPage, MADV_DONTNEED), 0);
            EXPECT_EQ(number(32), round);
        }));
        EXPECT_EQ(committed(32), round);
        EXPECT_EQ(committed(kPage + 32), round);
        expect_whole();
    }
}

TEST_P(StoredPages, AreRestoredByACancelledPart) {
    for (long round = 1; round < 16; ++round) {
        EXPECT_TRUE(run([&] {
            number(40) = round;
            stm_start(fd());
            number(40) = -1;
            number(kPage + 40) = -1;
            stm_cancel(fd());
            EXPECT_EQ(number(40), round);
            EXPECT_EQ(number(kPage + 40), 0);
        }));
        EXPECT_EQ(committed(40), round);
        EXPECT_EQ(committed(kPage + 40), 0);
        expect_whole();
    }
}

TEST_P(StoredPages, MayBeProtectedByTheProgram) {
    const Fd file = temporary_file();
    ASSERT_EQ(::pwrite(file.get(), "12345678", 8, 0), 8);
    ASSERT_EQ(::mprotect(bytes(), 2 * kPage, PROT_READ), 0);
    counts_ = false;
    for (int round = 0; round < 4; ++round) {
        EXPECT_TRUE(run([&] {
            EXPECT_EQ(::pread(file.get(), bytes(), 8, 0), -1);
            EXPECT_EQ(errno, EFAULT);
        }));
    }
    ASSERT_EQ(::mprotect(bytes(), 2 * kPage, PROT_READ | PROT_WRITE), 0);
    counts_ = true;
    EXPECT_TRUE(run([] {}));
    expect_whole();
}

TEST_P(StoredPages, MayBeInaccessibleForAWhile) {
    for (long round = 1; round < 16; ++round) {
        EXPECT_TRUE(run([&] {
            number(32) = round;
            ASSERT_EQ(::mprotect(bytes(), 2 * kPage, PROT_NONE), 0);
            ASSERT_EQ(::mprotect(bytes(), 2 * kPage, PROT_READ | PROT_WRITE), 0);
            EXPECT_EQ(number(32), round);
            number(kPage + 32) = round;
        }));
        EXPECT_EQ(committed(32), round);
        EXPECT_EQ(committed(kPage + 32), round);
        ASSERT_EQ(::mprotect(bytes(), 2 * kPage, PROT_NONE), 0);
        ASSERT_EQ(::mprotect(bytes(), 2 * kPage, PROT_READ | PROT_WRITE), 0);
        EXPECT_TRUE(is_refused(number(32)));
        expect_whole();
    }
}

TEST_P(StoredPages, AreSeenByWhoAsksLinuxForChangedPages) {
    volatile long own = 0;
    own = 1;
    if (!is_soft_dirty(const_cast<const long*>(&own)))
        GTEST_SKIP() << "this kernel notes no changed pages";
    for (int round = 0; round < 16; ++round) {
        clear_notes('4');
        EXPECT_TRUE(run([&] { EXPECT_TRUE(is_soft_dirty(bytes(turns_ % 4 != 0 ? 0 : kPage))); }));
    }
}

TEST_P(StoredPages, AreCommittedAlsoIfLinuxForgetsThatTheyWere) {
    for (long round = 1; round < 16; ++round) {
        for (const char which : {'1', '4'}) {
            EXPECT_TRUE(run([&] {
                number(32) = round;
                number(48) = -round;
                clear_notes(which);
                number(48) = round;
                number(kPage + 32) = round;
            }));
            for (const std::size_t at : {std::size_t{32}, std::size_t{48}, kPage + 32})
                EXPECT_EQ(committed(at), round);
            clear_notes(which);
            EXPECT_TRUE(is_refused(number(0)));
            expect_whole();
        }
    }
}

TEST_P(StoredPages, ShowAForkedChildNothingOfTheTransaction) {
    for (long round = 1; round < 8; ++round) {
        const long before = committed(32);
        stm_defer_restarts();
        EXPECT_TRUE(run([&] {
            number(32) = round;
            EXPECT_EQ(Child::doing([&] {
                          EXPECT_EQ(number(32), before);
                          EXPECT_EQ(signal_of_store(bytes(32)), SIGSEGV);
                      }).wait(),
                      0);
        }));
        stm_allow_restarts();
        EXPECT_EQ(committed(32), round);
        expect_whole();
    }
}

TEST_P(StoredPages, AreStoredToByAChildOfVfork) {
    for (long round = 1; round < 8; ++round) {
        EXPECT_TRUE(run([&] {
            const pid_t child = ::vfork();
            if (child == 0) {
                number(32) = round;
                ::_exit(0);
            }
            EXPECT_EQ(::waitpid(child, nullptr, 0), child);
            EXPECT_EQ(number(32), round);
        }));
        EXPECT_EQ(committed(32), round);
        EXPECT_TRUE(is_refused(number(32)));
        expect_whole();
    }
}

// Not a thread, but a process with the same memory.
TEST_P(StoredPages, RefuseStoresOfAProcessWithTheSameMemory) {
    struct Shared {
        volatile long* place;
        std::atomic<long> stores = 0;
    };
    std::vector<char> stack(64 * 1024);
    for (int round = 0; round < 8; ++round) {
        Shared shared{&number(64)};
        pid_t child = -1;
        EXPECT_TRUE(run([&] {
            child = ::clone(
                [](void* argument) {
                    Shared& own = *static_cast<Shared*>(argument);
                    // It has the thread's variables as well, so it calls nothing of the library.
                    const struct {
                        void (*handler)(int);
                        unsigned long flags;
                        void (*restorer)();
                        std::uint64_t mask;
                    } by_default{};
                    ::syscall(SYS_rt_sigaction, SIGSEGV, &by_default, nullptr, 8);
                    for (;;) {
                        *own.place = *own.place + 1;
                        own.stores.fetch_add(1);
                    }
                    return 0;
                },
                stack.data() + stack.size(), CLONE_VM | SIGCHLD, &shared);
            EXPECT_GT(child, 0);
            while (shared.stores < 10)
                std::this_thread::yield();
        }));
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) << status;
        EXPECT_EQ(number(64), committed(64));
        EXPECT_GE(committed(64), 10);
        expect_whole();
    }
}

// While the commit waits, what it will store is nobody's. A thread of the process sees what is
// committed.
/** Whether Linux has put that thread of this process to sleep. */
bool sleeps(pid_t thread) {
    const std::string path = "/proc/self/task/" + std::to_string(thread) + "/stat";
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char text[64] = {};
    if (::read(file.get(), text, sizeof text - 1) <= 0)
        return false;
    const char* const name_end = std::strrchr(text, ')');
    return name_end != nullptr && std::strncmp(name_end, ") S", 3) == 0;
}

TEST_P(StoredPages, ShowNothingOfACommitThatWaits) {
    bool seen = false;
    for (long round = 1; round < 6 && !seen; ++round) {
        const long before = committed(32);
        StartingLine line(2);
        std::atomic<bool> over = false;
        std::atomic<bool> about_to_commit = false;
        std::atomic<pid_t> other = 0;
        Child holder([&] {
            const View view = another();
            EXPECT_GE(::ioctl(view.fd(), STM_IOC_START, STM_START_SERIAL), 0);
            line.wait();
            ::usleep(600'000);
            ::ioctl(view.fd(), STM_IOC_CANCEL, 0);
            return 0;
        });
        std::thread thread;
        EXPECT_TRUE(run([&] {
            number(32) = round;
            if (thread.joinable())
                return;
            thread = std::thread([&] {
                other = static_cast<pid_t>(::syscall(SYS_gettid));
                while ((number(32) == before || !about_to_commit) && !over)
                    std::this_thread::yield();
                ::usleep(200'000); // no processor has the thread when the commit begins
                while (number(32) != before && !over)
                    std::this_thread::yield();
                seen = !over && number(32) == before;
            });
            line.wait();
            about_to_commit = true;
            while (other == 0 || !sleeps(other))
                std::this_thread::yield();
        }));
        over = true;
        thread.join();
        EXPECT_EQ(holder.wait(), 0);
        EXPECT_EQ(committed(32), round);
    }
    EXPECT_TRUE(seen);
}

TEST_P(StoredPages, AreChangedByADebuggerInsideAlone) {
    Child debugged([&] {
        const View view = another();
        const auto count = [&](bool stops) {
            do {
                stm_start(view.fd());
                view[0] = view[0] + 1;
                if (stops)
                    ::raise(SIGSTOP);
            } while (stm_commit(view.fd()) != 0);
        };
        EXPECT_EQ(stm_set_warm(view.fd(), GetParam() ? 1 : 0), 0);
        EXPECT_EQ(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr), 0);
        place_ = &view[56];
        for (int turn = 0; turn < 8; ++turn)
            count(false);
        for (int turn = 0; turn < 4; ++turn) {
            count(true);
            ::raise(SIGSTOP);
        }
        return 0;
    });
    const auto stopped = [&] {
        int status = 0;
        EXPECT_EQ(::waitpid(debugged.pid(), &status, 0), debugged.pid());
        return WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
    };
    for (long turn = 1; turn <= 4; ++turn) {
        ASSERT_TRUE(stopped());
        const long place = ::ptrace(PTRACE_PEEKDATA, debugged.pid(), &place_, nullptr);
        EXPECT_EQ(::ptrace(PTRACE_POKEDATA, debugged.pid(), place, turn), 0);
        EXPECT_EQ(committed(56), turn - 1);
        EXPECT_EQ(::ptrace(PTRACE_CONT, debugged.pid(), nullptr, nullptr), 0);
        ASSERT_TRUE(stopped());
        EXPECT_EQ(committed(56), turn);
        EXPECT_EQ(::ptrace(PTRACE_POKEDATA, debugged.pid(), place, -1), -1);
        EXPECT_EQ(::ptrace(PTRACE_PEEKDATA, debugged.pid(), place, nullptr), turn);
        EXPECT_EQ(::ptrace(PTRACE_CONT, debugged.pid(), nullptr, nullptr), 0);
    }
    EXPECT_EQ(debugged.wait(), 0);
    EXPECT_EQ(committed(56), 4);
}

TEST_P(StoredPages, MayBeMappedTwice) {
    const Mapping second(fd(), 2 * kPage);
    ASSERT_TRUE(second.ok());
    for (long round = 1; round < 16; ++round) {
        EXPECT_TRUE(run([&] {
            *second.at<volatile long>(32) = round;
            EXPECT_EQ(number(32), round);
            number(kPage + 32) = round;
            EXPECT_EQ(*second.at<volatile long>(kPage + 32), round);
        }));
        EXPECT_TRUE(is_refused(number(0)));
        EXPECT_TRUE(is_refused(*second.at<volatile long>(0)));
        EXPECT_TRUE(is_refused(*second.at<volatile long>(kPage)));
        EXPECT_EQ(committed(32), round);
        EXPECT_EQ(committed(kPage + 32), round);
        EXPECT_EQ(*second.at<volatile long>(32), round);
        expect_whole();
    }
}

INSTANTIATE_TEST_SUITE_P(, StoredPages, ::testing::Bool(), [](const auto& mode) {
    return std::string(mode.param ? "Warm" : "Cold");
});

} // namespace
