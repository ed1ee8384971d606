// SPDX-License-Identifier: LGPL-2.1-or-later
// 1 / (x - y), while another process changes both. x is always y + 1, so the result is always 1;
// but who reads x before a change and y after it divides by zero. First without transactions, then
// with them.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stm/ioctl.h>
#include <stm/stm.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { X = 0, Y = 64 }; // places in the region, bytes

static long get(int fd, off_t place) {
    long value = 0;
    if (pread(fd, &value, sizeof value, place) != sizeof value) {
        perror("pread");
        exit(1);
    }
    return value;
}

// Commits; 1: the transaction has to be tried again. It cannot be in vain forever.
static int again(int fd) {
    int result = stm_try_commit(fd);
    if (result < 0) {
        perror("stm_try_commit");
        exit(1);
    }
    return result;
}

static void set_both(int fd, long y) {
    long x = y + 1;
    do {
        stm_start(fd);
        if (pwrite(fd, &x, sizeof x, X) < 0 || pwrite(fd, &y, sizeof y, Y) < 0)
            exit(1);
    } while (again(fd));
}

static void change_for_ever(int fd) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (long y = 1;; ++y) {
        set_both(fd, y);
        usleep(50);
    }
}

static volatile long one = 1; // or the compiler finds a way without a division

// Two reads, each of them right, at two moments.
static long difference(int fd) {
    long x = get(fd, X);
    return x - get(fd, Y);
}

static long quotient(int fd) {
    volatile long result = 0;
    do {
        stm_start(fd);
        result = one / difference(fd);
    } while (again(fd));
    return result;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char** argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    int fd = stm_open("divide example", 4096, STM_CREATE | STM_EPHEMERAL, 0600);
    if (fd < 0) {
        perror("stm_open");
        return 1;
    }
    set_both(fd, 0);
    pid_t writer = fork();
    if (writer == 0)
        change_for_ever(fd);

    long reads = 0;
    long zeros = 0;
    long wrong = 0;
    for (double end = now() + seconds / 2; now() < end; ++reads) {
        long found = difference(fd);
        zeros += found == 0;
        wrong += found != 1;
    }
    printf("without transactions: x - y %ld times, %ld wrong, %ld of them 0\n", reads, wrong,
           zeros);

    struct stm_statistics before;
    struct stm_statistics after;
    stm_statistics(fd, &before);
    long divisions = 0;
    wrong = 0;
    for (double end = now() + seconds / 2; now() < end; ++divisions)
        wrong += quotient(fd) != 1;
    stm_statistics(fd, &after);
    kill(writer, SIGKILL);
    waitpid(writer, NULL, 0);
    printf("with transactions: 1 / (x - y) %ld times, %ld wrong, %llu restarts\n", divisions, wrong,
           after.restarts - before.restarts);
    return wrong == 0 && divisions > 0 ? 0 : 1;
}
