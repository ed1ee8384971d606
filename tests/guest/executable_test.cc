// SPDX-License-Identifier: GPL-2.0
// Regions that hold code: never writable and executable at once.
#include "guest.hpp"

#include <csignal>
#include <fcntl.h>
#include <stm/ssmem.h>
#include <sys/stat.h>

using namespace stm::test;

namespace {

#if defined(__x86_64__)
const unsigned char kReturn42[] = {0xb8, 0x2a, 0x00, 0x00, 0x00, 0xc3}; // mov $42,%eax; ret
#elif defined(__aarch64__)
const unsigned char kReturn42[] = {0x40, 0x05, 0x80, 0x52,
                                   0xc0, 0x03, 0x5f, 0xd6}; // mov w0, #42; ret
#else
#error "write the instructions of a function that returns 42"
#endif

int call(void* code) {
    int (*function)() = nullptr;
    std::memcpy(&function, &code, sizeof function);
    return function();
}

TEST(Executable, RunsWhatWasCopiedIntoIt) {
    Region region("code", kPage, STM_PLAIN | STM_EXEC);
    {
        Mapping writable(region.fd(), kPage);
        ASSERT_TRUE(writable.ok());
        std::memcpy(writable.data(), kReturn42, sizeof kReturn42);
    }
    Mapping code(region.fd(), kPage, PROT_READ | PROT_EXEC);
    ASSERT_TRUE(code.ok()) << std::strerror(errno);
    __builtin___clear_cache(code.at(), code.at(sizeof kReturn42));
    EXPECT_EQ(call(code.data()), 42);
    EXPECT_EQ(Child([&] {
                  Fd fd(stm_open(region.name().c_str(), 0, STM_RDONLY, 0));
                  Mapping other(fd.get(), kPage, PROT_READ | PROT_EXEC);
                  return other.ok() ? call(other.data()) : 1;
              }).wait(),
              42);
}

TEST(Executable, IsNeverWritableToo) {
    Region region("wx", kPage, STM_PLAIN | STM_EXEC);
    Mapping both(region.fd(), kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
    EXPECT_FALSE(both.ok());
    EXPECT_EQ(errno, EACCES);
    // Nor by one after the other.
    Mapping writable(region.fd(), kPage);
    ASSERT_TRUE(writable.ok());
    EXPECT_EQ(::mprotect(writable.data(), kPage, PROT_READ | PROT_EXEC), -1);
    EXPECT_EQ(errno, EACCES);
    Mapping code(region.fd(), kPage, PROT_READ | PROT_EXEC);
    ASSERT_TRUE(code.ok());
    EXPECT_EQ(::mprotect(code.data(), kPage, PROT_READ | PROT_WRITE), -1);
    EXPECT_EQ(errno, EACCES);
    EXPECT_EQ(signal_of_store(code.data()), SIGSEGV);
}

// On Linux 7 it lies in another file system than other handles, which shows nowhere here.
TEST(Executable, IsAHandleLikeAnyOther) {
    Region region("like", kPage, STM_PLAIN | STM_EXEC);
    struct stat state {};
    ASSERT_EQ(::fchmod(region.fd(), 0640), 0);
    ASSERT_EQ(::fstat(region.fd(), &state), 0);
    EXPECT_EQ(state.st_mode, 0640u);
    EXPECT_EQ(state.st_size, static_cast<off_t>(kPage));
    Fd again(stm_open(region.name().c_str(), 0, STM_RDONLY, 0));
    ASSERT_TRUE(again);
    struct stat other {};
    ASSERT_EQ(::fstat(again.get(), &other), 0);
    EXPECT_EQ(other.st_ino, state.st_ino);
    EXPECT_EQ(other.st_dev, state.st_dev);

    char name[256] = "";
    const std::string link = "/proc/self/fd/" + std::to_string(region.fd());
    ASSERT_GT(::readlink(link.c_str(), name, sizeof name - 1), 0);
    const std::string begin = "anon_inode:stm:" + region.name();
    EXPECT_EQ(std::string(name), begin.substr(0, 63));
    EXPECT_EQ(::open(link.c_str(), O_RDONLY | O_CLOEXEC), -1);
    EXPECT_EQ(errno, ENXIO);
}

// Whoever has it open in such a way has no handle: nothing may be lost or freed too early.
TEST(Executable, MayOutliveItsRegionInAPathDescriptor) {
    Fd path;
    {
        Region region("path", kPage, STM_PLAIN | STM_EXEC);
        const std::string link = "/proc/self/fd/" + std::to_string(region.fd());
        path = Fd(::open(link.c_str(), O_PATH | O_CLOEXEC));
        ASSERT_TRUE(path);
    }
    struct stat state {};
    EXPECT_EQ(::fstat(path.get(), &state), 0);
    Region again("path again", kPage, STM_PLAIN | STM_EXEC);
    Mapping code(again.fd(), kPage, PROT_READ | PROT_EXEC);
    EXPECT_TRUE(code.ok());
}

TEST(Executable, NeedsTheFlag) {
    Region region("no exec");
    Mapping code(region.fd(), kPage, PROT_READ | PROT_EXEC);
    EXPECT_FALSE(code.ok());
    EXPECT_EQ(errno, error_of_forbidden_exec());
    Mapping writable(region.fd(), kPage);
    std::memcpy(writable.data(), kReturn42, sizeof kReturn42);
    EXPECT_EQ(signal_of([&] { call(writable.data()); }), SIGSEGV);
    EXPECT_EQ(::mprotect(writable.data(), kPage, PROT_READ | PROT_EXEC), -1);
    EXPECT_EQ(errno, EACCES);
}

TEST(Executable, SegmentsAreWrittenAndRunThroughTwoAttachments) {
    std::string name = unique_name("code");
    long written =
        ssmem_attach(name.data(), SSMEM_FLAG_CREATE | SSMEM_FLAG_WRITE | SSMEM_FLAG_EXEC, 100);
    ASSERT_NE(written, -1) << std::strerror(errno);
    std::memcpy(reinterpret_cast<void*>(written), kReturn42, sizeof kReturn42);
    EXPECT_EQ(signal_of([&] { call(reinterpret_cast<void*>(written)); }), SIGSEGV);
    long code = ssmem_attach(name.data(), SSMEM_FLAG_EXEC, 1);
    ASSERT_NE(code, -1) << std::strerror(errno);
    EXPECT_EQ(call(reinterpret_cast<void*>(code)), 42);
    EXPECT_EQ(signal_of_store(reinterpret_cast<void*>(code)), SIGSEGV);
    EXPECT_EQ(ssmem_attach(name.data(), SSMEM_FLAG_EXEC | SSMEM_FLAG_WRITE, 1), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(ssmem_detach(reinterpret_cast<void*>(written)), 0);
    EXPECT_EQ(ssmem_detach(reinterpret_cast<void*>(code)), 0);

    std::string plain = unique_name("data");
    long data = ssmem_attach(plain.data(), SSMEM_FLAG_CREATE, 100);
    ASSERT_NE(data, -1);
    EXPECT_EQ(ssmem_attach(plain.data(), SSMEM_FLAG_EXEC, 1), -1);
    EXPECT_EQ(errno, EACCES);
    EXPECT_EQ(ssmem_detach(reinterpret_cast<void*>(data)), 0);
}

} // namespace
