// SPDX-License-Identifier: GPL-2.0
// Access to a mapping by somebody else than its process: debuggers and their like. The fault is
// then served in the context of one process for the address space of another.
#include "guest.hpp"

#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

using namespace stm::test;

namespace {

// A child that has mapped a region and waits. Its first page is touched, the second is not.
class Target {
public:
    explicit Target(int flags)
        : region_("target", 4 * kPage, flags),
          room_(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS),
          child_([this, flags] {
              region_.close();
              int fd = stm_open(region_.name().c_str(), 0, 0, 0);
              int protection = (flags & STM_PLAIN) != 0 ? PROT_READ | PROT_WRITE : PROT_READ;
              void* memory = ::mmap(nullptr, 4 * kPage, protection, MAP_SHARED, fd, 0);
              if ((flags & STM_PLAIN) != 0)
                  std::strcpy(static_cast<char*>(memory), "plain");
              else if (::pwrite(fd, "transactional", 14, 0) != 14)
                  return 2;
              __atomic_store_n(room_.at<char*>(), static_cast<char*>(memory), __ATOMIC_RELEASE);
              for (;;)
                  ::pause();
              return 0;
          }) {
        EXPECT_TRUE(eventually([this] { return address() != nullptr; }));
    }

    [[nodiscard]] pid_t pid() const { return child_.pid(); }
    [[nodiscard]] char* address() const {
        return __atomic_load_n(room_.at<char*>(), __ATOMIC_ACQUIRE);
    }
    [[nodiscard]] std::string content(off_t offset) const {
        char text[20] = "";
        EXPECT_GE(::pread(region_.fd(), text, sizeof text - 1, offset), 0);
        return text;
    }

private:
    Region region_;
    Mapping room_;
    Child child_;
};

ssize_t vm_read(pid_t pid, void* from, void* to, std::size_t size) {
    struct iovec local {
        to, size
    }, remote{from, size};
    return ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

ssize_t vm_write(pid_t pid, void* to, const void* from, std::size_t size) {
    struct iovec local {
        const_cast<void*>(from), size
    }, remote{to, size};
    return ::process_vm_writev(pid, &local, 1, &remote, 1, 0);
}

TEST(ProcessVm, ReadsAndWritesAPlainRegion) {
    Target target(STM_PLAIN);
    char text[20] = "";
    EXPECT_EQ(vm_read(target.pid(), target.address(), text, 6), 6) << std::strerror(errno);
    EXPECT_STREQ(text, "plain");
    EXPECT_EQ(vm_write(target.pid(), target.address() + 100, "written", 8), 8)
        << std::strerror(errno);
    EXPECT_EQ(target.content(100), "written");
    // Pages that nobody touched: read, written, and across their border.
    EXPECT_EQ(vm_read(target.pid(), target.address() + kPage, text, 6), 6);
    EXPECT_STREQ(text, "");
    EXPECT_EQ(vm_write(target.pid(), target.address() + 3 * kPage - 4, "border", 7), 7);
    EXPECT_EQ(target.content(3 * kPage - 4), "border");
}

TEST(ProcessVm, OnlyReadsATransactionalRegion) {
    Target target(0);
    char text[20] = "";
    EXPECT_EQ(vm_read(target.pid(), target.address(), text, 14), 14) << std::strerror(errno);
    EXPECT_STREQ(text, "transactional");
    EXPECT_EQ(vm_write(target.pid(), target.address(), "x", 1), -1);
    EXPECT_EQ(vm_write(target.pid(), target.address() + kPage, "x", 1), -1);
    EXPECT_EQ(target.content(0), "transactional");
}

TEST(ProcMem, ReadsAndWritesAPlainRegion) {
    Target target(STM_PLAIN);
    Fd memory(::open(("/proc/" + std::to_string(target.pid()) + "/mem").c_str(), O_RDWR));
    ASSERT_TRUE(memory) << std::strerror(errno);
    auto address = reinterpret_cast<off_t>(target.address());
    char text[20] = "";
    EXPECT_EQ(::pread(memory.get(), text, 6, address), 6) << std::strerror(errno);
    EXPECT_STREQ(text, "plain");
    EXPECT_EQ(::pwrite(memory.get(), "mem", 4, address + 2 * static_cast<off_t>(kPage)), 4)
        << std::strerror(errno);
    EXPECT_EQ(target.content(2 * kPage), "mem");
}

// The kernel lets /proc/PID/mem write to pages that the process may not write; a region's bytes
// must not change by it.
TEST(ProcMem, DoesNotWriteATransactionalRegion) {
    Target target(0);
    Fd memory(::open(("/proc/" + std::to_string(target.pid()) + "/mem").c_str(), O_RDWR));
    ASSERT_TRUE(memory);
    auto address = reinterpret_cast<off_t>(target.address());
    char text[20] = "";
    EXPECT_EQ(::pread(memory.get(), text, 14, address), 14) << std::strerror(errno);
    EXPECT_STREQ(text, "transactional");
    EXPECT_EQ(::pwrite(memory.get(), "X", 1, address), -1);
    EXPECT_EQ(target.content(0), "transactional");
}

TEST(Ptrace, PeeksAndPokesAPlainRegion) {
    Target target(STM_PLAIN);
    ASSERT_EQ(::ptrace(PTRACE_ATTACH, target.pid(), nullptr, nullptr), 0) << std::strerror(errno);
    int status = 0;
    ASSERT_EQ(::waitpid(target.pid(), &status, 0), target.pid());
    errno = 0;
    long word = ::ptrace(PTRACE_PEEKDATA, target.pid(), target.address(), nullptr);
    EXPECT_EQ(errno, 0);
    EXPECT_EQ(std::memcmp(&word, "plain", 6), 0);
    std::memcpy(&word, "poked!!", 8);
    EXPECT_EQ(::ptrace(PTRACE_POKEDATA, target.pid(), target.address() + kPage, word), 0)
        << std::strerror(errno);
    EXPECT_EQ(target.content(kPage), "poked!!");
    EXPECT_EQ(::ptrace(PTRACE_DETACH, target.pid(), nullptr, nullptr), 0);
}

TEST(Ptrace, DoesNotPokeATransactionalRegion) {
    Target target(0);
    ASSERT_EQ(::ptrace(PTRACE_ATTACH, target.pid(), nullptr, nullptr), 0) << std::strerror(errno);
    int status = 0;
    ASSERT_EQ(::waitpid(target.pid(), &status, 0), target.pid());
    EXPECT_EQ(::ptrace(PTRACE_POKEDATA, target.pid(), target.address(), 0L), -1);
    EXPECT_EQ(::ptrace(PTRACE_DETACH, target.pid(), nullptr, nullptr), 0);
    EXPECT_EQ(target.content(0), "transactional");
}

TEST(Pipes, MoveWhatIsInAMapping) {
    Region region("pipe");
    Mapping mapping(region.fd(), kPage);
    std::strcpy(mapping.at(), "through a pipe");
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    Fd reading(ends[0]), writing(ends[1]);
    EXPECT_EQ(::write(writing.get(), mapping.data(), 15), 15);
    EXPECT_EQ(::read(reading.get(), mapping.at(100), 15), 15);
    EXPECT_STREQ(mapping.at(100), "through a pipe");
    // And without a copy by the process.
    loff_t offset = 0;
    ssize_t moved = ::splice(region.fd(), &offset, writing.get(), nullptr, 15, 0);
    ASSERT_EQ(moved, 15) << std::strerror(errno);
    char text[20] = "";
    EXPECT_EQ(::read(reading.get(), text, 15), 15);
    EXPECT_STREQ(text, "through a pipe");
}

} // namespace
