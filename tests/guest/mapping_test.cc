// SPDX-License-Identifier: GPL-2.0
// Regions in the address space: mmap and what can be done to a mapping.
#include "guest.hpp"

#include <csignal>
#include <fstream>
#include <sys/resource.h>

using namespace stm::test;

namespace {

int map_error(int fd, std::size_t size, int protection, int flags, off_t offset = 0) {
    Mapping mapping(fd, size, protection, offset, flags);
    return mapping.ok() ? 0 : errno;
}

// The lines of /proc/self/maps that speak of this.
std::vector<std::string> maps_lines(const std::string& text) {
    std::vector<std::string> result;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
        if (line.find(text) != std::string::npos)
            result.push_back(line);
    return result;
}

STM_HELPER(write_at_offset) {
    Fd fd(stm_open(words.at(0).c_str(), 0, 0, 0));
    Mapping mapping(fd.get(), 4 * kPage);
    if (!mapping.ok())
        return 1;
    for (int page = 0; page < 4; ++page)
        std::snprintf(mapping.at(static_cast<std::size_t>(page) * kPage + 100), 20, "page %d",
                      page);
    return 0;
}

TEST(Mapping, IsTheSameMemoryInUnrelatedProcesses) {
    Region region("unrelated", 4 * kPage);
    Mapping mapping(region.fd(), 4 * kPage);
    ASSERT_TRUE(mapping.ok());
    EXPECT_EQ(Child::program("write_at_offset", {region.name()}).wait(), 0);
    for (std::size_t page = 0; page < 4; ++page)
        EXPECT_EQ(std::string(mapping.at(page * kPage + 100)), "page " + std::to_string(page));
}

TEST(Mapping, HasOneDistinctPageForEachOffset) {
    Region region("distinct", 64 * kPage);
    EXPECT_EQ(Child::doing([&] {
                  Mapping mapping(region.fd(), 64 * kPage);
                  for (std::uint32_t page = 0; page < 64; ++page)
                      for (std::size_t at = 0; at < kPage; at += 4)
                          *mapping.at<std::uint32_t>(page * kPage + at) = page * 1000003U + at;
              }).wait(),
              0);
    Mapping mapping(region.fd(), 64 * kPage);
    for (std::uint32_t page = 0; page < 64; ++page)
        for (std::size_t at = 0; at < kPage; at += 4)
            ASSERT_EQ(*mapping.at<std::uint32_t>(page * kPage + at), page * 1000003U + at);
    // From the middle of the region.
    Mapping part(region.fd(), 2 * kPage, PROT_READ, 10 * kPage);
    ASSERT_TRUE(part.ok());
    EXPECT_EQ(*part.at<std::uint32_t>(kPage), 11 * 1000003U);
}

TEST(Mapping, IsAtDifferentAddressesTheSameMemory) {
    Region region("twice");
    Mapping first(region.fd(), kPage);
    Mapping second(region.fd(), kPage, PROT_READ);
    ASSERT_TRUE(first.ok() && second.ok());
    ASSERT_NE(first.data(), second.data());
    *first.at(7) = 'x';
    EXPECT_EQ(*second.at(7), 'x');
}

TEST(Mapping, AndCallsSeeEachOther) {
    Region region("calls");
    Mapping mapping(region.fd(), kPage);
    std::strcpy(mapping.at(), "stored");
    char text[10] = "";
    EXPECT_EQ(::pread(region.fd(), text, 7, 0), 7);
    EXPECT_STREQ(text, "stored");
    EXPECT_EQ(::pwrite(region.fd(), "called", 7, 0), 7);
    EXPECT_STREQ(mapping.at(), "called");
}

TEST(Mapping, MustBeSharedAndLieInTheRegion) {
    Region region("bounds", 2 * kPage);
    int rw = PROT_READ | PROT_WRITE;
    EXPECT_EQ(map_error(region.fd(), 2 * kPage, rw, MAP_SHARED), 0);
    EXPECT_EQ(map_error(region.fd(), 2 * kPage, rw, MAP_SHARED_VALIDATE), 0);
    EXPECT_EQ(map_error(region.fd(), 2 * kPage, rw, MAP_PRIVATE), EINVAL);
    EXPECT_EQ(map_error(region.fd(), 2 * kPage, PROT_READ, MAP_PRIVATE), EINVAL);
    EXPECT_EQ(map_error(region.fd(), 3 * kPage, rw, MAP_SHARED), EINVAL);
    EXPECT_EQ(map_error(region.fd(), 2 * kPage, rw, MAP_SHARED, kPage), EINVAL);
    EXPECT_EQ(map_error(region.fd(), kPage, rw, MAP_SHARED, 2 * kPage), EINVAL);
    int error =
        map_error(region.fd(), kPage, rw, MAP_SHARED, static_cast<off_t>(~kPage + 1) & ~(1L << 63));
    EXPECT_TRUE(error == EINVAL || error == EOVERFLOW) << error;
    EXPECT_EQ(map_error(region.fd(), kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED),
              error_of_forbidden_exec());
    EXPECT_EQ(map_error(region.fd(), kPage, PROT_READ | PROT_EXEC, MAP_SHARED),
              error_of_forbidden_exec());
    EXPECT_EQ(info_of(region.fd()).mappings, 0u);
    // Part of a page is mapped as a whole page.
    EXPECT_EQ(map_error(region.fd(), kPage + 1, rw, MAP_SHARED), 0);
}

TEST(Mapping, OfAReadOnlyHandleCanNotBeWritten) {
    Region region("read only");
    Fd reader(stm_open(region.name().c_str(), 0, STM_RDONLY, 0));
    EXPECT_EQ(map_error(reader.get(), kPage, PROT_READ | PROT_WRITE, MAP_SHARED), EACCES);
    Mapping mapping(reader.get(), kPage, PROT_READ);
    ASSERT_TRUE(mapping.ok());
    EXPECT_EQ(signal_of_store(mapping.data()), SIGSEGV);
    EXPECT_EQ(signal_of_load(mapping.data()), 0);
    EXPECT_EQ(::mprotect(mapping.data(), kPage, PROT_READ | PROT_WRITE), -1);
    EXPECT_EQ(errno, EACCES);
}

TEST(Mapping, OfATransactionalRegionCanBeReadButNotStoredTo) {
    Region region("transactional", 2 * kPage, 0);
    ASSERT_EQ(::pwrite(region.fd(), "committed", 10, 0), 10);
    Mapping mapping(region.fd(), 2 * kPage, PROT_READ);
    ASSERT_TRUE(mapping.ok());
    EXPECT_STREQ(mapping.at(), "committed");
    EXPECT_EQ(signal_of_store(mapping.data()), SIGSEGV);
    EXPECT_EQ(signal_of_store(mapping.at(kPage)), SIGSEGV) << "a page that nobody touched";
    ASSERT_EQ(::pwrite(region.fd(), "again", 6, 0), 6);
    EXPECT_STREQ(mapping.at(), "again");

    // Also where the mapping itself would allow it, and after pages were looked at.
    Mapping writable(region.fd(), 2 * kPage);
    if (writable.ok()) {
        EXPECT_EQ(signal_of_store(writable.data()), SIGSEGV);
        EXPECT_EQ(*writable.at(kPage), 0);
        EXPECT_EQ(signal_of_store(writable.at(kPage)), SIGSEGV);
        EXPECT_EQ(::mprotect(writable.data(), 2 * kPage, PROT_READ), 0);
        EXPECT_EQ(::mprotect(writable.data(), 2 * kPage, PROT_READ | PROT_WRITE), 0);
        EXPECT_EQ(signal_of_store(writable.data()), SIGSEGV);
        EXPECT_EQ(signal_of_store(writable.at(kPage)), SIGSEGV);
    }
    char text[6] = "";
    EXPECT_EQ(::pread(region.fd(), text, 6, 0), 6);
    EXPECT_STREQ(text, "again");
}

TEST(Mapping, OutlivesItsHandle) {
    Region region("outlives");
    Mapping mapping(region.fd(), kPage);
    region.close();
    *mapping.at() = 'x';
    EXPECT_EQ(*mapping.at(), 'x');
    EXPECT_EQ(info_of(region.name()).mappings, 1u);
}

TEST(FirstTouch, MakesOnePageResident) {
    Region region("touch", 16 * kPage);
    Mapping mapping(region.fd(), 16 * kPage);
    EXPECT_EQ(info_of(region.fd()).resident_bytes, 0u);
    *mapping.at(5 * kPage) = 1;
    EXPECT_EQ(info_of(region.fd()).resident_bytes, kPage);
    *mapping.at(5 * kPage + 100) = 1;
    EXPECT_EQ(info_of(region.fd()).resident_bytes, kPage);
    for (std::size_t page = 0; page < 16; ++page)
        *mapping.at(page * kPage) = 1;
    EXPECT_EQ(info_of(region.fd()).resident_bytes, 16 * kPage);
}

TEST(FirstTouch, BySixteenProcessesAtOnceGivesOnePage) {
    constexpr std::size_t kRounds = 16;
    Region region("first faults", kRounds * kPage);
    StartingLine line(16);
    std::vector<Child> children;
    for (std::uint32_t index = 1; index <= 16; ++index)
        children.push_back(Child([&, index] {
            Mapping mapping(region.fd(), kRounds * kPage);
            line.wait();
            int won = 0;
            for (std::size_t round = 0; round < kRounds; ++round) {
                std::uint32_t expected = 0;
                if (__atomic_compare_exchange_n(mapping.at<std::uint32_t>(round * kPage), &expected,
                                                index, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
                    ++won;
                __atomic_add_fetch(mapping.at<std::uint32_t>(round * kPage + 4), 1,
                                   __ATOMIC_RELAXED);
            }
            return won; // 0..16, far from the statuses of failures
        }));
    int winners = 0;
    for (Child& child : children)
        winners += child.wait();
    EXPECT_EQ(winners, static_cast<int>(kRounds)) << "a page has two copies";
    Mapping mapping(region.fd(), kRounds * kPage);
    for (std::size_t round = 0; round < kRounds; ++round)
        EXPECT_EQ(*mapping.at<std::uint32_t>(round * kPage + 4), 16u);
    EXPECT_EQ(info_of(region.fd()).resident_bytes, kRounds * kPage);
}

TEST(FirstTouch, ByPopulateMakesEverythingResident) {
    Region region("populate", 32 * kPage);
    Mapping mapping(region.fd(), 32 * kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_POPULATE);
    ASSERT_TRUE(mapping.ok());
    EXPECT_EQ(info_of(region.fd()).resident_bytes, 32 * kPage);
}

// -- How many faults --

constexpr std::size_t kWalked = 1024; // pages
enum class Access { load, store };

// The faults of a walk through a new mapping of pages that are all there, in an order of their
// numbers.
long faults_of(int fd, Access access, const std::function<std::size_t(std::size_t)>& order) {
    const Mapping mapping(fd, kWalked * kPage);
    EXPECT_TRUE(mapping.ok());
    std::vector<volatile char*> places;
    for (std::size_t turn = 0; turn < kWalked; ++turn)
        places.push_back(mapping.at(order(turn) * kPage));
    const auto faults = [] {
        struct rusage usage {};
        ::getrusage(RUSAGE_SELF, &usage);
        return usage.ru_minflt + usage.ru_majflt;
    };
    const long before = faults();
    for (volatile char* place : places) {
        if (access == Access::store)
            *place = 1;
        else
            static_cast<void>(*place);
    }
    return faults() - before;
}

struct Walk {
    const char* name;
    std::function<std::size_t(std::size_t)> order;
};
const Walk kWalks[] = {
    {"forward", [](std::size_t turn) { return turn; }},
    {"backward", [](std::size_t turn) { return kWalked - 1 - turn; }},
    {"here and there", [](std::size_t turn) { return turn * 389 % kWalked; }},
    {"from the middle to both ends",
     [](std::size_t turn) {
         return turn % 2 == 0 ? kWalked / 2 + turn / 2 : kWalked / 2 - 1 - turn / 2;
     }},
};

void fill(int fd) {
    const Mapping mapping(fd, kWalked * kPage);
    ASSERT_TRUE(mapping.ok());
    for (std::size_t page = 0; page < kWalked; ++page)
        *mapping.at(page * kPage) = 1;
}

TEST(Faults, AreAsFewAsAMemfdsWhicheverWayItIsRead) {
    const Region region("walked", kWalked * kPage);
    const Fd memfd(::memfd_create("walked", MFD_CLOEXEC));
    ASSERT_EQ(::ftruncate(memfd.get(), static_cast<off_t>(kWalked * kPage)), 0);
    fill(region.fd());
    fill(memfd.get());
    for (const Walk& walk : kWalks) {
        const long ours = faults_of(region.fd(), Access::load, walk.order);
        const long theirs = faults_of(memfd.get(), Access::load, walk.order);
        std::printf("%-30s %4ld faults, a memfd %4ld\n", walk.name, ours, theirs);
        // The mapping may begin within one of the parts of 64 KiB that are mapped at a time.
        EXPECT_LE(ours, theirs + 2) << walk.name;
        EXPECT_LE(ours, static_cast<long>(kWalked / 16 + 2)) << walk.name;
    }
}

TEST(Faults, AreAsFewForStoresAsForLoads) {
    const Region region("stored", kWalked * kPage);
    fill(region.fd());
    for (const Walk& walk : kWalks)
        EXPECT_LE(faults_of(region.fd(), Access::store, walk.order),
                  static_cast<long>(kWalked / 16 + 2))
            << walk.name;
}

TEST(Faults, MapWhatIsThereAroundAndMakeNothing) {
    const Region region("sparse", 64 * kPage);
    // Its address is a multiple of 64 KiB, as its offset is.
    const Mapping room(-1, 128 * kPage, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    const auto start = (reinterpret_cast<std::uintptr_t>(room.data()) + 16 * kPage - 1) /
                       (16 * kPage) * (16 * kPage);
    const Mapping mapping(region.fd(), 64 * kPage, PROT_READ | PROT_WRITE, 0,
                          MAP_SHARED | MAP_FIXED, reinterpret_cast<void*>(start));
    ASSERT_TRUE(mapping.ok());
    for (const std::size_t page : {16, 17, 19, 20, 21, 23, 31, 32})
        ASSERT_EQ(::pwrite(region.fd(), "x", 1, static_cast<off_t>(page * kPage)), 1);
    const auto mapped = [&] {
        std::vector<unsigned char> entries(64);
        EXPECT_EQ(::mincore(mapping.data(), 64 * kPage, entries.data()), 0);
        std::vector<std::size_t> pages;
        for (std::size_t page = 0; page < entries.size(); ++page)
            if ((entries[page] & 1) != 0)
                pages.push_back(page);
        return pages;
    };
    EXPECT_EQ(*mapping.at(20 * kPage), 'x');
    EXPECT_EQ(mapped(), (std::vector<std::size_t>{19, 20, 21}));
    EXPECT_EQ(*mapping.at(31 * kPage), 'x');
    EXPECT_EQ(mapped(), (std::vector<std::size_t>{19, 20, 21, 31}));
    EXPECT_EQ(*mapping.at(22 * kPage), 0);
    EXPECT_EQ(mapped(), (std::vector<std::size_t>{19, 20, 21, 22, 23, 31}));
    EXPECT_EQ(info_of(region.fd()).resident_bytes, 9 * kPage);
}

TEST(Layout, IsRecognisableInProcMaps) {
    Region region("maps", 2 * kPage);
    Mapping mapping(region.fd(), 2 * kPage);
    std::vector<std::string> lines = maps_lines(region.name());
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_NE(lines[0].find("stm:"), std::string::npos) << lines[0];
    EXPECT_NE(lines[0].find("rw-s"), std::string::npos) << lines[0];
}

TEST(Layout, OfNeighboursIsNotMerged) {
    Region region("neighbours", 4 * kPage);
    Mapping room(-1, 4 * kPage, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    for (std::size_t page = 0; page < 4; ++page)
        ASSERT_NE(::mmap(room.at(page * kPage), kPage, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED, region.fd(), static_cast<off_t>(page * kPage)),
                  MAP_FAILED);
    EXPECT_EQ(maps_lines(region.name()).size(), 4u);
    EXPECT_EQ(info_of(region.fd()).mappings, 4u);
}

TEST(Layout, ShrinksByMremap) {
    Region region("shrink", 4 * kPage);
    Mapping mapping(region.fd(), 4 * kPage);
    *mapping.at(3 * kPage) = 'x';
    ASSERT_EQ(::mremap(mapping.data(), 4 * kPage, 2 * kPage, 0), mapping.data());
    EXPECT_EQ(signal_of_load(mapping.at(kPage)), 0);
    EXPECT_EQ(signal_of_load(mapping.at(2 * kPage)), SIGSEGV);
    char byte = 0;
    EXPECT_EQ(::pread(region.fd(), &byte, 1, 3 * kPage), 1);
    EXPECT_EQ(byte, 'x');
}

TEST(Layout, MovesByMremap) {
    Region region("move", 2 * kPage);
    void* mapped = ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    std::strcpy(static_cast<char*>(mapped), "moved");
    Mapping room(-1, 2 * kPage, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    void* moved =
        ::mremap(mapped, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, room.data());
    ASSERT_EQ(moved, room.data());
    EXPECT_STREQ(static_cast<char*>(moved), "moved");
    static_cast<char*>(moved)[kPage] = 'y';
    char byte = 0;
    EXPECT_EQ(::pread(region.fd(), &byte, 1, kPage), 1);
    EXPECT_EQ(byte, 'y');
    EXPECT_EQ(info_of(region.fd()).mappings, 1u);
    EXPECT_EQ(signal_of_load(mapped), SIGSEGV);
}

TEST(Layout, DoesNotGrowByMremap) {
    Region region("grow", 4 * kPage);
    Mapping mapping(region.fd(), 2 * kPage);
    EXPECT_EQ(::mremap(mapping.data(), 2 * kPage, 8 * kPage, MREMAP_MAYMOVE), MAP_FAILED);
    EXPECT_EQ(::mremap(mapping.data(), 2 * kPage, 4 * kPage, MREMAP_MAYMOVE), MAP_FAILED);
    EXPECT_EQ(::mremap(mapping.data(), 0, 2 * kPage, MREMAP_MAYMOVE), MAP_FAILED)
        << "a second mapping for nothing";
    *mapping.at(kPage) = 1;
    EXPECT_EQ(info_of(region.fd()).mappings, 1u);
}

TEST(Layout, SurvivesAHoleInTheMiddle) {
    Region region("hole", 3 * kPage);
    void* mapped = ::mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd(), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    char* memory = static_cast<char*>(mapped);
    ASSERT_EQ(::munmap(memory + kPage, kPage), 0);
    EXPECT_EQ(info_of(region.fd()).mappings, 2u);
    memory[0] = 'a';
    memory[2 * kPage] = 'c';
    EXPECT_EQ(signal_of_load(memory + kPage), SIGSEGV);
    char bytes[3] = "";
    EXPECT_EQ(::pread(region.fd(), &bytes[0], 1, 0), 1);
    EXPECT_EQ(::pread(region.fd(), &bytes[1], 1, 2 * kPage), 1);
    EXPECT_STREQ(bytes, "ac");
    ASSERT_EQ(::munmap(memory, 3 * kPage), 0);
    EXPECT_EQ(info_of(region.fd()).mappings, 0u);
}

TEST(Layout, FollowsMprotect) {
    Region region("mprotect", 2 * kPage);
    Mapping mapping(region.fd(), 2 * kPage);
    *mapping.at() = 'x';
    ASSERT_EQ(::mprotect(mapping.data(), kPage, PROT_READ), 0);
    EXPECT_EQ(signal_of_store(mapping.data()), SIGSEGV);
    EXPECT_EQ(signal_of_store(mapping.at(kPage)), 0);
    ASSERT_EQ(::mprotect(mapping.data(), kPage, PROT_NONE), 0);
    EXPECT_EQ(signal_of_load(mapping.data()), SIGSEGV);
    ASSERT_EQ(::mprotect(mapping.data(), kPage, PROT_READ | PROT_WRITE), 0);
    *mapping.at() = 'y';
    EXPECT_EQ(::mprotect(mapping.data(), kPage, PROT_READ | PROT_EXEC), -1);
    EXPECT_EQ(errno, EACCES);
    char byte = 0;
    EXPECT_EQ(::pread(region.fd(), &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'y');
}

TEST(Layout, KeepsItsDataThroughMadvise) {
    Region region("madvise", 4 * kPage);
    Mapping mapping(region.fd(), 4 * kPage);
    for (std::size_t page = 0; page < 4; ++page)
        *mapping.at(page * kPage) = static_cast<char>('a' + page);
    EXPECT_EQ(::madvise(mapping.data(), 4 * kPage, MADV_DONTNEED), 0);
    for (std::size_t page = 0; page < 4; ++page)
        EXPECT_EQ(*mapping.at(page * kPage), static_cast<char>('a' + page));
    ::madvise(mapping.data(), 4 * kPage, MADV_WILLNEED);
    ::madvise(mapping.data(), 4 * kPage, MADV_PAGEOUT);
    ::madvise(mapping.data(), 4 * kPage, MADV_COLD);
    if (::madvise(mapping.data(), kPage, MADV_REMOVE) != 0) {
        EXPECT_EQ(*mapping.at(), 'a');
    }
    EXPECT_NE(::madvise(mapping.data(), kPage, MADV_WIPEONFORK), 0);
    for (std::size_t page = 1; page < 4; ++page)
        EXPECT_EQ(*mapping.at(page * kPage), static_cast<char>('a' + page));
    EXPECT_EQ(info_of(region.fd()).resident_bytes, 4 * kPage);
}

TEST(Layout, CanBeLockedAndSynced) {
    Region region("locked", 4 * kPage);
    Mapping mapping(region.fd(), 4 * kPage);
    EXPECT_EQ(::mlock(mapping.data(), 4 * kPage), 0) << std::strerror(errno);
    EXPECT_EQ(info_of(region.fd()).resident_bytes, 4 * kPage);
    EXPECT_EQ(::munlock(mapping.data(), 4 * kPage), 0);
    EXPECT_EQ(::msync(mapping.data(), 4 * kPage, MS_SYNC), 0) << std::strerror(errno);
    std::vector<unsigned char> present(4);
    EXPECT_EQ(::mincore(mapping.data(), 4 * kPage, present.data()), 0) << std::strerror(errno);
}

TEST(Fork, SharesTheParentsMappings) {
    Region region("fork", 2 * kPage);
    Mapping mapping(region.fd(), 2 * kPage);
    *mapping.at() = 'p';
    EXPECT_EQ(Child::doing([&] {
                  EXPECT_EQ(*mapping.at(), 'p');
                  *mapping.at(1) = 'c';
                  *mapping.at(kPage) = 'd'; // a page that the parent did not have
              }).wait(),
              0);
    EXPECT_EQ(*mapping.at(1), 'c');
    EXPECT_EQ(*mapping.at(kPage), 'd');
}

// Linux 7 takes MADV_DOFORK only for mappings that may be grown, and ours never may.
TEST(Fork, IsTakenOutByDontforkAndOnLinux7ForGood) {
    Region region("left out");
    Mapping mapping(region.fd(), kPage);
    *mapping.at() = 'p';
    const auto signal_in_child = [&] {
        return Child([&] { return signal_of([&] { (void)*mapping.at<volatile char>(); }); }).wait();
    };
    ASSERT_EQ(::madvise(mapping.data(), kPage, MADV_DONTFORK), 0);
    EXPECT_EQ(signal_in_child(), SIGSEGV);
    EXPECT_EQ(*mapping.at(), 'p');
    if (linux_is_at_least(7, 0)) {
        EXPECT_EQ(::madvise(mapping.data(), kPage, MADV_DOFORK), -1);
        EXPECT_EQ(errno, EINVAL);
        EXPECT_EQ(signal_in_child(), SIGSEGV);
        // Another mapping of the region is one that a child has.
        Mapping again(region.fd(), kPage);
        EXPECT_EQ(Child([&] { return *again.at(); }).wait(), 'p');
    } else {
        EXPECT_EQ(::madvise(mapping.data(), kPage, MADV_DOFORK), 0);
        EXPECT_EQ(signal_in_child(), 0);
    }
}

TEST(Fork, AHundredTimesKeepsTheCountsRight) {
    Region region("forks");
    Mapping mapping(region.fd(), kPage);
    for (int round = 0; round < 100; ++round)
        ASSERT_EQ(Child::doing([&] {
                      __atomic_add_fetch(mapping.at<int>(), 1, __ATOMIC_RELAXED);
                  }).wait(),
                  0);
    EXPECT_EQ(*mapping.at<int>(), 100);
    EXPECT_EQ(info_of(region.fd()).handles, 1u);
    EXPECT_EQ(info_of(region.fd()).mappings, 1u);
}

TEST(Addresses, MayBeWished) {
    Region region("wished");
    for (std::uintptr_t wish : {0x10000000UL, 0x20000000UL}) {
        void* where = reinterpret_cast<void*>(wish);
        Mapping mapping(region.fd(), kPage, PROT_READ | PROT_WRITE, 0,
                        MAP_SHARED | MAP_FIXED_NOREPLACE, where);
        ASSERT_TRUE(mapping.ok()) << std::strerror(errno);
        EXPECT_EQ(mapping.data(), where);
        ++*mapping.at<int>();
    }
    Mapping mapping(region.fd(), kPage);
    EXPECT_EQ(*mapping.at<int>(), 2);
}

} // namespace
