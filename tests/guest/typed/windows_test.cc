// SPDX-License-Identifier: GPL-2.0
// What a program maps to read by itself: the committed bytes, the records and the clock. Nothing
// that a program can do changes them in that way.
#include "guest.hpp"
#include "requests.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

using namespace stm::test;

namespace {

struct Window {
    const char* name;
    std::uint64_t offset;
};

class Windows : public ::testing::TestWithParam<Window> {
protected:
    void SetUp() override {
        ASSERT_EQ(::pwrite(region_.fd(), "committed", 10, 0), 10) << std::strerror(errno);
        ASSERT_TRUE(window_.ok()) << std::strerror(errno);
        std::memcpy(before_, window_.data(), kPage);
    }
    // Whatever was tried, every handle sees what was there before.
    void TearDown() override {
        EXPECT_EQ(std::memcmp(before_, window_.data(), kPage), 0);
        const Mapping fresh(region_.fd(), kPage, PROT_READ, offset());
        ASSERT_TRUE(fresh.ok());
        EXPECT_EQ(std::memcmp(before_, fresh.data(), kPage), 0);
        char bytes[10] = "";
        EXPECT_EQ(::pread(region_.fd(), bytes, sizeof bytes, 0), 10);
        EXPECT_STREQ(bytes, "committed");
    }

    [[nodiscard]] static off_t offset() { return static_cast<off_t>(GetParam().offset); }

    Region region_{"window", kPage, 0};
    Mapping window_{region_.fd(), kPage, PROT_READ, offset()};
    char before_[kPage] = {};
};

TEST_P(Windows, AreMappedForLoadsAlone) {
    const int fd = region_.fd();
    for (const int protection : {PROT_READ | PROT_WRITE, PROT_WRITE}) {
        EXPECT_FALSE(Mapping(fd, kPage, protection, offset()).ok());
        EXPECT_EQ(errno, EACCES);
    }
    EXPECT_FALSE(Mapping(fd, kPage, PROT_READ | PROT_EXEC, offset()).ok());
    EXPECT_EQ(errno, error_of_forbidden_exec());
    EXPECT_FALSE(Mapping(fd, kPage, PROT_READ, offset(), MAP_PRIVATE).ok());
    EXPECT_EQ(errno, EINVAL);
    EXPECT_FALSE(Mapping(fd, 2 * kPage, PROT_READ, offset()).ok()) << "beyond the end";
    EXPECT_EQ(errno, EINVAL);
    for (const int protection : {PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC}) {
        EXPECT_EQ(::mprotect(window_.data(), kPage, protection), -1);
        EXPECT_EQ(errno, EACCES);
    }
    EXPECT_EQ(signal_of([&] { *window_.at<volatile char>() = 'x'; }), SIGSEGV);
    // Of a handle that only reads.
    const Fd reader(stm_open(region_.name().c_str(), 0, STM_RDONLY, 0));
    const Mapping other(reader.get(), kPage, PROT_READ, offset());
    ASSERT_TRUE(other.ok()) << std::strerror(errno);
    EXPECT_EQ(::mprotect(other.data(), kPage, PROT_READ | PROT_WRITE), -1);
    EXPECT_EQ(signal_of([&] { *other.at<volatile char>() = 'x'; }), SIGSEGV);
}

TEST_P(Windows, MoveAndGoOnAsTheyAre) {
    EXPECT_EQ(::mremap(window_.data(), kPage, 2 * kPage, MREMAP_MAYMOVE), MAP_FAILED);
    EXPECT_EQ(::mremap(window_.data(), 0, 2 * kPage, MREMAP_MAYMOVE), MAP_FAILED);
    Mapping place(-1, kPage, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    ASSERT_EQ(::mremap(window_.data(), kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, place.data()),
              place.data())
        << std::strerror(errno);
    EXPECT_EQ(std::memcmp(before_, place.data(), kPage), 0);
    EXPECT_EQ(::mprotect(place.data(), kPage, PROT_READ | PROT_WRITE), -1);
    ASSERT_EQ(::mremap(place.data(), kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, window_.data()),
              window_.data());
    place.release();
    const int status = Child([&] {
                           EXPECT_EQ(std::memcmp(before_, window_.data(), kPage), 0);
                           EXPECT_EQ(::mprotect(window_.data(), kPage, PROT_READ | PROT_WRITE), -1);
                           return 0;
                       }).wait();
    EXPECT_EQ(status, 0);
}

TEST_P(Windows, AreNotWrittenThroughTheKernel) {
    char* const at = window_.at();
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const Fd reading(ends[0]);
    const Fd writing(ends[1]);
    ASSERT_EQ(::write(writing.get(), "xxxxxxxx", 8), 8);
    EXPECT_EQ(::read(reading.get(), at, 4), -1);
    EXPECT_EQ(errno, EFAULT);
    iovec here{at, 4};
    EXPECT_EQ(::vmsplice(reading.get(), &here, 1, 0), -1);
    EXPECT_EQ(errno, EFAULT);
    char bytes[8] = "xxxxxxx";
    const iovec from{bytes, 4};
    EXPECT_EQ(::process_vm_writev(::getpid(), &from, 1, &here, 1, 0), -1);
    // The kernel lets it write to pages that a process may not write.
    const Fd memory(::open("/proc/self/mem", O_RDWR));
    ASSERT_TRUE(memory);
    EXPECT_EQ(::pwrite(memory.get(), bytes, 4, reinterpret_cast<off_t>(at)), -1);

    alignas(4) std::uint32_t word = 0;
    const auto futex = [](void* first, int what, void* second, unsigned last) {
        return ::syscall(SYS_futex, first, what, 1, 1L, second, last);
    };
    EXPECT_EQ(futex(&word, FUTEX_WAKE_OP, at, FUTEX_OP(FUTEX_OP_SET, 5, FUTEX_OP_CMP_EQ, 0)), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(futex(at, FUTEX_TRYLOCK_PI, nullptr, 0), -1);

    Ring ring;
    if (ring.error() == 0) {
        EXPECT_EQ(::syscall(SYS_io_uring_register, ring.fd(), IORING_REGISTER_BUFFERS, &here, 1),
                  -1);
        EXPECT_EQ(ring.read(region_.fd(), at, 4, 0), -EFAULT);
    }
}

TEST_P(Windows, AreNotWrittenThroughAPipeThatHasTheirPages) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const Fd reading(ends[0]);
    const Fd writing(ends[1]);
    const iovec page{window_.data(), kPage};
    const iovec part{window_.data(), 8};
    for (const iovec& piece : {page, part}) {
        const auto bytes = static_cast<ssize_t>(piece.iov_len);
        EXPECT_EQ(::vmsplice(writing.get(), &piece, 1, SPLICE_F_GIFT), bytes)
            << std::strerror(errno);
        EXPECT_EQ(::write(writing.get(), "after it", 8), 8);
        const Fd file(::memfd_create("window", 0));
        EXPECT_EQ(
            ::splice(reading.get(), nullptr, file.get(), nullptr, piece.iov_len, SPLICE_F_MOVE),
            bytes);
        EXPECT_EQ(::pwrite(file.get(), "changed", 8, 0), 8);
        char after[8];
        EXPECT_EQ(::read(reading.get(), after, sizeof after), 8);
        EXPECT_EQ(std::memcmp(after, "after it", 8), 0);
    }
}

TEST_P(Windows, AreNotWrittenByADebugger) {
    Child child([&] {
        for (;;)
            ::pause();
        return 0;
    });
    ASSERT_EQ(::ptrace(PTRACE_ATTACH, child.pid(), nullptr, nullptr), 0) << std::strerror(errno);
    int status = 0;
    ASSERT_EQ(::waitpid(child.pid(), &status, 0), child.pid());
    errno = 0;
    const long word = ::ptrace(PTRACE_PEEKDATA, child.pid(), window_.data(), nullptr);
    EXPECT_EQ(errno, 0);
    EXPECT_EQ(std::memcmp(&word, before_, sizeof word), 0);
    EXPECT_EQ(::ptrace(PTRACE_POKEDATA, child.pid(), window_.data(), ~word), -1);
    EXPECT_EQ(::ptrace(PTRACE_DETACH, child.pid(), nullptr, nullptr), 0);
}

TEST_P(Windows, AreTheSameAfterAnyAdvice) {
    for (const int advice : {MADV_DONTNEED, MADV_WILLNEED, MADV_REMOVE, MADV_FREE, MADV_COLD,
                             MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_WIPEONFORK,
                             MADV_MERGEABLE, MADV_HUGEPAGE, MADV_DODUMP}) {
        const int result = ::madvise(window_.data(), kPage, advice);
        const bool changes = advice == MADV_REMOVE || advice == MADV_FREE ||
                             advice == MADV_POPULATE_WRITE || advice == MADV_WIPEONFORK;
        EXPECT_TRUE(!changes || result == -1) << advice;
        EXPECT_EQ(std::memcmp(before_, window_.data(), kPage), 0) << advice;
    }
    EXPECT_EQ(::mlock(window_.data(), kPage), 0);
    EXPECT_EQ(::munlock(window_.data(), kPage), 0);
    const auto page = static_cast<std::size_t>(offset()) / kPage;
    static_cast<void>(::remap_file_pages(window_.data(), kPage, 0, page, 0));
    EXPECT_EQ(::mprotect(window_.data(), kPage, PROT_READ | PROT_WRITE), -1);
}

TEST_P(Windows, AreNotFilledByUserfaultfd) {
    const Fd faults(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
    if (!faults)
        GTEST_SKIP() << std::strerror(errno);
    uffdio_api api{};
    api.api = UFFD_API;
    ASSERT_EQ(::ioctl(faults.get(), UFFDIO_API, &api), 0);
    for (const std::uint64_t mode : {UFFDIO_REGISTER_MODE_MISSING, UFFDIO_REGISTER_MODE_WP}) {
        uffdio_register range{};
        range.range.start = reinterpret_cast<std::uintptr_t>(window_.data());
        range.range.len = kPage;
        range.mode = mode;
        EXPECT_EQ(::ioctl(faults.get(), UFFDIO_REGISTER, &range), -1) << mode;
    }
}

TEST_P(Windows, StayWhenTheirRegionIsGone) {
    Region region("gone", kPage, 0);
    Fd fd(stm_open(region.name().c_str(), 0, 0, 0));
    ASSERT_EQ(::pwrite(fd.get(), "last", 5, 0), 5);
    Mapping window(fd.get(), kPage, PROT_READ, offset());
    ASSERT_TRUE(window.ok());
    auto argument =
        make_named<struct stm_destroy>(region.name(), STM_BY_NAME | STM_DESTROY_DEFERRED);
    EXPECT_EQ(request(STM_IOC_DESTROY, &argument), 0);
    EXPECT_EQ(::pwrite(fd.get(), "more", 5, 0), 5);
    fd.reset();
    region.close();
    if (GetParam().offset == STM_OFFSET_COMMITTED)
        EXPECT_STREQ(window.at(), "more");
    else
        EXPECT_NE(*window.at<std::uint64_t>(), 0u);
    EXPECT_FALSE(exists(region.name()));
}

INSTANTIATE_TEST_SUITE_P(Each, Windows,
                         ::testing::Values(Window{"committed", STM_OFFSET_COMMITTED},
                                           Window{"records", STM_OFFSET_RECORDS},
                                           Window{"clock", STM_OFFSET_CLOCK}),
                         [](const auto& each) { return std::string(each.param.name); });

} // namespace
