// SPDX-License-Identifier: GPL-2.0
// read, write and lseek on handles: as on a file of fixed size.
#include "guest.hpp"

#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <pthread.h>
#include <stm/transaction.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr std::size_t kAtomic = 256 * 1024;

class Calls : public ::testing::Test {
protected:
    Region region_{"calls", 2 * kPage, 0,
                   0600}; // transactional: the calls are its plain way of access
    int fd_ = region_.fd();
};

TEST_F(Calls, ReadBackWhatWasWritten) {
    EXPECT_EQ(::write(fd_, "hello", 5), 5);
    EXPECT_EQ(::lseek(fd_, 0, SEEK_CUR), 5);
    EXPECT_EQ(::lseek(fd_, 0, SEEK_SET), 0);
    char text[6] = "";
    EXPECT_EQ(::read(fd_, text, 5), 5);
    EXPECT_STREQ(text, "hello");
    EXPECT_EQ(::lseek(fd_, 0, SEEK_CUR), 5);
}

TEST_F(Calls, ReadZerosWhereNothingWasWritten) {
    std::string data(2 * kPage, 'x');
    EXPECT_EQ(::read(fd_, data.data(), data.size()), static_cast<ssize_t>(data.size()));
    EXPECT_EQ(data, std::string(2 * kPage, '\0'));
    EXPECT_EQ(info_of(fd_).resident_bytes, 0u) << "reading made pages";
}

TEST_F(Calls, AtTheEndReadNothing) {
    char byte = 0;
    EXPECT_EQ(::lseek(fd_, 0, SEEK_END), 2 * static_cast<off_t>(kPage));
    EXPECT_EQ(::read(fd_, &byte, 1), 0);
    EXPECT_EQ(::pread(fd_, &byte, 1, 2 * kPage), 0);
    EXPECT_EQ(::pread(fd_, &byte, 1, 1000 * kPage), 0);
}

TEST(CallsOnASparseRegion, FindWhatWasWritten) {
    Region region("sparse", 64 * kPage, 0, 0600);
    const int fd = region.fd();
    const auto page = static_cast<off_t>(kPage);
    EXPECT_EQ(::lseek(fd, 0, SEEK_DATA), -1);
    EXPECT_EQ(errno, ENXIO);
    ASSERT_EQ(::pwrite(fd, "x", 1, 7 * page + 5), 1);
    ASSERT_EQ(::pwrite(fd, "x", 1, 63 * page), 1);
    EXPECT_EQ(::lseek(fd, 0, SEEK_DATA), 7 * page);
    EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 7 * page);
    EXPECT_EQ(::lseek(fd, 7 * page, SEEK_HOLE), 8 * page);
    EXPECT_EQ(::lseek(fd, 8 * page, SEEK_DATA), 63 * page);
    EXPECT_EQ(::lseek(fd, 63 * page, SEEK_HOLE), 64 * page);
    EXPECT_EQ(::lseek(fd, 64 * page, SEEK_HOLE), -1);
    EXPECT_EQ(errno, ENXIO);
    EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 64 * page) << "it has moved";
    EXPECT_EQ(info_of(fd).resident_bytes, 2 * kPage);
}

TEST_F(Calls, AcrossTheEndAreShort) {
    std::string data(100, 'e');
    EXPECT_EQ(::pwrite(fd_, data.data(), 100, 2 * kPage - 40), 40);
    EXPECT_EQ(::pread(fd_, data.data(), 100, 2 * kPage - 30), 30);
    EXPECT_EQ(::lseek(fd_, -10, SEEK_END), 2 * static_cast<off_t>(kPage) - 10);
    EXPECT_EQ(::write(fd_, data.data(), 100), 10);
    EXPECT_EQ(::lseek(fd_, 0, SEEK_CUR), 2 * static_cast<off_t>(kPage));
}

// Each way to append to a descriptor: nothing is overwritten, and nothing moves.
void expect_no_appending(int fd, std::size_t size) {
    char text[6] = "";
    ASSERT_EQ(::pwrite(fd, "first", 5, 0), 5);
    ASSERT_EQ(::lseek(fd, 2, SEEK_SET), 2);
    const int before = ::fcntl(fd, F_GETFL);
    ASSERT_EQ(::fcntl(fd, F_SETFL, before | O_APPEND), 0);
    struct iovec part = {text, 3};
    const auto refused = [&](ssize_t result) {
        EXPECT_EQ(result, -1);
        EXPECT_EQ(errno, ENOSPC) << std::strerror(errno);
    };
    refused(::write(fd, "xxx", 3));
    refused(::pwrite(fd, "xxx", 3, 0));
    refused(::writev(fd, &part, 1));
    refused(::pwritev(fd, &part, 1, 1));
    EXPECT_EQ(::write(fd, "xxx", 0), 0);
    EXPECT_EQ(::read(fd, text, 3), 3) << "reading is as ever";
    EXPECT_STREQ(text, "rst");
    ASSERT_EQ(::fcntl(fd, F_SETFL, before), 0);
    refused(::pwritev2(fd, &part, 1, 0, RWF_APPEND));
    refused(::pwritev2(fd, &part, 1, -1, RWF_APPEND));
    EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 5);
    EXPECT_EQ(::lseek(fd, 0, SEEK_END), static_cast<off_t>(size));
    EXPECT_EQ(::pread(fd, text, 5, 0), 5);
    EXPECT_STREQ(text, "first");
    EXPECT_EQ(::pwrite(fd, "other", 5, 0), 5) << "and writing is again";
}

TEST_F(Calls, ThatAppendWriteNothing) {
    expect_no_appending(fd_, 2 * kPage);
    const Region plain("append", 3 * kPage);
    expect_no_appending(plain.fd(), 3 * kPage);
}

// As each write that finds no room.
TEST_F(Calls, ThatAppendInATransactionFailIt) {
    ASSERT_EQ(::pwrite(fd_, "first", 5, 0), 5);
    ASSERT_EQ(stm_try_start(fd_), 0);
    EXPECT_EQ(::pwrite(fd_, "other", 5, 0), 5);
    ASSERT_EQ(::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) | O_APPEND), 0);
    EXPECT_EQ(::write(fd_, "x", 1), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(stm_commit(fd_), 1);
    EXPECT_EQ(errno, ENOSPC);
    char text[6] = "";
    EXPECT_EQ(::pread(fd_, text, 5, 0), 5);
    EXPECT_STREQ(text, "first");
}

TEST(Shell, AppendsNothingToANode) {
    const std::string path = unique_path("node");
    Fd node(stm_create(const_cast<char*>(path.c_str()), 4096));
    ASSERT_GE(node.get(), 0) << std::strerror(errno);
    ASSERT_EQ(::pwrite(node.get(), "first\n", 6, 0), 6);
    for (const char* command : {"/bin/echo x >> ", "echo x | tee -a ",
                                "echo x | dd status=none oflag=append conv=notrunc of="}) {
        const Output said = shell("{ " + std::string(command) + path + "; } 2>&1");
        EXPECT_NE(said.status, 0) << command << said.text;
        EXPECT_NE(said.text.find("No space left on device"), std::string::npos)
            << command << said.text;
        EXPECT_EQ(shell("head -n 1 " + path).text, "first\n") << command;
    }
    EXPECT_NE(shell("echo x 2>/dev/null >> " + path).status, 0);
    EXPECT_EQ(shell("head -n 1 " + path).text, "first\n");
    EXPECT_EQ(shell("echo other > " + path).status, 0);
    EXPECT_EQ(shell("head -n 1 " + path).text, "other\n");
    node.reset();
    EXPECT_EQ(::unlink(path.c_str()), 0);
    EXPECT_EQ(stm_unlink(path.c_str()), 0) << std::strerror(errno);
}

TEST_F(Calls, BeyondTheEndWriteNothing) {
    EXPECT_EQ(::pwrite(fd_, "x", 1, 2 * kPage), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(::pwrite(fd_, "x", 1, 1000 * kPage), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(stm_size(fd_), 2 * static_cast<ssize_t>(kPage));
}

TEST_F(Calls, OfNoBytesDoNothing) {
    EXPECT_EQ(::write(fd_, "", 0), 0);
    EXPECT_EQ(::read(fd_, nullptr, 0), 0);
    EXPECT_EQ(::pwrite(fd_, "", 0, 2 * kPage), 0);
    EXPECT_EQ(info_of(fd_).resident_bytes, 0u);
}

TEST_F(Calls, SeekWithinTheRegionOnly) {
    EXPECT_EQ(::lseek(fd_, 100, SEEK_SET), 100);
    EXPECT_EQ(::lseek(fd_, 50, SEEK_CUR), 150);
    EXPECT_EQ(::lseek(fd_, -200, SEEK_CUR), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(::lseek(fd_, -1, SEEK_SET), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(::lseek(fd_, 0, 77), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(::lseek(fd_, 0, SEEK_CUR), 150);
}

TEST_F(Calls, AtAPlaceDoNotMoveTheHandle) {
    EXPECT_EQ(::lseek(fd_, 7, SEEK_SET), 7);
    EXPECT_EQ(::pwrite(fd_, "abc", 3, 100), 3);
    char text[4] = "";
    EXPECT_EQ(::pread(fd_, text, 3, 100), 3);
    EXPECT_STREQ(text, "abc");
    EXPECT_EQ(::lseek(fd_, 0, SEEK_CUR), 7);
    EXPECT_EQ(::pread(fd_, text, 1, -1), -1);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(Calls, GatherAndScatter) {
    char one[] = "one", two[] = "twotwo";
    struct iovec out[] = {{one, 3}, {nullptr, 0}, {two, 6}};
    EXPECT_EQ(::writev(fd_, out, 3), 9);
    EXPECT_EQ(::pwritev(fd_, out, 3, kPage - 4), 9);
    char first[5] = "", second[6] = "";
    struct iovec in[] = {{first, 4}, {second, 5}};
    EXPECT_EQ(::preadv(fd_, in, 2, 0), 9);
    EXPECT_STREQ(first, "onet");
    EXPECT_STREQ(second, "wotwo");
    EXPECT_EQ(::lseek(fd_, kPage - 4, SEEK_SET), static_cast<off_t>(kPage) - 4);
    EXPECT_EQ(::readv(fd_, in, 2), 9);
    EXPECT_STREQ(second, "wotwo");
}

TEST_F(Calls, WithABadAddressAreEfault) {
    char* volatile bad = reinterpret_cast<char*>(8); // volatile: the compiler would object
    EXPECT_EQ(::read(fd_, bad, 10), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(::write(fd_, bad, 10), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(::lseek(fd_, 0, SEEK_CUR), 0);
    char text[11] = "";
    EXPECT_EQ(::pread(fd_, text, 10, 0), 10);
    EXPECT_EQ(std::string(text, 10), std::string(10, '\0')) << "a failed write changed something";
}

TEST_F(Calls, WithABufferThatEndsEarlyAreShort) {
    Mapping pages(-1, 2 * kPage, PROT_READ | PROT_WRITE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    ASSERT_EQ(::mprotect(pages.at(kPage), kPage, PROT_NONE), 0);
    std::memset(pages.at(), 'p', kPage);
    EXPECT_EQ(::pwrite(fd_, pages.at(kPage - 10), 20, 0), 10);
    char text[21] = "";
    EXPECT_EQ(::pread(fd_, text, 20, 0), 20);
    EXPECT_STREQ(text, "pppppppppp");
    ssize_t got = ::pread(fd_, pages.at(kPage - 10), 20, 0);
    EXPECT_TRUE(got == 10 || (got == -1 && errno == EFAULT)) << got;
}

// A copy under a lock that the fault handler takes as well would never end.
TEST_F(Calls, WithABufferInARegionItselfWork) {
    Region plain("buffer", 2 * kPage);
    Mapping mapping(plain.fd(), 2 * kPage);
    ASSERT_TRUE(mapping.ok());
    std::strcpy(mapping.at(10), "through");
    EXPECT_EQ(::pwrite(plain.fd(), mapping.at(10), 8, kPage + 5),
              8); // both pages of this very region
    EXPECT_STREQ(mapping.at(kPage + 5), "through");
    EXPECT_EQ(::pread(plain.fd(), mapping.at(100), 8, kPage + 5), 8);
    EXPECT_STREQ(mapping.at(100), "through");
    // Into pages that were never touched.
    Region fresh("fresh", kPage);
    Mapping untouched(fresh.fd(), kPage);
    EXPECT_EQ(::pread(fresh.fd(), untouched.at(), 100, 200), 100);
    EXPECT_EQ(::pread(plain.fd(), untouched.at(), 8, kPage + 5), 8);
    EXPECT_STREQ(untouched.at(), "through");
}

TEST_F(Calls, OnAReadOnlyHandleDoNotWrite) {
    Fd reader(stm_open(region_.name().c_str(), 0, STM_RDONLY, 0));
    ASSERT_TRUE(reader);
    EXPECT_EQ(::write(reader.get(), "x", 1), -1);
    EXPECT_EQ(errno, EBADF);
    char byte = 1;
    EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
    EXPECT_EQ(byte, 0);
    auto size = make<struct stm_set_size>();
    size.region_size = kPage;
    EXPECT_EQ(request(reader.get(), STM_IOC_SET_SIZE, &size), EBADF);
}

TEST_F(Calls, TouchOnlyThePagesTheyWrite) {
    EXPECT_EQ(info_of(fd_).resident_bytes, 0u);
    EXPECT_EQ(::pwrite(fd_, "x", 1, kPage), 1);
    EXPECT_EQ(info_of(fd_).resident_bytes, kPage);
    EXPECT_EQ(::pwrite(fd_, "x", 1, kPage + 5), 1);
    EXPECT_EQ(info_of(fd_).resident_bytes, kPage);
    EXPECT_EQ(::pwrite(fd_, "xy", 2, kPage - 1), 2);
    EXPECT_EQ(info_of(fd_).resident_bytes, 2 * kPage);
}

TEST_F(Calls, SeeWhatTheHandleOfAnotherProcessWrote) {
    EXPECT_EQ(Child([&] {
                  Fd fd(stm_open(region_.name().c_str(), 0, 0, 0));
                  return ::pwrite(fd.get(), "child", 6, 50) == 6 ? 0 : 1;
              }).wait(),
              0);
    char text[6] = "";
    EXPECT_EQ(::pread(fd_, text, 6, 50), 6);
    EXPECT_STREQ(text, "child");
}

TEST_F(Calls, TellTheFilesAttributes) {
    struct stat status;
    ASSERT_EQ(::fstat(fd_, &status), 0);
    EXPECT_EQ(status.st_size, 2 * static_cast<off_t>(kPage));
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    EXPECT_EQ(status.st_uid, 0u);
}

// Nothing of the module may hang on an inode that O_PATH can hold longer than the module.
TEST_F(Calls, CanNotBeHadByOpeningAHandleAgainThroughProc) {
    std::string path = "/proc/self/fd/" + std::to_string(fd_);
    for (int flags : {O_RDONLY, O_RDWR}) {
        Fd again(::open(path.c_str(), flags));
        EXPECT_FALSE(again);
        EXPECT_EQ(errno, ENXIO);
    }
    Fd held(::open(path.c_str(), O_PATH));
    EXPECT_TRUE(held) << std::strerror(errno);
    struct stat status;
    EXPECT_EQ(::fstat(held.get(), &status), 0);
    EXPECT_EQ(info_of(fd_).handles, 1u);
}

TEST_F(Calls, OnLargeRegionsMoveEverything) {
    Region large("large", 3 * kAtomic);
    std::string data;
    for (std::size_t at = 0; at < 3 * kAtomic; at += 8)
        data += std::to_string(10000000 + at % 89999999);
    data.resize(3 * kAtomic);
    EXPECT_EQ(::pwrite(large.fd(), data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
    std::string got(data.size(), '\0');
    EXPECT_EQ(::pread(large.fd(), got.data(), got.size(), 0), static_cast<ssize_t>(got.size()));
    EXPECT_TRUE(got == data);
    EXPECT_EQ(::pread(large.fd(), got.data(), 1000, kAtomic - 500), 1000);
    EXPECT_EQ(got.substr(0, 1000), data.substr(kAtomic - 500, 1000));
}

// One writer and eight readers: every read is one state, and the writer gets its turns.
TEST(AtomicCalls, AreNeverTornAndTheWriterProgresses) {
    constexpr std::size_t kSize = 64 * 1024;
    constexpr int kWrites = 200;
    Region region("torn", kSize, 0);
    Mapping shared(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    auto* stop = shared.at<int>();
    StartingLine line(9);
    std::vector<Child> readers;
    for (int index = 0; index < 8; ++index)
        readers.push_back(Child::doing([&] {
            std::string data(kSize, '\0');
            line.wait();
            long reads = 0;
            while (__atomic_load_n(stop, __ATOMIC_ACQUIRE) == 0) {
                ASSERT_EQ(::pread(region.fd(), data.data(), kSize, 0), static_cast<ssize_t>(kSize));
                ASSERT_EQ(data.find_first_not_of(data[0]), std::string::npos) << "a torn read";
                ++reads;
            }
            EXPECT_GT(reads, 0);
        }));
    std::string data(kSize, '\0');
    line.wait();
    for (int round = 1; round <= kWrites; ++round) {
        std::fill(data.begin(), data.end(), static_cast<char>('A' + round % 50));
        ASSERT_EQ(::pwrite(region.fd(), data.data(), kSize, 0), static_cast<ssize_t>(kSize));
    }
    __atomic_store_n(stop, 1, __ATOMIC_RELEASE);
    for (Child& reader : readers)
        EXPECT_EQ(reader.wait(), 0);
}

TEST(AtomicCalls, OfTwoWritersNeverMix) {
    constexpr std::size_t kSize = kAtomic;
    Region region("mixed", kSize, 0);
    std::vector<Child> writers;
    for (char letter : {'a', 'b'})
        writers.push_back(Child::doing([&, letter] {
            std::string data(kSize, letter);
            for (int round = 0; round < 20; ++round)
                ASSERT_EQ(::pwrite(region.fd(), data.data(), kSize, 0),
                          static_cast<ssize_t>(kSize));
        }));
    std::string data(kSize, '\0');
    for (int round = 0; round < 40; ++round) {
        ASSERT_EQ(::pread(region.fd(), data.data(), kSize, 0), static_cast<ssize_t>(kSize));
        ASSERT_EQ(data.find_first_not_of(data[0]), std::string::npos);
    }
    for (Child& writer : writers)
        EXPECT_EQ(writer.wait(), 0);
}

// -- The module copies through a buffer that it keeps for each thread --

constexpr std::size_t kOwnBytes = 256 * 1024; // each thread's part of the region
constexpr std::size_t kOfHandler = 64 * 1024; // the last of these are its signal handler's

std::atomic<int> mixed_up{0};
thread_local volatile int handle_in_use = -1; // of the thread's signal handler; -1: not yet
thread_local off_t own_part = 0;

// Writes so many bytes of its own there, and reads them back.
void write_and_read(int fd, char* memory, std::size_t bytes, off_t at, char value) {
    std::memset(memory, value, bytes);
    if (::pwrite(fd, memory, bytes, at) != static_cast<ssize_t>(bytes))
        ++mixed_up;
    std::memset(memory, 0, bytes);
    if (::pread(fd, memory, bytes, at) != static_cast<ssize_t>(bytes) || memory[0] != value ||
        std::memcmp(memory, memory + 1, bytes - 1) != 0)
        ++mixed_up;
}

void call_in_handler(int) {
    static thread_local char memory[16 * 1024];
    static thread_local char value = 'A';
    if (handle_in_use < 0)
        return;
    value = value == 'Z' ? 'A' : static_cast<char>(value + 1);
    write_and_read(handle_in_use, memory, sizeof memory,
                   own_part + static_cast<off_t>(kOwnBytes - kOfHandler), value);
}

// A thread that makes calls of all sizes, some of them with memory that ends early.
void make_calls(int fd, std::size_t number, int rounds) {
    own_part = static_cast<off_t>(number * kOwnBytes);
    handle_in_use = fd;
    Mapping memory(-1, 17 * kPage, PROT_READ | PROT_WRITE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    ::mprotect(memory.at(16 * kPage), kPage, PROT_NONE);
    unsigned random = static_cast<unsigned>(number) + 1;
    const auto next = [&](std::size_t most) {
        random = random * 1103515245 + 12345;
        return static_cast<std::size_t>(random >> 8) % most;
    };
    constexpr std::size_t kSizes[] = {100, 300, 512, 4096, 16 * 1024, 16 * 1024 + 64, 50000};
    for (int round = 0; round < rounds; ++round) {
        const std::size_t bytes = kSizes[next(7)];
        const auto value = static_cast<char>(1 + (number * 31 + static_cast<unsigned>(round)) % 60);
        const off_t at = own_part + static_cast<off_t>(next(1000) * 64);
        write_and_read(fd, memory.at(), bytes, at, value);
        if (round % 4 != 0)
            continue;
        // All that is there is read or written, and no byte of another call.
        const std::size_t there = bytes / 2;
        char* const end = memory.at(16 * kPage - there);
        std::memset(end, value + 64, there);
        const ssize_t written = ::pwrite(fd, end, bytes, at);
        std::memset(memory.at(), 0, bytes);
        if (::pread(fd, memory.at(), bytes, at) != static_cast<ssize_t>(bytes) || written < 0)
            ++mixed_up;
        for (std::size_t i = 0; i < bytes; ++i)
            mixed_up += *memory.at(i) != (static_cast<ssize_t>(i) < written ? value + 64 : value);
        std::memset(end, 0, there);
        const ssize_t read = ::pread(fd, end, bytes, at);
        for (ssize_t i = 0; i < static_cast<ssize_t>(there); ++i)
            mixed_up += end[i] != (i >= read ? 0 : i < written ? value + 64 : value);
    }
}

TEST(CallBuffers, HaveNoBytesOfAnotherCall) {
    constexpr std::size_t kThreads = 4;
    const Region region("buffers", 3 * kThreads * kOwnBytes, 0);
    struct sigaction action {};
    action.sa_handler = call_in_handler;
    action.sa_flags = SA_RESTART;
    ASSERT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
    // Threads that come and go, of three processes that share the handle.
    std::vector<Child> children;
    for (std::size_t process = 0; process < 3; ++process)
        children.push_back(Child::doing([&, process] {
            for (int generation = 0; generation < 5; ++generation) {
                std::atomic<std::size_t> left{kThreads};
                std::vector<std::thread> threads;
                for (std::size_t i = 0; i < kThreads; ++i)
                    threads.emplace_back([&, i] {
                        make_calls(region.fd(), process * kThreads + i, 30);
                        --left;
                        // Until then it may get signals.
                        while (left != 0)
                            std::this_thread::yield();
                    });
                while (left != 0) {
                    for (std::thread& thread : threads)
                        ::pthread_kill(thread.native_handle(), SIGUSR1);
                    ::usleep(1000);
                }
                for (std::thread& thread : threads)
                    thread.join();
            }
            EXPECT_EQ(mixed_up, 0);
        }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    ::signal(SIGUSR1, SIG_DFL);
}

} // namespace
