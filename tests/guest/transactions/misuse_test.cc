// SPDX-License-Identifier: GPL-2.0
// What a program does wrong with transactions is told, and nothing worse happens.
#include "death.hpp"
#include "transactions.hpp"

using namespace stm::test;

namespace {

class Misuse : public Transactions {};

int error_of_commit(int fd) {
    errno = 0;
    return stm_commit(fd) == 0 ? 0 : errno;
}

int error_of_cancel(int fd) {
    errno = 0;
    stm_cancel(fd);
    return errno;
}

int error_of_try_start(int fd) {
    return stm_try_start(fd) == 0 ? 0 : errno;
}

TEST_F(Misuse, EndsWithoutATransactionAreErrors) {
    EXPECT_EQ(error_of_commit(fd()), EINVAL);
    EXPECT_EQ(error_of_cancel(fd()), EINVAL);
    EXPECT_EQ(stm_validate(fd()), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(stm_wait(fd(), nullptr), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(stm_abort_reason(fd()), STM_REASON_NONE);
    // The same once there was one.
    stm_start(fd());
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(error_of_commit(fd()), EINVAL);
    EXPECT_EQ(error_of_cancel(fd()), EINVAL);
    EXPECT_EQ(stm_wait(fd(), nullptr), -1);
    EXPECT_EQ(errno, EINVAL);
}

TEST_F(Misuse, WrongDescriptorsAreErrors) {
    Fd pipe_end(::open("/dev/null", O_RDWR));
    for (auto [wrong, error] : {std::pair{-1, EBADF}, {9999, EBADF}, {pipe_end.get(), ENOTTY}}) {
        EXPECT_EQ(error_of_commit(wrong), error);
        EXPECT_EQ(error_of_cancel(wrong), error);
        EXPECT_EQ(error_of_try_start(wrong), error);
        EXPECT_EQ(stm_validate(wrong), -1);
        EXPECT_EQ(errno, error);
        EXPECT_EQ(stm_abort_reason(wrong), -1);
        EXPECT_EQ(errno, error);
        struct stm_statistics all {};
        EXPECT_EQ(stm_statistics(wrong, &all), -1);
        EXPECT_EQ(errno, error);
    }
    EXPECT_EQ(stm_set_retry_limit(-1, 1), -1);
    EXPECT_EQ(errno, EBADF);
    EXPECT_EQ(stm_statistics(fd(), nullptr), -1);
    EXPECT_EQ(errno, EFAULT);
}

TEST_F(Misuse, APlainRegionHasNoTransactions) {
    Region plain("plain");
    EXPECT_EQ(error_of_try_start(plain.fd()), EOPNOTSUPP);
}

TEST_F(Misuse, NestingIsBounded) {
    int depth = 0;
    int error = 0;
    while ((error = error_of_try_start(fd())) == 0 && depth < 1000000)
        ++depth;
    EXPECT_EQ(error, E2BIG);
    EXPECT_GE(depth, 8);
    EXPECT_EQ(transaction(fd()).depth, static_cast<unsigned>(depth));
    put(fd(), 1L);
    for (int left = depth; left > 1; --left)
        ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(Misuse, WhatCanNotStartIsToldAndEnds) {
    Region plain("plain");
    Fd null(::open("/dev/null", O_RDWR));
    for (auto [wrong, text] : {std::pair{-1, "not an open descriptor"},
                               {9999, "not an open descriptor"},
                               {null.get(), "not a handle"},
                               {plain.fd(), "STM_PLAIN"}}) {
        Death death = death_of([first = wrong] { stm_start(first); });
        EXPECT_EQ(death.signal, SIGABRT);
        EXPECT_NE(death.said.find(text), std::string::npos) << death.said;
    }
    Death death = death_of([&] {
        for (;;)
            stm_start(fd());
    });
    EXPECT_EQ(death.signal, SIGABRT);
    EXPECT_NE(death.said.find("without stm_commit or stm_cancel"), std::string::npos) << death.said;
    death = death_of([&] { stm_retry(fd()); });
    EXPECT_EQ(death.signal, SIGABRT);
    EXPECT_NE(death.said.find("no transaction"), std::string::npos) << death.said;
}

} // namespace
