// SPDX-License-Identifier: GPL-2.0
// A program that loads the library when it runs, as a plugin does, and unloads it before its
// threads end: what the library has left in the process (handlers, what happens at a thread's end)
// stays right. The program finds libc's functions first, so nothing tells the library of masks and
// closes. Built without optimisation: a function that returns twice is called by a pointer.
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stm/stm.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPage = 4096, kRounds = 20 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("line %d: %s\n", __LINE__, #condition);                                         \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static __typeof__(&stm_open) open_region;
static __typeof__(&stm_unlink_deferred) unlink_region;
static void (*start)(int);
static int (*commit)(int);
static char name[64];
static void* library;
static pthread_barrier_t used, unloaded;
static volatile int calls;

static void* find(const char* symbol) {
    void* found = dlsym(library, symbol);
    CHECK(found != NULL);
    return found;
}

static void load(void) {
    library = dlopen("libstm.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        printf("%s\n", dlerror());
    CHECK(library != NULL);
    *(void**)&open_region = find("stm_open");
    *(void**)&unlink_region = find("stm_unlink_deferred");
    *(void**)&start = find("stm_start");
    *(void**)&commit = find("stm_commit");
}

// Another process makes both pages of the region newer.
static void change(void) {
    const pid_t child = fork();
    if (child == 0) {
        const int fd = open_region(name, 0, 0, 0);
        long value = 0;
        do {
            start(fd);
            if (pread(fd, &value, sizeof value, 0) != sizeof value)
                _exit(1);
            value++;
            if (pwrite(fd, &value, sizeof value, 0) != sizeof value ||
                pwrite(fd, &value, sizeof value, kPage) != sizeof value)
                _exit(1);
        } while (commit(fd));
        _exit(0);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0)
        continue;
    CHECK(status == 0);
}

// Blocks all signals before and between its transactions.
static void* worker(void* unused) {
    sigset_t all, before;
    sigfillset(&all);
    const int fd = open_region(name, 0, 0, 0);
    CHECK(fd >= 0);
    void* mapped = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(mapped != MAP_FAILED);
    volatile long* words = mapped;
    for (volatile int round = 0; round < 5; round++) {
        volatile int tries = 0;
        volatile long first = 0, second = 0;
        pthread_sigmask(SIG_BLOCK, &all, &before);
        do {
            start(fd);
            tries++;
            first = words[0];
            if (tries == 1)
                change();
            second = words[kPage / sizeof(long)];
        } while (commit(fd));
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        CHECK(first == second);
        CHECK(tries == 2);
    }
    munmap(mapped, 2 * kPage);
    close(fd);
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&unloaded);
    return unused;
}

static void count(int number) {
    (void)number;
    calls++;
}

int main(void) {
    setenv("STM_PREDICT", "0", 1);
    pthread_barrier_init(&used, NULL, 2);
    pthread_barrier_init(&unloaded, NULL, 2);
    for (int round = 0; round < kRounds; round++) {
        load();
        snprintf(name, sizeof name, "loaded-late-%d-%d", getpid(), round);
        const int fd = open_region(name, 2 * kPage, STM_CREATE, 0600);
        CHECK(fd >= 0);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, worker, NULL) == 0);
        pthread_barrier_wait(&used);
        CHECK(unlink_region(name) == 0);
        close(fd);
        dlclose(library);
        pthread_barrier_wait(&unloaded);
        CHECK(pthread_join(thread, NULL) == 0);
        // A handler that the program installs, and one signal that it does not.
        signal(SIGUSR1, count);
        raise(SIGUSR1);
        CHECK(calls == round + 1);
        raise(SIGURG);
        CHECK(fork() != 0 || (_exit(0), 0));
        CHECK(wait(NULL) > 0);
    }
    // A fault is the program's, as it was before.
    const pid_t child = fork();
    if (child == 0) {
        *(volatile int*)8 = 1;
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    return 0;
}
