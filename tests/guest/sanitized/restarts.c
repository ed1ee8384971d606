// SPDX-License-Identifier: GPL-2.0
// A program that is built with a sanitizer, and restarts thousands of times out of nested
// functions: the sanitizer finds nothing in it. Built with WITH_FAULT it finds that.
#include <pthread.h>
#ifdef WITH_FAULT
#include <sched.h>
#endif
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <stm/stm.h>
#include <stm/transaction.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPage = 4096, kRestarts = 12000, kThreads = 2 };

static char name[64];
static __thread volatile int sink;
#ifdef WITH_FAULT
static volatile long unprotected; // changed by two threads at once
#endif

static void check(int condition, const char* what) {
    if (!condition) {
        printf("%s\n", what);
        _exit(1);
    }
}
#define CHECK(condition) check(condition, #condition)

struct worker {
    int fd;
    volatile long* words;
    int number;
};

// Each has locals that a sanitizer guards.
__attribute__((noinline)) static void retry_from(struct worker* self, int depth) {
    char local[40];
    memset(local, depth, sizeof local);
    sink = local[depth];
    if (depth == 0)
        stm_retry(self->fd);
    else
        retry_from(self, depth - 1);
    sink = local[depth / 2];
}

__attribute__((noinline)) static void fault_from(struct worker* self, int depth) {
    char local[24];
    memset(local, depth, sizeof local);
    sink = local[depth];
    if (depth == 0)
        sink = (int)self->words[kPage / sizeof(long)];
    else
        fault_from(self, depth - 1);
    sink = local[depth / 2];
}

__attribute__((noinline)) static void read_from(struct worker* self, int depth) {
    char local[56];
    memset(local, depth, sizeof local);
    sink = local[depth];
    long value = 0;
    if (depth == 0)
        CHECK(pread(self->fd, &value, sizeof value, kPage) == sizeof value);
    else
        read_from(self, depth - 1);
    sink = local[depth / 2];
}

// Uses as much of the stack as was left, in other pieces.
__attribute__((noinline)) static void use_the_stack(int depth) {
    char local[100];
    memset(local, 1, sizeof local);
    sink = local[depth];
    if (depth > 0)
        use_the_stack(depth - 1);
    sink = local[0];
}

static void change(const struct worker* self) {
    const long value = self->words[0] + 1; // outside of a transaction: what was committed last
    CHECK(pwrite(self->fd, &value, sizeof value, 0) == sizeof value);
    CHECK(pwrite(self->fd, &value, sizeof value, kPage) == sizeof value);
}

static int open_handle(struct worker* self) {
    self->fd = stm_open(name, 0, 0, 0);
    CHECK(self->fd >= 0);
    void* mapped = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
    CHECK(mapped != MAP_FAILED);
    self->words = mapped;
    return self->fd;
}

// Asks the process that makes data old to do it once.
static int ask[2], answer[2];
static pthread_mutex_t asking = PTHREAD_MUTEX_INITIALIZER;

static void become_old(void) {
    char byte = 0;
    stm_defer_restarts();
    pthread_mutex_lock(&asking);
    CHECK(write(ask[1], &byte, 1) == 1);
    CHECK(read(answer[0], &byte, 1) == 1);
    pthread_mutex_unlock(&asking);
    stm_allow_restarts();
}

static void transactions(struct worker* self) {
    for (volatile int round = 0; round < kRestarts; round++) {
        volatile int tries = 0;
        do {
            stm_start(self->fd);
            tries++;
            if (tries == 1)
                retry_from(self, round % 20);
        } while (stm_commit(self->fd));
        CHECK(tries == 2);
        use_the_stack(12);
    }
    for (volatile int round = 0; round < kRestarts / 120; round++) {
        volatile int tries = 0;
        do {
            stm_start(self->fd);
            tries++;
            sink = (int)self->words[0];
            if (tries == 1) {
                become_old();
                if (round % 2 == 0)
                    fault_from(self, 10);
                else
                    read_from(self, 10);
            }
        } while (stm_commit(self->fd));
        use_the_stack(12);
    }
    // Beside the program's own.
    for (volatile int round = 0; round < kRestarts; round++) {
        static __thread jmp_buf way;
        volatile int tries = 0;
        if (setjmp(way) != 0)
            continue;
        stm_start(self->fd);
        tries++;
        if (tries == 1)
            retry_from(self, 5);
        stm_cancel(self->fd);
        use_the_stack(3);
        longjmp(way, 1);
    }
}

static void* worker(void* argument) {
    struct worker self = {.number = *(const int*)argument};
#ifdef WITH_FAULT
    // When all are there, which orders nothing: what one did long ago the sanitizer forgets.
    static int there;
    __atomic_fetch_add(&there, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&there, __ATOMIC_RELAXED) != kThreads)
        sched_yield();
    // Often: a sanitizer misses two accesses that meet in the very same instant.
    for (int time = 0; time < 1000; time++) {
        unprotected++;
        sched_yield();
    }
#endif
    open_handle(&self);
    transactions(&self);
#ifdef WITH_FAULT
    volatile char* memory = malloc(10);
    memory[self.number + 10] = 1;
    free((char*)memory);
#endif
    close(self.fd);
    return NULL;
}

int main(void) {
    setenv("STM_PREDICT", "0", 1);
    snprintf(name, sizeof name, "sanitized-%d", getpid());
    const int fd = stm_open(name, 2 * kPage, STM_CREATE, 0600);
    CHECK(fd >= 0 && pipe(ask) == 0 && pipe(answer) == 0);
    const pid_t child = fork();
    if (child == 0) {
        struct worker self = {0};
        char byte = 0;
        open_handle(&self);
        close(ask[1]);
        while (read(ask[0], &byte, 1) == 1) {
            change(&self);
            CHECK(write(answer[1], &byte, 1) == 1);
        }
        _exit(0);
    }
    pthread_t threads[kThreads];
    int numbers[kThreads];
    for (int index = 0; index < kThreads; index++) {
        numbers[index] = index;
        CHECK(pthread_create(&threads[index], NULL, worker, &numbers[index]) == 0);
    }
    for (int index = 0; index < kThreads; index++)
        CHECK(pthread_join(threads[index], NULL) == 0);
    close(ask[1]);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(stm_unlink_deferred(name) == 0);
    return 0;
}
