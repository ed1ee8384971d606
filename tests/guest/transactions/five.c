// SPDX-License-Identifier: GPL-2.0
// The five functions, read and write, and nothing else of the library. Compiled at -O0, -O2 and
// -O3: what a restart does to local variables depends on the optimiser.
#include <stdio.h>
#include <stdlib.h>
#include <stm/stm.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, ROUNDS = 500, SLOTS = 8 };

struct shared {
    long counter;
    long slots[SLOTS]; // each is its number times the counter
};

static void check(int truth, const char* what) {
    if (!truth) {
        fprintf(stderr, "five: %s\n", what);
        exit(1);
    }
}

static void get(int fd, void* to, size_t size, off_t at) {
    check(lseek(fd, at, SEEK_SET) == at, "lseek");
    check(read(fd, to, size) == (ssize_t)size, "read");
}

static void put(int fd, const void* from, size_t size, off_t at) {
    check(lseek(fd, at, SEEK_SET) == at, "lseek");
    check(write(fd, from, size) == (ssize_t)size, "write");
}

// Many values that live across stm_start, in registers if the compiler can: all must be there after
// a restart. The attempts are changed in the transaction, so they are volatile.
static int add(int fd, long a, long b, long c, long d, long e, long f, double g) {
    volatile int attempts = 0;
    long sum = a + b * c - d + e * f;
    double product = g * (double)a;
    do {
        stm_start(fd);
        attempts = attempts + 1;
        check(sum == a + b * c - d + e * f && product == g * (double)a, "a local variable is lost");
        struct shared now;
        get(fd, &now, sizeof now, 0);
        for (int slot = 0; slot < SLOTS; ++slot)
            check(now.slots[slot] == slot * now.counter, "an inconsistent state was read");
        ++now.counter;
        for (int slot = 0; slot < SLOTS; ++slot)
            now.slots[slot] = slot * now.counter;
        put(fd, &now, sizeof now, 0);
        long again;
        get(fd, &again, sizeof again, 0);
        check(again == now.counter, "an own write was not read back");
        check(sum + a == a + (a + b * c - d + e * f), "a local variable is lost at the end");
    } while (stm_commit(fd));
    check(sum == a + b * c - d + e * f && product == g * (double)a,
          "a local variable is lost after");
    return attempts;
}

static void cancel(int fd) {
    for (;;) {
        stm_start(fd);
        struct shared wrong;
        get(fd, &wrong, sizeof wrong, 0);
        wrong.counter = -1;
        put(fd, &wrong, sizeof wrong, 0);
        stm_cancel(fd);
        break;
    }
}

static void retry(int fd) {
    volatile int attempts = 0;
    do {
        stm_start(fd);
        attempts = attempts + 1;
        long wrong = -1;
        put(fd, &wrong, sizeof wrong, 0);
        if (attempts < 3)
            stm_retry(fd);
        get(fd, &wrong, sizeof wrong, 0);
        check(wrong == -1, "an own write was not read back");
        stm_cancel(fd);
        break;
    } while (stm_commit(fd));
    check(attempts == 3, "stm_retry did not begin again twice");
}

static int work(char* path) {
    int fd = stm_create(path, sizeof(struct shared));
    check(fd >= 0, "stm_create");
    long attempts = 0;
    for (long round = 0; round < ROUNDS; ++round) {
        attempts += add(fd, round, round + 1, 3, 4, round * 5, 6, 1.5);
        if (round % 10 == 0)
            cancel(fd);
        if (round % 50 == 0)
            retry(fd);
    }
    printf("process %d: %d transactions, %ld attempts\n", (int)getpid(), ROUNDS, attempts);
    fflush(stdout);
    return 0;
}

int main(void) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/five:%d", (int)getpid());
    int fd = stm_create(path, sizeof(struct shared));
    check(fd >= 0, "stm_create");
    for (int process = 0; process < PROCESSES; ++process)
        if (fork() == 0)
            _exit(work(path));
    int failures = 0;
    int status;
    while (wait(&status) > 0)
        failures += status != 0;
    long counter = -1;
    get(fd, &counter, sizeof counter, 0);
    printf("counter %ld, expected %d\n", counter, PROCESSES * ROUNDS);
    close(fd);
    unlink(path);
    check(failures == 0, "a process failed");
    check(counter == PROCESSES * ROUNDS, "an increment was lost");
    return 0;
}
