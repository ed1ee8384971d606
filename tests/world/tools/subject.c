// SPDX-License-Identifier: GPL-2.0
// A program for tools to look at: "subject WAY [THREADS [SECONDS]]". Its threads count in a region:
// by atomic additions in a plain one, or by transactions in a mapping (each thread with a handle of
// its own) or through <stm/tx.h>. It says when all of them do, and ends at SIGTERM; then it tells
// whether what they have counted is there.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <stm/stm.h>
#include <stm/tx.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "subject"

// For debuggers: where the first thread's counter is, and what it holds when it begins.
const volatile long* watched;
enum { BEGIN = 0x5eed0000 };

static const char* way;
static atomic_bool over;
static atomic_long made;
static atomic_int ready;

static void stop(int signal) {
    (void)signal;
    atomic_store(&over, 1);
}

static void fail(const char* what) {
    perror(what);
    exit(1);
}

// A place to stop at, in the middle of whatever counts.
__attribute__((noinline)) static void counting(void) {
    __asm__ volatile("" ::: "memory");
}

static long* map(int fd) {
    long* memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        fail("mmap");
    return memory;
}

static void count_plainly(void) {
    int fd = stm_open(NAME, 4096, STM_CREATE | STM_PLAIN, 0600);
    if (fd < 0)
        fail("stm_open");
    long* memory = map(fd);
    watched = memory;
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&over)) {
        counting();
        __atomic_fetch_add(memory, 1, __ATOMIC_SEQ_CST);
        atomic_fetch_add(&made, 1);
    }
}

static void count_mapped(void) {
    int fd = stm_open(NAME, 4096, STM_CREATE, 0600);
    if (fd < 0)
        fail("stm_open");
    long* memory = map(fd);
    watched = memory;
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&over)) {
        do {
            stm_start(fd);
            counting();
            *(volatile long*)memory += 1;
        } while (stm_commit(fd));
        atomic_fetch_add(&made, 1);
    }
}

static void count_typed(void) {
    stm_region* region = stm_region_open(NAME, 4096, STM_CREATE, 0600);
    if (!region)
        fail("stm_region_open");
    watched = stm_region_committed(region);
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&over)) {
        stm_tx* tx = stm_tx_begin(region, 0);
        int result;
        do {
            long value;
            counting();
            if (!stm_tx_load(tx, region, 0, &value, sizeof(value))) {
                value += 1;
                (void)!stm_tx_store(tx, region, 0, &value, sizeof(value));
            }
            result = stm_tx_commit(tx);
        } while (result > 0);
        if (result < 0)
            fail("stm_tx_commit");
        atomic_fetch_add(&made, 1);
    }
}

static void* count(void* unused) {
    if (!strcmp(way, "plain"))
        count_plainly();
    else if (!strcmp(way, "mapped"))
        count_mapped();
    else
        count_typed();
    return unused;
}

int main(int argc, char** argv) {
    if (argc < 2)
        return 2;
    way = argv[1];
    const int threads = argc > 2 ? atoi(argv[2]) : 1;
    signal(SIGTERM, stop);
    signal(SIGALRM, stop);
    alarm(argc > 3 ? (unsigned)atoi(argv[3]) : 600);

    int fd = stm_open(NAME, 4096, STM_CREATE | (strcmp(way, "plain") ? 0 : STM_PLAIN), 0600);
    long value = BEGIN;
    if (fd < 0 || pwrite(fd, &value, sizeof(value), 0) != sizeof(value))
        fail("stm_open");

    pthread_t ids[16];
    for (int thread = 0; thread < threads && thread < 16; ++thread)
        pthread_create(&ids[thread], NULL, count, NULL);
    while (atomic_load(&ready) < threads)
        usleep(1000);
    puts("ready");
    fflush(stdout);
    for (int thread = 0; thread < threads && thread < 16; ++thread)
        pthread_join(ids[thread], NULL);

    if (pread(fd, &value, sizeof(value), 0) != sizeof(value))
        fail("pread");
    printf("%ld counted, %ld made\n", value - BEGIN, atomic_load(&made));
    return value - BEGIN == atomic_load(&made) && atomic_load(&made) ? 0 : 1;
}
