// SPDX-License-Identifier: GPL-2.0
// No byte of the kernel's memory, or of another region, reaches a program. Most of this is worth
// more where the kernel does not fill memory with zeros but with patterns: ci/check-guest runs it
// so, too.
#include "guest.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <stm/access.h>
#include <sys/ioctl.h>

using namespace stm::test;

namespace {

constexpr unsigned char kUntouched = 0x11;

// What the kernel's own checks leave in memory: objects that are in no use, that were freed, and
// pages that were.
constexpr std::array<unsigned char, 3> kPoisons{0x5a, 0x6b, 0xaa};

::testing::AssertionResult is_clean(const unsigned char* memory, std::size_t bytes) {
    for (unsigned char poison : kPoisons) {
        const std::array<unsigned char, 4> run{poison, poison, poison, poison};
        const unsigned char* found = std::search(memory, memory + bytes, run.begin(), run.end());
        if (found != memory + bytes)
            return ::testing::AssertionFailure()
                   << "poison " << int{poison} << " at byte " << found - memory;
    }
    // An address of the kernel, in its map of all memory, its own text or a module.
    for (std::size_t at = 0; at + 8 <= bytes; at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, memory + at, sizeof word);
        if (word >> 47 == 0x1ffff && word < ~std::uint64_t{0} - 4096)
            return ::testing::AssertionFailure() << "an address of the kernel at byte " << at;
    }
    return ::testing::AssertionSuccess();
}

::testing::AssertionResult is_zero(const void* memory, std::size_t bytes) {
    const auto* first = static_cast<const unsigned char*>(memory);
    const unsigned char* found =
        std::find_if(first, first + bytes, [](unsigned char byte) { return byte != 0; });
    if (found == first + bytes)
        return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "byte " << found - first << " is " << int{*found};
}

::testing::AssertionResult reads_zeros(int fd, std::size_t from, std::size_t bytes) {
    std::vector<unsigned char> memory(bytes, kUntouched);
    if (::pread(fd, memory.data(), bytes, static_cast<off_t>(from)) != static_cast<ssize_t>(bytes))
        return ::testing::AssertionFailure() << std::strerror(errno);
    return is_zero(memory.data(), bytes);
}

// Memory that the kernel is likely to give out next, full of something.
void dirty_the_kernels_memory() {
    const std::size_t bytes = 32 << 20;
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    std::memset(memory, 'S', bytes);
    ::munmap(memory, bytes);
}

class Leaks : public ::testing::TestWithParam<int> {
protected:
    void SetUp() override { dirty_the_kernels_memory(); }
    static constexpr std::size_t kPages = 64;
};

TEST_P(Leaks, ANewRegionReadsAsZeros) {
    Region region("read", kPages * kPage, GetParam());
    EXPECT_TRUE(reads_zeros(region.fd(), 0, kPages * kPage));
    // Around what is written, in pages that exist from now on.
    for (std::size_t page = 0; page < kPages; page += 3)
        ASSERT_EQ(::pwrite(region.fd(), "x", 1, static_cast<off_t>(page * kPage + 77)), 1);
    for (std::size_t page = 0; page < kPages; page += 3) {
        EXPECT_TRUE(reads_zeros(region.fd(), page * kPage, 77));
        EXPECT_TRUE(reads_zeros(region.fd(), page * kPage + 78, kPage - 78));
    }
}

// Bytes go through the kernel's memory on the way: between pieces, which begin at whole words
// there, and behind what was read before a piece failed.
TEST(Pieces, ReadNothingBesideTheRegion) {
    dirty_the_kernels_memory();
    constexpr std::size_t kBytes = 200 * kPage;
    const Region region("pieces", kBytes, 0);
    for (const std::size_t bytes : {1u, 5u, 13u, 250u, 300u, 5000u, 65530u, 100'003u}) {
        for (const bool fails : {false, true}) {
            SCOPED_TRACE(::testing::Message() << bytes << " bytes, " << (fails ? "fails" : ""));
            std::vector<unsigned char> memory(4 * bytes, kUntouched);
            stm_piece pieces[5];
            for (std::size_t piece = 0; piece < 4; ++piece)
                pieces[piece] =
                    stm_read_piece(1 + piece * (bytes + 3), &memory[piece * bytes], bytes);
            pieces[4] = stm_read_piece(0, fails ? nullptr : &memory[0], 1);
            errno = 0;
            EXPECT_EQ(stm_access(region.fd(), pieces, 5), fails ? -1 : 0);
            EXPECT_EQ(errno, fails ? EFAULT : 0);
            if (fails)
                std::replace(memory.begin(), memory.end(), kUntouched,
                             static_cast<unsigned char>(0));
            EXPECT_TRUE(is_zero(memory.data(), memory.size()));
        }
    }
}

TEST_P(Leaks, ANewRegionIsMappedAsZeros) {
    Region region("mapped", kPages * kPage, GetParam());
    Mapping mapping(region.fd(), kPages * kPage, PROT_READ);
    ASSERT_TRUE(mapping.ok());
    EXPECT_TRUE(is_zero(mapping.data(), kPages * kPage));
}

TEST_P(Leaks, TheEndOfThePageAfterAnOddSizeIsZeros) {
    Region region("odd", kPage + 1, GetParam());
    ASSERT_EQ(::pwrite(region.fd(), "x", 1, kPage), 1);
    Mapping mapping(region.fd(), 2 * kPage, PROT_READ);
    ASSERT_TRUE(mapping.ok());
    EXPECT_TRUE(is_zero(mapping.at(kPage + 1), kPage - 1));
    EXPECT_TRUE(is_zero(mapping.data(), kPage));
}

TEST_P(Leaks, ADestroyedRegionsBytesAreNotAnothers) {
    const std::string secret(kPages * kPage, 'S');
    for (int round = 0; round < 8; ++round) {
        Region region("secret", kPages * kPage, GetParam());
        Mapping mapping(region.fd(), kPages * kPage, PROT_READ);
        EXPECT_TRUE(is_zero(mapping.data(), kPages * kPage)) << "round " << round;
        ASSERT_EQ(::pwrite(region.fd(), secret.data(), secret.size(), 0),
                  static_cast<ssize_t>(secret.size()));
    }
}

TEST_P(Leaks, AReadAtTheEndLeavesTheRestOfTheBuffer) {
    Region region("end", kPage, GetParam());
    std::vector<unsigned char> memory(3 * kPage, kUntouched);
    EXPECT_EQ(::pread(region.fd(), memory.data(), memory.size(), kPage - 5), 5);
    EXPECT_EQ(std::count(memory.begin() + 5, memory.end(), kUntouched),
              static_cast<long>(memory.size() - 5));
    EXPECT_EQ(::pread(region.fd(), memory.data(), memory.size(), kPage), 0);
}

TEST_P(Leaks, AReadIntoABadBufferGivesNothingElse) {
    Region region("bad buffer", 4 * kPage, GetParam());
    // Two pages, of which the second cannot be written.
    void* two =
        ::mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(two, MAP_FAILED);
    std::memset(two, kUntouched, 2 * kPage);
    ASSERT_EQ(::mprotect(static_cast<char*>(two) + kPage, kPage, PROT_READ), 0);
    const ssize_t got = ::pread(region.fd(), two, 2 * kPage, 0);
    EXPECT_LE(got, static_cast<ssize_t>(kPage));
    const auto* bytes = static_cast<const unsigned char*>(two);
    EXPECT_TRUE(std::all_of(bytes, bytes + 2 * kPage,
                            [](unsigned char byte) { return byte == 0 || byte == kUntouched; }));
    ::munmap(two, 2 * kPage);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Leaks, ::testing::Values(STM_PLAIN, 0, STM_MUTEX),
                         [](const auto& kind) {
                             return std::string(kind.param == STM_PLAIN   ? "Plain"
                                                : kind.param == STM_MUTEX ? "Mutex"
                                                                          : "Transactional");
                         });

TEST(PrivatePages, OfATransactionShowNothingElse) {
    dirty_the_kernels_memory();
    constexpr std::size_t kPages = 32;
    Region region("transaction", kPages * kPage, 0);
    Mapping mapping(region.fd(), kPages * kPage);
    ASSERT_TRUE(mapping.ok());
    for (int round = 0; round < 3; ++round) {
        stm_start(region.fd());
        // The first half by loads; of the second each page by a store.
        EXPECT_TRUE(is_zero(mapping.data(), kPages / 2 * kPage)) << round;
        for (std::size_t page = kPages / 2; page < kPages; ++page) {
            *mapping.at<volatile char>(page * kPage) = 'S';
            EXPECT_TRUE(is_zero(mapping.at(page * kPage + 1), kPage - 1)) << round;
        }
        // Full of secrets, and thrown away: the pages are used again.
        std::memset(mapping.data(), 'S', kPages * kPage);
        stm_cancel(region.fd());
        EXPECT_TRUE(is_zero(mapping.data(), kPages * kPage)) << round;
    }
    stm_start(region.fd());
    *mapping.at<volatile char>(10) = 'x';
    EXPECT_EQ(stm_commit(region.fd()), 0);
    EXPECT_TRUE(reads_zeros(region.fd(), 11, kPages * kPage - 11)) << "a commit of one byte";
}

TEST(PrivatePages, OfOneRegionDoNotShowAnother) {
    Region first("first", 8 * kPage, 0);
    Region second("second", 8 * kPage, 0);
    Mapping one(first.fd(), 8 * kPage);
    Mapping two(second.fd(), 8 * kPage);
    for (int round = 0; round < 3; ++round) {
        stm_start(first.fd());
        std::memset(one.data(), 'S', 8 * kPage);
        stm_cancel(first.fd());
        stm_start(second.fd());
        EXPECT_TRUE(is_zero(two.data(), 8 * kPage)) << round;
        stm_cancel(second.fd());
    }
}

// All requests that answer, with a page of memory behind the structure that they must leave alone.
template <typename Argument>
int ask(int fd, unsigned long number, const Argument& argument) {
    std::vector<unsigned char> memory(kPage, kUntouched);
    std::memcpy(memory.data(), &argument, sizeof argument);
    const std::vector<unsigned char> before = memory;
    const int result = ::ioctl(fd, number, memory.data());
    const int error = result < 0 ? errno : 0;
    if (result >= 0 && number == STM_IOC_OPEN)
        ::close(result);
    EXPECT_TRUE(is_clean(memory.data(), memory.size())) << std::hex << number;
    EXPECT_TRUE(std::equal(memory.begin() + sizeof argument, memory.end(),
                           before.begin() + sizeof argument))
        << std::hex << number << " wrote behind its structure";
    if (error != 0) {
        EXPECT_EQ(memory, before) << std::hex << number << " failed and has answered";
    }
    return error;
}

TEST(Answers, ShowNothingOfTheKernel) {
    Region region("answers", 4 * kPage, 0);
    Mapping mapping(region.fd(), kPage);
    const int fd = region.fd();
    for (int round = 0; round < 20; ++round) {
        EXPECT_EQ(ask(fd, STM_IOC_VERSION, make<struct stm_version>()), 0);
        EXPECT_EQ(ask(fd, STM_IOC_INFO, make<struct stm_info>(STM_BY_HANDLE)), 0);
        EXPECT_EQ(ask(fd, STM_IOC_INFO, make<struct stm_info>(STM_BY_NEXT)), 0);
        EXPECT_EQ(ask(fd, STM_IOC_STATISTICS, make<struct stm_statistics>(STM_BY_HANDLE)), 0);
        EXPECT_EQ(ask(fd, STM_IOC_TRANSACTION, make<struct stm_transaction>()), 0);
        EXPECT_EQ(ask(fd, STM_IOC_OPEN, make_named<struct stm_open>(region.name(), STM_OPEN_READ)),
                  0);
        // Refusals.
        EXPECT_EQ(
            ask(fd, STM_IOC_OPEN, make_named<struct stm_open>("no such region", STM_OPEN_READ)),
            ENOENT);
        EXPECT_EQ(ask(fd, STM_IOC_INFO, make_named<struct stm_info>("no such region", STM_BY_NAME)),
                  ENOENT);
        EXPECT_EQ(ask(fd, STM_IOC_STATISTICS, make<struct stm_statistics>()), EINVAL);
        EXPECT_EQ(
            ask(fd, STM_IOC_DESTROY, make_named<struct stm_destroy>("no such region", STM_BY_NAME)),
            ENOENT);
        EXPECT_EQ(ask(fd, STM_IOC_WAIT, make<struct stm_wait>()), EINVAL);
    }
}

TEST(Answers, TellOnlyTheUsersThatThereAre) {
    Region region("users", kPage, STM_PLAIN);
    std::vector<unsigned char> memory(64 * sizeof(struct stm_attachment), kUntouched);
    auto list = make<struct stm_attachments>(STM_BY_HANDLE);
    list.buffer = reinterpret_cast<std::uintptr_t>(memory.data());
    list.capacity = 64;
    ASSERT_EQ(request(region.fd(), STM_IOC_ATTACHMENTS, &list), 0);
    ASSERT_EQ(list.count, 1u);
    EXPECT_TRUE(is_clean(memory.data(), memory.size()));
    EXPECT_EQ(std::count(memory.begin() + sizeof(struct stm_attachment), memory.end(), kUntouched),
              static_cast<long>(memory.size() - sizeof(struct stm_attachment)));
}

} // namespace
