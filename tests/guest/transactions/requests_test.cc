// SPDX-License-Identifier: GPL-2.0
// io_uring and Linux AIO: each read and each write is a transaction of its own, whichever thread
// Linux lets execute it, and never a part of one that a thread of the program has.
#include "requests.hpp"
#include "transactions.hpp"

#include <algorithm>
#include <atomic>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <thread>

using namespace stm::test;

namespace {

/** Skips the test, and says why, where the running kernel has no such requests. */
#define STM_NEED(requests, name)                                                                   \
    if ((requests).error() == ENOSYS || (requests).error() == EPERM)                               \
        GTEST_SKIP() << "this kernel gives no " name ": " << std::strerror((requests).error());    \
    ASSERT_EQ((requests).error(), 0) << name

/** Beside transactions of the program. In a mutex region these would wait for each other. */
class RequestsInside : public Transactions {
protected:
    using Transactions::Transactions;
    /** What another process sees. */
    [[nodiscard]] long number(off_t at = 0) const {
        Fd handle = another();
        return get(handle.get(), at);
    }
};

class Requests : public RequestsInside, public ::testing::WithParamInterface<int> {
protected:
    Requests() : RequestsInside(GetParam()) {}
};
INSTANTIATE_TEST_SUITE_P(Regions, Requests, ::testing::Values(0, STM_MUTEX, STM_PLAIN),
                         [](const auto& kind) {
                             return kind.param == 0           ? "Transactional"
                                    : kind.param == STM_MUTEX ? "Mutex"
                                                              : "Plain";
                         });

// Once they waited until somebody else changed the region, as on a pipe that is empty.
TEST_P(Requests, ReadsByIoUringDoNotWaitForAChange) {
    Ring ring;
    STM_NEED(ring, "io_uring");
    put(fd(), 7L);
    long value = 0;
    EXPECT_EQ(ring.read(fd(), &value, sizeof value, 0), static_cast<int>(sizeof value));
    EXPECT_EQ(value, 7);
    Fd handle = another();
    EXPECT_EQ(ring.read(handle.get(), &value, sizeof value, 64), static_cast<int>(sizeof value));
    EXPECT_EQ(value, 0);
}

// In the thread that submits, and (IOSQE_ASYNC) in one of Linux's workers.
TEST_P(Requests, ByIoUringReadAndWrite) {
    for (const unsigned char flags : {0u, static_cast<unsigned>(IOSQE_ASYNC)}) {
        Ring ring;
        STM_NEED(ring, "io_uring");
        std::vector<char> bytes(5 * kPage + 100, static_cast<char>('a' + flags));
        const int all = static_cast<int>(bytes.size());
        EXPECT_EQ(ring.write(fd(), bytes.data(), bytes.size(), 1000, flags), all);
        std::vector<char> seen(bytes.size());
        EXPECT_EQ(ring.read(fd(), seen.data(), seen.size(), 1000, flags), all);
        EXPECT_EQ(seen, bytes);
        EXPECT_EQ(::pread(another().get(), seen.data(), seen.size(), 1000), all);
        EXPECT_EQ(seen, bytes);
        // Across the end, and beyond it.
        EXPECT_EQ(ring.read(fd(), seen.data(), 100, 64 * 1024 - 10, flags), 10);
        EXPECT_EQ(ring.read(fd(), seen.data(), 100, 64 * 1024, flags), 0);
        EXPECT_EQ(ring.write(fd(), seen.data(), 100, 64 * 1024, flags), -ENOSPC);
        // Memory that is not there.
        EXPECT_EQ(ring.write(fd(), reinterpret_cast<void*>(8), 100, 0, flags), -EFAULT);
        EXPECT_EQ(ring.read(fd(), reinterpret_cast<void*>(8), 100, 0, flags), -EFAULT);
        EXPECT_EQ(number(), 0);
    }
}

TEST_P(Requests, ByAioReadAndWrite) {
    Aio aio;
    STM_NEED(aio, "Linux AIO");
    std::vector<char> bytes(5 * kPage + 100, 'a');
    const long all = static_cast<long>(bytes.size());
    EXPECT_EQ(aio.write(fd(), bytes.data(), bytes.size(), 1000), all);
    std::vector<char> seen(bytes.size());
    EXPECT_EQ(aio.read(fd(), seen.data(), seen.size(), 1000), all);
    EXPECT_EQ(seen, bytes);
    EXPECT_EQ(aio.read(fd(), seen.data(), 100, 64 * 1024 - 10), 10);
    EXPECT_EQ(aio.write(fd(), seen.data(), 100, 64 * 1024), -ENOSPC);
    EXPECT_EQ(aio.write(fd(), reinterpret_cast<void*>(8), 100, 0), -EFAULT);
    EXPECT_EQ(number(), 0);
}

// Memory that was registered with the ring is read and written by its pages.
TEST_P(Requests, ByIoUringUseRegisteredMemory) {
    Ring ring;
    STM_NEED(ring, "io_uring");
    Mapping memory(-1, 2 * kPage, PROT_READ | PROT_WRITE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
    iovec all{memory.data(), 2 * kPage};
    ASSERT_EQ(::syscall(SYS_io_uring_register, ring.fd(), IORING_REGISTER_BUFFERS, &all, 1), 0)
        << std::strerror(errno);
    std::memset(memory.data(), 'w', 2 * kPage);
    ASSERT_EQ(ring.submit(Ring::request(IORING_OP_WRITE_FIXED, fd(), memory.at(100), 5000, 0)), 0);
    EXPECT_EQ(ring.wait(), 5000);
    EXPECT_EQ(get<char>(another().get(), 4999), 'w');
    put(fd(), 'x', 4000);
    ASSERT_EQ(ring.submit(Ring::request(IORING_OP_READ_FIXED, fd(), memory.at(), 8000, 0)), 0);
    EXPECT_EQ(ring.wait(), 8000);
    EXPECT_EQ(*memory.at(4000), 'x');
    EXPECT_EQ(*memory.at(4999), 'w');
    EXPECT_EQ(*memory.at(5000), '\0');
}

TEST_F(RequestsInside, AreNoPartOfATransaction) {
    Ring ring;
    STM_NEED(ring, "io_uring");
    Aio aio;
    STM_NEED(aio, "Linux AIO");
    volatile int rounds = 0;
    // Its own call would be a part of it.
    stm_start(fd());
    rounds = rounds + 1;
    put(fd(), 1L);
    long value = 5;
    EXPECT_EQ(ring.write(fd(), &value, sizeof value, kStripe), -EBUSY);
    EXPECT_EQ(ring.read(fd(), &value, sizeof value, 0), -EBUSY);
    EXPECT_EQ(aio.write(fd(), &value, sizeof value, kStripe), -EBUSY);
    EXPECT_EQ(aio.read(fd(), &value, sizeof value, 0), -EBUSY);
    EXPECT_EQ(value, 5);
    // A worker's is not: it sees what is committed, and is seen at once.
    EXPECT_EQ(ring.read(fd(), &value, sizeof value, 0, IOSQE_ASYNC),
              static_cast<int>(sizeof value));
    EXPECT_EQ(value, 0) << "what is not committed";
    value = 6;
    EXPECT_EQ(ring.write(fd(), &value, sizeof value, 2 * kStripe, IOSQE_ASYNC),
              static_cast<int>(sizeof value));
    elsewhere([&] {
        EXPECT_EQ(number(2 * kStripe), 6);
        EXPECT_EQ(number(0), 0);
    });
    // Nor is one on another handle.
    Fd handle = another();
    EXPECT_EQ(ring.read(handle.get(), &value, sizeof value, 0), static_cast<int>(sizeof value));
    EXPECT_EQ(value, 0);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(rounds, 1);
    EXPECT_EQ(number(0), 1);
    EXPECT_EQ(number(kStripe), 0) << "what was refused";
    EXPECT_EQ(ring.read(fd(), &value, sizeof value, 0), static_cast<int>(sizeof value));
    EXPECT_EQ(value, 1);
}

// A request that was submitted before and is executed inside: Linux executes one that waits for
// those before it when they are done, in the thread that submitted it, wherever that is then.
TEST_F(RequestsInside, OfBeforeATransactionAreNoPartOfIt) {
    Ring ring;
    STM_NEED(ring, "io_uring");
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    Fd from(ends[0]), to(ends[1]);
    char byte = 0;
    long value = 5;
    ASSERT_EQ(ring.submit(Ring::request(IORING_OP_READ, from.get(), &byte, 1, 0)), 0);
    ASSERT_EQ(
        ring.submit(Ring::request(IORING_OP_WRITE, fd(), &value, sizeof value, 0, IOSQE_IO_DRAIN)),
        0);
    EXPECT_FALSE(ring.has_completion());
    stm_start(fd());
    put(fd(), 1L, kStripe);
    stm_defer_restarts();
    ASSERT_EQ(::write(to.get(), "x", 1), 1);
    EXPECT_EQ(ring.wait(), 1);
    const int result = ring.wait();
    const long seen_by_others = number();
    stm_allow_restarts();
    stm_cancel(fd());
    // By this thread it is refused, by a worker it is a transaction of its own.
    EXPECT_TRUE(result == -EBUSY || result == static_cast<int>(sizeof value)) << result;
    EXPECT_EQ(seen_by_others, result == -EBUSY ? 0 : 5);
    EXPECT_EQ(number(), seen_by_others);
}

// The thread that polls a ring is Linux's own.
TEST_P(Requests, ByAPollingThreadReadAndWrite) {
    Ring ring(IORING_SETUP_SQPOLL);
    STM_NEED(ring, "io_uring with a polling thread");
    long value = 9;
    EXPECT_EQ(ring.write(fd(), &value, sizeof value, 0), static_cast<int>(sizeof value));
    value = 0;
    EXPECT_EQ(ring.read(fd(), &value, sizeof value, 0), static_cast<int>(sizeof value));
    EXPECT_EQ(value, 9);
    EXPECT_EQ(number(), 9);
}

// Each write is there as a whole or not at all, whatever thread does it.
TEST_P(Requests, AreAtomic) {
    constexpr std::size_t kBytes = 32 * 1024;
    std::atomic<bool> stop{false};
    Ring probe;
    STM_NEED(probe, "io_uring");
    std::vector<std::thread> writers;
    for (const unsigned char flags : {0u, static_cast<unsigned>(IOSQE_ASYNC)})
        writers.emplace_back([&, flags] {
            Ring ring;
            Fd handle = another();
            std::vector<char> bytes(kBytes);
            for (char letter = 'a'; !stop;
                 letter = letter == 'z' ? 'a' : static_cast<char>(letter + 1)) {
                std::memset(bytes.data(), letter, kBytes);
                EXPECT_EQ(ring.write(handle.get(), bytes.data(), kBytes, 0, flags),
                          static_cast<int>(kBytes));
            }
        });
    Ring ring;
    Aio aio;
    std::vector<char> bytes(kBytes);
    const auto expect_whole = [&](long result) {
        EXPECT_EQ(result, static_cast<long>(kBytes));
        EXPECT_EQ(std::count(bytes.begin(), bytes.end(), bytes[0]), static_cast<long>(kBytes));
    };
    for (int round = 0; round < 100 && !HasFailure(); ++round) {
        expect_whole(ring.read(fd(), bytes.data(), kBytes, 0));
        expect_whole(ring.read(fd(), bytes.data(), kBytes, 0, IOSQE_ASYNC));
        if (aio.error() == 0)
            expect_whole(aio.read(fd(), bytes.data(), kBytes, 0));
    }
    stop = true;
    for (std::thread& writer : writers)
        writer.join();
}

// A ring may hold a file and requests when its process is killed.
TEST_P(Requests, LeaveNothingOfADeadProcess) {
    Ring probe;
    STM_NEED(probe, "io_uring");
    const unsigned before = info_of(fd()).handles;
    Child child([&] {
        Ring ring;
        Fd handle = another();
        const int files[] = {handle.get()};
        EXPECT_EQ(::syscall(SYS_io_uring_register, ring.fd(), IORING_REGISTER_FILES, files, 1), 0);
        std::vector<char> bytes(32 * 1024, 'k');
        for (;;) {
            const auto write = Ring::request(IORING_OP_WRITE, 0, bytes.data(), bytes.size(), 0,
                                             IOSQE_ASYNC | IOSQE_FIXED_FILE);
            if (ring.submit(write) != 0 || ring.wait() < 0)
                return 1;
        }
    });
    EXPECT_TRUE(eventually([&] { return get<char>(fd()) == 'k'; }));
    child.kill(SIGKILL);
    child.wait();
    EXPECT_TRUE(eventually([&] { return info_of(fd()).handles == before; }));
    put(fd(), 1L);
    EXPECT_EQ(number(), 1);
}

// A call of the program's own cannot be told not to wait.
TEST_P(Requests, RwfNowaitIsRefusedInCalls) {
    char byte = 0;
    iovec one{&byte, 1};
    EXPECT_EQ(::preadv2(fd(), &one, 1, 0, RWF_NOWAIT), -1);
    EXPECT_EQ(errno, EOPNOTSUPP);
    EXPECT_EQ(::pwritev2(fd(), &one, 1, 0, RWF_NOWAIT), -1);
    EXPECT_EQ(errno, EOPNOTSUPP);
}

} // namespace
