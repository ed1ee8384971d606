// SPDX-License-Identifier: GPL-2.0
// The signal masks of the program.
#include "signals.hpp"

using namespace stm::test;

namespace {

TEST_F(Signals, ABlockedDoomSignalIsUnblockedByTheFirstStart) {
    in_child([&] {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        first_transaction(fd());
        sigset_t now;
        pthread_sigmask(SIG_BLOCK, nullptr, &now);
        EXPECT_EQ(sigismember(&now, kDoomSignal), 0);
        EXPECT_EQ(sigismember(&now, SIGSEGV), 1);

        // Blocked afterwards, it can not restart: the calls fail and so does the commit.
        sigaddset(&now, kDoomSignal);
        pthread_sigmask(SIG_BLOCK, &now, nullptr);
        stm_start(fd());
        get(fd());
        elsewhere([&] {
            stm_start(fd());
            put(fd(), 1L);
            put(fd(), 1L, kStripe);
            stm_commit(fd());
        });
        char byte = 0;
        EXPECT_EQ(::pread(fd(), &byte, 1, kStripe), -1);
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(::pwrite(fd(), &byte, 1, kStripe), -1);
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(stm_commit(fd()), 1);
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(get(fd()), 1);
        // What is still pending is of no consequence.
        pthread_sigmask(SIG_UNBLOCK, &all, nullptr);
        stm_start(fd());
        EXPECT_EQ(stm_commit(fd()), 0);
    });
}

} // namespace
