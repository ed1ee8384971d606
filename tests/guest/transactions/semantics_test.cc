// SPDX-License-Identifier: GPL-2.0
// What one thread sees of its own transactions: begin, end, parts and restarts.
#include "transactions.hpp"

#include <random>
#include <sys/uio.h>
#include <vector>

using namespace stm::test;

namespace {

class Semantics : public Transactions {};

int error_of_commit(int fd) {
    errno = 0;
    return stm_commit(fd) == 0 ? 0 : errno;
}

int error_of_try_start(int fd) {
    return stm_try_start(fd) == 0 ? 0 : errno;
}

TEST_F(Semantics, ACommitMakesWritesVisible) {
    stm_start(fd());
    put(fd(), 7L);
    elsewhere([&] { EXPECT_EQ(get(fd()), 0); });
    EXPECT_EQ(stm_commit(fd()), 0);
    elsewhere([&] { EXPECT_EQ(get(fd()), 7); });
    EXPECT_EQ(get(fd()), 7);
}

TEST_F(Semantics, ACancelDropsThem) {
    put(fd(), 5L);
    stm_start(fd());
    put(fd(), 7L);
    EXPECT_EQ(get(fd()), 7);
    stm_cancel(fd());
    EXPECT_EQ(get(fd()), 5);
    elsewhere([&] { EXPECT_EQ(get(fd()), 5); });
}

TEST_F(Semantics, WritesAreReadBackByteByByte) {
    std::mt19937 random(1);
    std::vector<unsigned char> model(4096);
    for (unsigned char& byte : model)
        byte = static_cast<unsigned char>(random());
    ASSERT_EQ(::pwrite(fd(), model.data(), model.size(), 0), 4096);
    const std::vector<unsigned char> before = model;
    for (int round = 0; round < 40; ++round) {
        stm_start(fd());
        for (int step = 0; step < 30; ++step) {
            std::size_t at = random() % model.size();
            std::size_t size = random() % std::min<std::size_t>(model.size() - at, 300) + 1;
            size = std::min(size, model.size() - at);
            std::vector<unsigned char> bytes(size);
            if (random() % 2 == 0) {
                for (unsigned char& byte : bytes)
                    byte = static_cast<unsigned char>(random());
                std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<long>(at));
                ASSERT_EQ(::pwrite(fd(), bytes.data(), size, static_cast<off_t>(at)),
                          static_cast<ssize_t>(size));
            } else {
                ASSERT_EQ(::pread(fd(), bytes.data(), size, static_cast<off_t>(at)),
                          static_cast<ssize_t>(size));
                ASSERT_TRUE(
                    std::equal(bytes.begin(), bytes.end(), model.begin() + static_cast<long>(at)));
            }
        }
        std::vector<unsigned char> now(4096);
        if (round % 2 == 0) {
            stm_cancel(fd());
            model = before;
            ASSERT_EQ(::pwrite(fd(), model.data(), model.size(), 0), 4096);
        } else {
            ASSERT_EQ(stm_commit(fd()), 0);
        }
        ASSERT_EQ(::pread(fd(), now.data(), now.size(), 0), 4096);
        ASSERT_EQ(now, model);
    }
}

TEST_F(Semantics, VectorsAndTheFilePositionTakePart) {
    const char first[] = "abc";
    const char second[] = "defg";
    struct iovec out[] = {{const_cast<char*>(first), 3}, {const_cast<char*>(second), 4}};
    stm_start(fd());
    ASSERT_EQ(::lseek(fd(), 10, SEEK_SET), 10);
    EXPECT_EQ(::writev(fd(), out, 2), 7);
    EXPECT_EQ(::lseek(fd(), 0, SEEK_CUR), 17);
    ASSERT_EQ(::lseek(fd(), 10, SEEK_SET), 10);
    char bytes[8] = "";
    EXPECT_EQ(::read(fd(), bytes, 7), 7);
    EXPECT_STREQ(bytes, "abcdefg");
    elsewhere([&] { EXPECT_EQ(get<char>(fd(), 10), 0); });
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get<char>(fd(), 16), 'g');
}

// -- Parts --

TEST_F(Semantics, APartBelongsToWhatIsAroundIt) {
    stm_start(fd());
    put(fd(), 1L);
    stm_start(fd());
    EXPECT_EQ(transaction(fd()).depth, 2u);
    EXPECT_EQ(get(fd()), 1);
    put(fd(), 2L);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(transaction(fd()).depth, 1u);
    elsewhere([&] { EXPECT_EQ(get(fd()), 0); });
    EXPECT_EQ(get(fd()), 2);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 2);
}

TEST_F(Semantics, ACancelledPartIsUndoneAlone) {
    stm_start(fd());
    put(fd(), 1L, 0);
    stm_start(fd());
    put(fd(), 2L, 0);
    put(fd(), 2L, 100);
    stm_start(fd());
    put(fd(), 3L, 0);
    stm_cancel(fd());
    EXPECT_EQ(get(fd(), 0), 2);
    stm_cancel(fd());
    EXPECT_EQ(get(fd(), 0), 1);
    EXPECT_EQ(get(fd(), 100), 0);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd(), 0), 1);
    EXPECT_EQ(get(fd(), 100), 0);
}

TEST_F(Semantics, ARestartGoesBackToTheOutermostStart) {
    volatile int outer = 0;
    volatile int inner = 0;
    stm_start(fd());
    outer = outer + 1;
    put(fd(), 1L);
    stm_start(fd());
    inner = inner + 1;
    EXPECT_EQ(transaction(fd()).depth, 2u);
    if (inner < 3)
        stm_retry(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(outer, 3);
    EXPECT_EQ(inner, 3);
    EXPECT_EQ(transaction(fd()).depth, 0u);
}

// -- Restarts --

TEST_F(Semantics, AReadThatWouldBeInconsistentRestarts) {
    volatile int attempts = 0;
    volatile long sum = -1;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        long first = get(fd(), 0);
        if (attempts == 1)
            elsewhere([&] {
                stm_start(fd());
                put(fd(), 10L, 0);
                put(fd(), -10L, kStripe);
                EXPECT_EQ(stm_commit(fd()), 0);
            });
        sum = first + get(fd(), kStripe);
        EXPECT_EQ(sum, 0) << "the program saw half of a commit";
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts, 2);
    struct stm_statistics all = statistics(fd());
    EXPECT_EQ(all.aborts[STM_REASON_READ_VALIDATION], 1u);
    EXPECT_EQ(all.restarts, 1u);
    EXPECT_EQ(all.signals, 1u);
}

TEST_F(Semantics, ACommitTellsAConflict) {
    stm_start(fd());
    stm_defer_restarts(); // or the watchdog may be there before the commit
    long value = get(fd());
    elsewhere([&] { put(fd(), 5L); });
    put(fd(), value + 1);
    EXPECT_EQ(error_of_commit(fd()), EAGAIN);
    stm_allow_restarts();
    EXPECT_EQ(transaction(fd()).depth, 0u);
    EXPECT_EQ(stm_abort_reason(fd()), STM_REASON_COMMIT_VALIDATION);
    EXPECT_EQ(get(fd()), 5);
    EXPECT_EQ(error_of_commit(fd()), EINVAL) << "it is over";
}

TEST_F(Semantics, AWriteThatReadsNothingDoesNotConflict) {
    stm_start(fd());
    put(fd(), 1L);
    elsewhere([&] { put(fd(), 5L); });
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);
}

TEST_F(Semantics, RetryBeginsAgain) {
    volatile int attempts = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        EXPECT_EQ(get(fd()), 0) << "a write of the attempt before is still there";
        put(fd(), 1L);
        if (attempts < 5)
            stm_retry(fd());
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts, 5);
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(statistics(fd()).aborts[STM_REASON_RETRY], 4u);
}

TEST_F(Semantics, ARestartInAFunctionThatWasCalled) {
    struct Deep {
        static void read(int fd, int levels, volatile int& attempts) {
            volatile char space[200];
            space[0] = static_cast<char>(levels);
            if (levels > 0)
                return read(fd, levels - space[0] / levels, attempts);
            if (attempts < 3)
                stm_retry(fd);
        }
    };
    volatile int attempts = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        Deep::read(fd(), 50, attempts);
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts, 3);
}

TEST_F(Semantics, TheFloatingPointModesAreRestored) {
    volatile int attempts = 0;
    std::uint16_t x87 = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        asm volatile("fnstcw %0" : "=m"(x87));
        EXPECT_EQ(x87, 0x37f);
        EXPECT_EQ(__builtin_ia32_stmxcsr() & 0xffc0u, 0x1f80u);
        if (attempts < 2) {
            std::uint16_t other = 0xc7f;
            asm volatile("fldcw %0\n fldz\n fldz" : : "m"(other));
            __builtin_ia32_ldmxcsr(0x7f80);
            stm_retry(fd());
        }
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts, 2);
}

TEST_F(Semantics, SeveralDescriptorsAtOnce) {
    Region second("second", kPage, kTransactional);
    volatile int attempts = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        put(fd(), get(fd()) + 1);
        do {
            stm_start(second.fd());
            put(second.fd(), get(second.fd(), kStripe) + 1);
            if (attempts == 1) // the inner one is doomed: both begin again
                elsewhere([&] {
                    stm_start(second.fd());
                    put(second.fd(), 10L, kStripe);
                    put(second.fd(), 10L, 2 * kStripe);
                    EXPECT_EQ(stm_commit(second.fd()), 0);
                });
            get(second.fd(), 2 * kStripe);
        } while (stm_commit(second.fd()) != 0);
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(get(second.fd()), 11);
}

TEST_F(Semantics, ManyDescriptorsAtOnce) {
    std::vector<Fd> handles;
    for (int index = 0; index < 200; ++index) {
        handles.push_back(another());
        ASSERT_TRUE(handles.back());
    }
    for (int index = 0; index < 200; ++index) {
        int handle = handles[static_cast<std::size_t>(index)].get();
        stm_start(handle);
        put(handle, index + 1L, kStripe * index);
    }
    for (int index = 0; index < 200; ++index)
        EXPECT_EQ(stm_commit(handles[static_cast<std::size_t>(index)].get()), 0);
    for (int index = 0; index < 200; ++index)
        EXPECT_EQ(get(fd(), kStripe * index), index + 1);
}

TEST_F(Semantics, AReusedDescriptorNumberHasNoOldTransaction) {
    Fd handle = another();
    int number = handle.get();
    stm_start(number);
    put(number, 1L);
    handle.reset(); // discards it
    Region other("other", kPage, kTransactional);
    ASSERT_EQ(::dup2(other.fd(), number), number);
    Fd reused(number);
    EXPECT_EQ(error_of_commit(number), EINVAL);
    volatile int attempts = 0;
    do {
        stm_start(number);
        attempts = attempts + 1;
        EXPECT_EQ(transaction(number).depth, 1u);
        EXPECT_EQ(get(number), 0);
        put(number, 2L);
        if (attempts == 1)
            stm_retry(number); // here, not to the first stm_start
    } while (stm_commit(number) != 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(get(other.fd()), 2);
    EXPECT_EQ(get(fd()), 0);
}

// A transaction that was left without an end by closing must not be where a later restart goes.
TEST_F(Semantics, ARestartIgnoresTransactionsOfClosedDescriptors) {
    Fd handle = another();
    stm_start(handle.get());
    handle.reset();
    volatile int attempts = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        if (attempts == 1)
            stm_retry(fd());
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts, 2);
}

// -- Limits of attempts --

TEST_F(Semantics, ARetryLimitEndsAttempts) {
    ASSERT_EQ(stm_set_retry_limit(fd(), 3), 0);
    volatile int attempts = 0;
    int result = stm_try_start(fd());
    int error = errno;
    if (result == 0) {
        attempts = attempts + 1;
        stm_retry(fd());
    }
    EXPECT_EQ(result, -1);
    EXPECT_EQ(error, EAGAIN);
    EXPECT_EQ(attempts, 3);
    EXPECT_EQ(transaction(fd()).depth, 0u);
    EXPECT_EQ(error_of_try_start(fd()), 0) << "it counts from zero again";
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(Semantics, ARetryLimitCountsFailedCommits) {
    ASSERT_EQ(stm_set_retry_limit(fd(), 2), 0);
    int attempts = 0;
    for (;;) {
        if (stm_try_start(fd()) < 0)
            break;
        stm_defer_restarts();
        ++attempts;
        put(fd(), get(fd()) + 1);
        elsewhere([&] { put(fd(), 5L); });
        EXPECT_EQ(error_of_commit(fd()), EAGAIN);
        stm_allow_restarts();
    }
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(attempts, 2);
    ASSERT_EQ(stm_set_retry_limit(fd(), 0), 0);
}

TEST_F(Semantics, AReadOnlyHandleReads) {
    put(fd(), 3L);
    Fd handle(stm_open(region_.name().c_str(), 0, STM_RDONLY, 0));
    stm_start(handle.get());
    EXPECT_EQ(get(handle.get()), 3);
    EXPECT_EQ(::pwrite(handle.get(), "", 1, 0), -1);
    EXPECT_EQ(errno, EBADF);
    EXPECT_EQ(stm_commit(handle.get()), 0);
}

TEST_F(Semantics, ValidateTells) {
    stm_start(fd());
    EXPECT_EQ(stm_validate(fd()), 0);
    get(fd());
    EXPECT_EQ(stm_validate(fd()), 0);
    stm_commit(fd());
    // The watchdog could restart it first, which has the same effect here.
    volatile int attempts = 0;
    volatile int told = 0;
    stm_start(fd());
    attempts = attempts + 1;
    get(fd());
    if (attempts == 1) {
        elsewhere([&] { put(fd(), 1L); });
        told = stm_validate(fd()) == -1 && errno == EAGAIN;
        EXPECT_EQ(told, 1);
        stm_retry(fd());
    }
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(stm_validate(fd()), 0);
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST(Reasons, HaveTexts) {
    for (int reason = STM_REASON_NONE; reason <= STM_REASON_CLOSED; ++reason)
        EXPECT_STRNE(stm_reason_text(reason), "unknown") << reason;
    EXPECT_STREQ(stm_reason_text(-1), "unknown");
    EXPECT_STREQ(stm_reason_text(1000), "unknown");
}

} // namespace
