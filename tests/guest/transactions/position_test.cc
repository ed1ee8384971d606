// SPDX-License-Identifier: GPL-2.0
// The file position is part of what a restart or a cancel undoes: programs that use lseek, read and
// write need no more than those that use pread and pwrite.
#include "transactions.hpp"

#include <thread>

using namespace stm::test;

namespace {

class Position : public Transactions {
protected:
    [[nodiscard]] off_t position() const { return ::lseek(fd(), 0, SEEK_CUR); }
    long next() {
        long value = -1;
        EXPECT_EQ(::read(fd(), &value, sizeof value), static_cast<ssize_t>(sizeof value));
        return value;
    }
    void SetUp() override {
        Transactions::SetUp();
        for (long number = 0; number < 100; ++number)
            put(fd(), number, number * static_cast<off_t>(sizeof number));
    }
};

TEST_F(Position, ARestartBeginsWhereTheTransactionBegan) {
    // The first one begins by a system call, later ones without.
    for (long first : {0L, 3L, 6L, 9L}) {
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            for (long number = first; number < first + 3; ++number)
                EXPECT_EQ(next(), number);
            if (attempts < 3)
                stm_retry(fd());
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 3);
        EXPECT_EQ(position(), (first + 3) * 8) << "what was committed has moved it";
    }
}

TEST_F(Position, AConflictPutsItBack) {
    ASSERT_EQ(::lseek(fd(), 16, SEEK_SET), 16);
    volatile int attempts = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        EXPECT_EQ(next(), 2);
        EXPECT_EQ(::lseek(fd(), 800, SEEK_SET), 800);
        const long one = 1;
        EXPECT_EQ(::write(fd(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
        if (attempts == 1)
            elsewhere([&] { put(fd(), 2L, 16); });
    } while (stm_commit(fd()) != 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(position(), 808);
}

TEST_F(Position, ACancelPutsItBack) {
    ASSERT_EQ(::lseek(fd(), 24, SEEK_SET), 24);
    for (int round = 0; round < 3; ++round) {
        stm_start(fd());
        EXPECT_EQ(::lseek(fd(), 0, SEEK_END), 64 * 1024);
        stm_cancel(fd());
        EXPECT_EQ(position(), 24);
        stm_start(fd());
        EXPECT_EQ(next(), 3);
        stm_start(fd());
        EXPECT_EQ(next(), 4);
        EXPECT_EQ(stm_commit(fd()), 0);
        stm_cancel(fd());
        EXPECT_EQ(position(), 24);
    }
}

TEST_F(Position, AWaitPutsItBack) {
    stm_start(fd());
    EXPECT_EQ(next(), 0);
    const struct timespec shortly { 0, 1'000'000 };
    EXPECT_EQ(stm_wait(fd(), &shortly), -1);
    stm_cancel(fd());
    EXPECT_EQ(position(), 0);
}

TEST_F(Position, OfOtherThreadsIsLeftAlone) {
    stm_start(fd());
    EXPECT_EQ(get(fd(), 800), 0); // pread does not move it
    std::thread([&] { EXPECT_EQ(::lseek(fd(), 32, SEEK_SET), 32); }).join();
    stm_cancel(fd());
    EXPECT_EQ(position(), 32);
}

// Where it is then nobody knows; a kernel that looks for data races finds none.
TEST_F(Position, MayBeMovedByManyThreadsAtOnce) {
    const double end = seconds() + 2;
    std::thread mover([&] {
        long number = 0;
        while (seconds() < end) {
            EXPECT_GE(::read(fd(), &number, sizeof number), 0);
            EXPECT_GE(::lseek(fd(), 0, SEEK_SET), 0);
        }
    });
    std::thread other([&] {
        while (seconds() < end)
            EXPECT_EQ(get(fd(), 8), 1);
    });
    while (seconds() < end) {
        stm_start(fd());
        long number = 0;
        EXPECT_GE(::read(fd(), &number, sizeof number), 0);
        stm_cancel(fd());
    }
    mover.join();
    other.join();
    EXPECT_LE(position(), 64 * 1024);
}

} // namespace
