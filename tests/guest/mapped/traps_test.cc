// SPDX-License-Identifier: GPL-2.0
// What modules with mappings of their own usually get wrong, as far as no other test here is about
// it. README.md beside this file has the list of all.
#include "mapped.hpp"

#include <atomic>
#include <csignal>
#include <thread>

using namespace stm::test;

namespace {

class MappedTraps : public Mapped {};

// The kernel writes the answer while it serves the handle, and that faults.
TEST_F(MappedTraps, RequestsMayHaveTheirArgumentInTheMapping) {
    auto* all = reinterpret_cast<struct stm_statistics*>(bytes(kPage));
    auto* info = reinterpret_cast<struct stm_info*>(bytes(2 * kPage));
    stm_start(fd());
    EXPECT_EQ(stm_statistics(fd(), all), 0) << std::strerror(errno);
    info->size = sizeof *info;
    info->flags = STM_BY_HANDLE;
    EXPECT_EQ(::ioctl(fd(), STM_IOC_INFO, info), 0) << std::strerror(errno);
    EXPECT_EQ(info->region_size, size_);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(info->region_size, size_);
    EXPECT_EQ(all->size, sizeof *all);
    EXPECT_EQ(::ioctl(fd(), STM_IOC_INFO, info), -1) << "a store outside of a transaction";
    EXPECT_EQ(errno, EFAULT);
}

// Faults and ends of transactions hold the address space's lock, which others want all the time.
TEST_F(MappedTraps, TheAddressSpaceMayChangeWhileTransactionsRun) {
    std::atomic<bool> done = false;
    std::thread changer([&] {
        while (!done) {
            Mapping more(fd(), size_, PROT_READ);
            (void)::mprotect(more.data(), kPage, PROT_NONE);
            (void)::madvise(bytes(), size_, MADV_DONTNEED);
            Mapping other(-1, 16 * kPage, PROT_READ | PROT_WRITE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
            *other.at(kPage) = 1;
        }
    });
    for (volatile long round = 1; round <= 200;) {
        do {
            stm_start(fd());
            for (std::size_t page = 0; page < 8; ++page)
                number(page * kPage) = number(page * kPage) + 1;
        } while (stm_commit(fd()) != 0);
        const long next = round + 1;
        round = next;
    }
    done = true;
    changer.join();
    for (std::size_t page = 0; page < 8; ++page)
        EXPECT_EQ(number(page * kPage), 200);
}

TEST_F(MappedTraps, ARegionDestroyedMeanwhileStaysForItsTransaction) {
    stm_start(fd());
    number(0) = 1;
    EXPECT_EQ(stm_unlink(region_.name().c_str()), -1);
    EXPECT_EQ(errno, EBUSY);
    ASSERT_EQ(stm_unlink_deferred(region_.name().c_str()), 0) << std::strerror(errno);
    EXPECT_FALSE(exists(region_.name()));
    EXPECT_EQ(number(kPage), 0) << "a fault after its name is gone";
    number(2 * kPage) = 2;
    ASSERT_EQ(stm_commit(fd()), 0);
    view_.close();
    region_.close();
    EXPECT_EQ(number(0), 1) << "the mapping alone keeps it";
    EXPECT_EQ(number(2 * kPage), 2);
}

// Pages of former transactions are used again for what nobody has written yet.
TEST_F(MappedTraps, PagesUsedAgainShowNothingOld) {
    constexpr std::size_t kDirty = 16;
    const std::vector<char> zeros(kPage);
    for (int round = 0; round < 4; ++round) {
        stm_start(fd());
        std::memset(bytes(), 0xaa, kDirty * kPage);
        if (round % 2 == 0)
            ASSERT_EQ(stm_commit(fd()), 0);
        else
            stm_cancel(fd());
        stm_start(fd());
        for (std::size_t page = kDirty; page < 3 * kDirty; ++page) {
            volatile char first = *bytes(page * kPage + (round < 2 ? 0 : 1));
            EXPECT_EQ(first, 0);
            EXPECT_EQ(std::memcmp(bytes(page * kPage), zeros.data(), kPage), 0) << "page " << page;
        }
        ASSERT_EQ(stm_commit(fd()), 0);
    }
}

TEST_F(MappedTraps, AMappingMustBeSharedAndLieInTheRegion) {
    struct {
        std::size_t length;
        int protection;
        int flags;
        off_t offset;
        int error;
    } const refused[] = {
        {kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0, EINVAL},
        {kPage, PROT_READ, MAP_PRIVATE, 0, EINVAL},
        {kPage, PROT_READ | PROT_EXEC, MAP_SHARED, 0, error_of_forbidden_exec()},
        {2 * kPage, PROT_READ, MAP_SHARED, static_cast<off_t>(size_ - kPage), EINVAL},
        {kPage, PROT_READ, MAP_SHARED, static_cast<off_t>(size_), EINVAL},
        {kPage, PROT_READ, MAP_SHARED, static_cast<off_t>(1) << 50, EINVAL},
    };
    for (const auto& one : refused) {
        void* mapped = ::mmap(nullptr, one.length, one.protection, one.flags, fd(), one.offset);
        EXPECT_EQ(mapped, MAP_FAILED) << one.length << " bytes at " << one.offset;
        EXPECT_EQ(errno, one.error) << one.length << " bytes at " << one.offset;
    }
    // The last byte of the address space's offsets, and one page more.
    EXPECT_EQ(::mmap(nullptr, 2 * kPage, PROT_READ, MAP_SHARED, fd(),
                     static_cast<off_t>((~std::uint64_t{0} >> 1) / kPage * kPage)),
              MAP_FAILED);
    EXPECT_EQ(::mprotect(bytes(), kPage, PROT_READ | PROT_EXEC), -1);
    EXPECT_EQ(errno, EACCES);
}

// Linux 6.12 merges mappings that follow each other without asking the module.
TEST_F(MappedTraps, NeighboursAreMappingsOfTheirOwn) {
    constexpr std::size_t kCount = 4;
    const unsigned before = info_of(fd()).mappings;
    Mapping room(-1, kCount * kPage, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    for (std::size_t page = 0; page < kCount; ++page)
        ASSERT_NE(::mmap(room.at(page * kPage), kPage, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED, fd(), static_cast<off_t>(page * kPage)),
                  MAP_FAILED);
    EXPECT_EQ(info_of(fd()).mappings, before + kCount);
    stm_start(fd());
    for (std::size_t page = 0; page < kCount; ++page)
        *room.at<volatile long>(page * kPage) = static_cast<long>(page) + 1;
    EXPECT_EQ(number(3 * kPage), 4) << "the same page of the transaction";
    ASSERT_EQ(stm_commit(fd()), 0);
    for (std::size_t page = 0; page < kCount; ++page) {
        EXPECT_EQ(number(page * kPage), static_cast<long>(page) + 1);
        EXPECT_EQ(signal_of_store(room.at(page * kPage)), SIGSEGV);
    }
}

TEST_F(MappedTraps, AChildCanNotEndItsParentsTransaction) {
    ASSERT_EQ(::ioctl(fd(), STM_IOC_START, 0), 1); // past the library, which knows of fork
    number(0) = 1;
    elsewhere([&] {
        EXPECT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), -1);
        EXPECT_EQ(errno, EINVAL);
        EXPECT_EQ(::ioctl(fd(), STM_IOC_CANCEL, STM_CANCEL_ALL), -1);
        EXPECT_EQ(errno, EINVAL);
        (void)::madvise(bytes(), size_, MADV_DOFORK);
    });
    EXPECT_EQ(get(another().fd()), 0);
    EXPECT_EQ(number(0), 1);
    ASSERT_EQ(::ioctl(fd(), STM_IOC_COMMIT, 0), 0);
    EXPECT_EQ(number(0), 1);
}

// Its page was writable for it, and must not be any more when others see the commit.
TEST_F(MappedTraps, AThreadThatGoesOnStoringIsStoppedByTheCommit) {
    for (int round = 0; round < 5; ++round) {
        EXPECT_EQ(signal_of([&] {
                      if (::ioctl(fd(), STM_IOC_START, 0) != 1)
                          return;
                      number(0) = 1;
                      std::atomic<bool> running = false;
                      std::thread storer([&] {
                          for (long value = 1000;; ++value) {
                              number(0) = value;
                              running = true;
                          }
                      });
                      while (!running)
                          ::usleep(100);
                      (void)::ioctl(fd(), STM_IOC_COMMIT, 0);
                      storer.join();
                  }),
                  SIGSEGV);
        const long committed = number(0);
        EXPECT_GE(committed, 1000) << "round " << round;
        for (int look = 0; look < 20; ++look) {
            ::usleep(500);
            ASSERT_EQ(number(0), committed);
            ASSERT_EQ(get(fd()), committed);
        }
    }
}

// Nothing that it does tells it that what it sees is old.
TEST_F(MappedTraps, ALoopOnOldDataInTheMappingEnds) {
    StartingLine line(2);
    Child other = Child::doing([&] {
        View view = another();
        line.wait();
        store(view, 0, 1);
    });
    volatile int attempts = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        const long seen = number(0);
        if (attempts == 1) {
            line.wait();
            while (number(0) == seen) {
            }
            ADD_FAILURE() << "what was loaded once changed in a transaction";
        }
        EXPECT_EQ(seen, attempts == 1 ? 0 : 1);
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(other.wait(), 0);
    EXPECT_EQ(attempts, 2);
}

// Linux asks the file for operations that only files of a file system have.
TEST_F(MappedTraps, TheMappingCanBeLockedAndSynced) {
    store(view_, 0, 7);
    unsigned char resident[64] = {};
    for (const bool inside : {false, true}) {
        if (inside)
            stm_start(fd());
        EXPECT_EQ(::mlock(bytes(), 4 * kPage), 0) << std::strerror(errno);
        EXPECT_EQ(number(0), 7);
        if (inside)
            number(0) = 8;
        EXPECT_EQ(::msync(bytes(), 4 * kPage, MS_SYNC), 0) << std::strerror(errno);
        EXPECT_EQ(::mincore(bytes(), 4 * kPage, resident), 0) << std::strerror(errno);
        (void)::posix_fadvise(fd(), 0, 0, POSIX_FADV_DONTNEED);
        EXPECT_EQ(::munlock(bytes(), 4 * kPage), 0) << std::strerror(errno);
        EXPECT_EQ(number(0), inside ? 8 : 7);
    }
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 8);
}

} // namespace
