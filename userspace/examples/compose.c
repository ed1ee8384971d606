// SPDX-License-Identifier: LGPL-2.1-or-later
// A transfer made of a withdrawal and a deposit that exist already. With a lock for each account
// there are two ways to put them together, and both are wrong; with transactions there is one, and
// it is right.
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stm/stm.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ACCOUNTS = 2, OPENING = 1000, AMOUNT = 1 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

// What the processes have found out, in memory that they share.
struct outcome {
    volatile long transfers;
    volatile long audits;
    volatile long missing; // audits that did not find all the money
    volatile long deadlocks;
    volatile int stop;
};

// -- With locks --

struct account {
    pthread_mutex_t lock;
    long balance; // protected by `lock`
};

static struct account* accounts;

// 0, or 1 when the lock could not be had for a second.
static int lock(int account) {
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 1;
    return pthread_mutex_timedlock(&accounts[account].lock, &end) == ETIMEDOUT;
}

static void unlock(int account) {
    pthread_mutex_unlock(&accounts[account].lock);
}

static void withdraw_locked(int account) {
    accounts[account].balance -= AMOUNT;
}
static void deposit_locked(int account) {
    accounts[account].balance += AMOUNT;
}

// Each operation takes its own lock. In between the money is nowhere.
static int transfer_one_by_one(int from, int to) {
    if (lock(from))
        return 1;
    withdraw_locked(from);
    unlock(from);
    sched_yield();
    if (lock(to))
        return 1;
    deposit_locked(to);
    unlock(to);
    return 0;
}

// Both locks for the whole transfer. Another transfer in the other direction has the other one.
static int transfer_with_both(int from, int to) {
    if (lock(from))
        return 1;
    sched_yield();
    if (lock(to)) {
        unlock(from);
        return 1;
    }
    withdraw_locked(from);
    deposit_locked(to);
    unlock(to);
    unlock(from);
    return 0;
}

static long sum_with_locks(void) {
    long sum = 0;
    if (lock(0))
        return ACCOUNTS * OPENING; // cannot tell
    if (lock(1) == 0) {
        sum = accounts[0].balance + accounts[1].balance;
        unlock(1);
    } else {
        sum = ACCOUNTS * OPENING;
    }
    unlock(0);
    return sum;
}

// -- With transactions --

static int fd;

static long balance(int account) {
    long result = 0;
    if (pread(fd, &result, sizeof result, account * 64) != sizeof result)
        exit(1);
    return result;
}

static void set_balance(int account, long value) {
    if (pwrite(fd, &value, sizeof value, account * 64) != sizeof value)
        exit(1);
}

// Commits; 1: the transaction has to be tried again. It cannot be in vain forever.
static int again(void) {
    int result = stm_try_commit(fd);
    if (result < 0) {
        perror("stm_try_commit");
        exit(1);
    }
    return result;
}

static void withdraw(int account) {
    do {
        stm_start(fd);
        set_balance(account, balance(account) - AMOUNT);
    } while (again());
}

static void deposit(int account) {
    do {
        stm_start(fd);
        set_balance(account, balance(account) + AMOUNT);
    } while (again());
}

static int transfer_in_a_transaction(int from, int to) {
    do {
        stm_start(fd);
        withdraw(from);
        sched_yield();
        deposit(to);
    } while (again());
    return 0;
}

static long sum_in_a_transaction(void) {
    volatile long sum = 0;
    do {
        stm_start(fd);
        long first = balance(0);
        sum = first + balance(1);
    } while (again());
    return sum;
}

// -- The same test for each --

static struct outcome try(const char* name, int (*transfer)(int, int), long (*sum)(void),
                          double seconds) {
    struct outcome* shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        exit(1);
    for (int process = 0; process < 2; ++process) {
        if (fork() != 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (!shared->stop) {
            if (transfer(process, 1 - process))
                __atomic_add_fetch(&shared->deadlocks, 1, __ATOMIC_RELAXED);
            else
                __atomic_add_fetch(&shared->transfers, 1, __ATOMIC_RELAXED);
        }
        _exit(0);
    }
    for (double end = now() + seconds; now() < end; ++shared->audits)
        if (sum() != ACCOUNTS * OPENING)
            ++shared->missing;
    shared->stop = 1;
    while (wait(NULL) > 0)
        continue;
    struct outcome outcome = *shared;
    munmap(shared, sizeof *shared);
    printf("%-28s %8ld transfers %8ld audits, money missing in %ld, %ld deadlocks\n", name,
           outcome.transfers, outcome.audits, outcome.missing, outcome.deadlocks);
    fflush(stdout);
    return outcome;
}

int main(int argc, char** argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    int plain = stm_open("compose example, locks", sizeof(struct account) * ACCOUNTS,
                         STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600);
    fd = stm_open("compose example", 4096, STM_CREATE | STM_EPHEMERAL, 0600);
    if (plain < 0 || fd < 0) {
        perror("stm_open");
        return 1;
    }
    accounts =
        mmap(NULL, sizeof(struct account) * ACCOUNTS, PROT_READ | PROT_WRITE, MAP_SHARED, plain, 0);
    if (accounts == MAP_FAILED)
        return 1;
    pthread_mutexattr_t shared;
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    for (int account = 0; account < ACCOUNTS; ++account) {
        pthread_mutex_init(&accounts[account].lock, &shared);
        accounts[account].balance = OPENING;
        set_balance(account, OPENING);
    }
    try("a lock for each operation", transfer_one_by_one, sum_with_locks, seconds / 3);
    try("both locks", transfer_with_both, sum_with_locks, seconds / 3);
    struct outcome right =
        try("nested transactions", transfer_in_a_transaction, sum_in_a_transaction, seconds / 3);
    return right.missing == 0 && right.deadlocks == 0 && right.transfers > 0 && right.audits > 0
               ? 0
               : 1;
}
