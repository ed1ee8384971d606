// SPDX-License-Identifier: GPL-2.0
// A transaction belongs to the open file, whatever descriptors of it the program uses for its parts
// and its end: a restart always goes to a stm_start whose function has not returned.
#include "transactions.hpp"

#include <cstddef>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

using namespace stm::test;

namespace {

class Duplicates : public Transactions {
protected:
    // A transaction by the first number, in a frame that is gone afterwards.
    template <typename Body>
    [[gnu::noinline]] void in_a_function(Body body) {
        volatile char space[256];
        space[0] = 1;
        stm_start(fd());
        body();
        space[1] = space[0];
    }

    // Whether a transaction that is tried twice is tried here, at both attempts.
    [[gnu::noinline]] bool restarts_here(int number) {
        volatile int attempts = 0;
        stm_start(number);
        attempts = attempts + 1;
        EXPECT_EQ(transaction(number).depth, 1u);
        if (attempts == 1)
            stm_retry(number);
        EXPECT_EQ(stm_commit(number), 0);
        return attempts == 2;
    }
};

TEST_F(Duplicates, APartBelongsToTheTransactionOfTheOpenFile) {
    Fd other(::dup(fd()));
    in_a_function([&] {
        put(fd(), 1L);
        stm_start(other.get());
        EXPECT_EQ(transaction(fd()).depth, 2u);
        put(other.get(), 2L);
        stm_cancel(other.get());
        EXPECT_EQ(get(fd()), 1);
        stm_start(other.get());
        put(other.get(), 3L);
        EXPECT_EQ(stm_commit(other.get()), 0);
        EXPECT_EQ(stm_commit(fd()), 0);
    });
    EXPECT_EQ(get(fd()), 3);
    EXPECT_TRUE(restarts_here(fd()));
    EXPECT_TRUE(restarts_here(other.get()));
}

TEST_F(Duplicates, ARestartInAPartGoesToTheOutermostStart) {
    Fd other(::fcntl(fd(), F_DUPFD_CLOEXEC, 100));
    volatile int outer = 0;
    volatile int inner = 0;
    stm_start(fd());
    outer = outer + 1;
    stm_start(other.get());
    inner = inner + 1;
    if (inner < 3)
        stm_retry(other.get());
    EXPECT_EQ(transaction(fd()).depth, 2u);
    EXPECT_EQ(stm_commit(other.get()), 0);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(outer, 3);
    EXPECT_TRUE(restarts_here(fd()));
}

TEST_F(Duplicates, AnEndByAnotherNumberIsTheEnd) {
    Fd other(::dup(fd()));
    in_a_function([&] {
        put(fd(), 1L);
        EXPECT_EQ(stm_commit(other.get()), 0);
    });
    EXPECT_TRUE(restarts_here(other.get()));
    in_a_function([&] {
        put(fd(), 2L);
        stm_cancel(other.get());
    });
    EXPECT_TRUE(restarts_here(other.get()));
    EXPECT_EQ(get(fd()), 1);
}

TEST_F(Duplicates, AWaitByAnotherNumber) {
    Fd other(::dup(fd()));
    volatile int attempts = 0;
    Child producer([&] {
        ::usleep(100'000);
        put(fd(), 1L);
        return 0;
    });
    stm_start(fd());
    attempts = attempts + 1;
    if (get(fd()) == 0)
        stm_wait(other.get(), nullptr);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(producer.wait(), 0);
}

TEST_F(Duplicates, ANumberThatBecomesOneWithinATransaction) {
    Fd other = another();
    EXPECT_TRUE(restarts_here(other.get())); // the number is known by a handle of its own
    in_a_function([&] {
        ASSERT_EQ(::dup2(fd(), other.get()), other.get());
        stm_start(other.get());
        EXPECT_EQ(transaction(fd()).depth, 2u);
        EXPECT_EQ(stm_commit(other.get()), 0);
        EXPECT_EQ(stm_commit(fd()), 0);
    });
    EXPECT_TRUE(restarts_here(other.get()));
    EXPECT_TRUE(restarts_here(fd()));
}

TEST_F(Duplicates, ANumberThatBecomesOneWhileItsOwnTransactionRuns) {
    Fd other = another();
    in_a_function([&] {
        stm_start(other.get());
        put(other.get(), 5L);
        ASSERT_EQ(::dup2(fd(), other.get()), other.get()); // ends that
        stm_start(other.get());
        EXPECT_EQ(transaction(fd()).depth, 2u);
        EXPECT_EQ(stm_commit(other.get()), 0);
        EXPECT_EQ(stm_commit(other.get()), 0) << "of the first handle";
        EXPECT_EQ(transaction(fd()).depth, 0u);
    });
    EXPECT_TRUE(restarts_here(other.get()));
    EXPECT_EQ(get(fd()), 0);
}

TEST_F(Duplicates, ANumberThatIsUsedAgainForAnotherHandle) {
    Fd other(::dup(fd()));
    const int number = other.get();
    in_a_function([&] {
        stm_start(number);
        EXPECT_EQ(stm_commit(number), 0);
        EXPECT_EQ(stm_commit(fd()), 0);
    });
    Region second("second", kPage, kTransactional);
    ASSERT_EQ(::dup2(second.fd(), number), number);
    volatile int attempts = 0;
    stm_start(fd());
    attempts = attempts + 1;
    stm_start(number);
    EXPECT_EQ(transaction(fd()).depth, 1u);
    EXPECT_EQ(transaction(number).depth, 1u);
    if (attempts == 1)
        stm_retry(number);
    EXPECT_EQ(stm_commit(number), 0);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_TRUE(restarts_here(number));
}

// Linux does not tell then whether two descriptors are duplicates.
void forbid_comparing() {
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1024 + 3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog filter { sizeof program / sizeof program[0], program };
    EXPECT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    EXPECT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

TEST_F(Duplicates, AreKnownWhereLinuxDoesNotTell) {
    elsewhere([&] {
        forbid_comparing();
        Fd handle = another();
        Fd other(::dup(fd()));
        in_a_function([&] {
            stm_start(handle.get());
            put(fd(), 1L);
            stm_start(other.get());
            EXPECT_EQ(stm_commit(other.get()), 0);
            EXPECT_EQ(stm_commit(other.get()), 0);
            EXPECT_EQ(stm_commit(handle.get()), 0);
        });
        EXPECT_TRUE(restarts_here(other.get()));
        EXPECT_TRUE(restarts_here(handle.get()));
    });
}

} // namespace
