// SPDX-License-Identifier: GPL-2.0
// Two processes call each other through a segment that the parent has at 0x10000000 and the child at 0x20000000. What
// the first two integers say, the messages show: the parent waits for the first, the child for the second.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stm/shm.h>

#define dprintf(...) do { printf(__VA_ARGS__); fflush(stdout); } while (0)
#define error(...) do { fprintf(stderr, __VA_ARGS__); exit(1); } while (0)

int main(int argc, char** argv) {
    dprintf("the %s command started with %d parameters\n", argv[0], argc);

    int id = shm_create(8192);
    if (id == -1)
        error("shm_create failed\n");

    pid_t pid = fork();
    if (pid == -1)
        error("fork failed\n");

    if (pid == 0) {
        if (shm_attach(id, (void*)0x20000000) == -1)
            error("child: shm_attach failed\n");
        atomic_int* shared = (atomic_int*)0x20000000;
        dprintf("child: request\n");
        atomic_store_explicit(&shared[0], 1, memory_order_release);
        while (atomic_load_explicit(&shared[1], memory_order_acquire) == 0)
            ;
        dprintf("child: response %d\n", atomic_load_explicit(&shared[1], memory_order_relaxed));
        if (shm_detach(id) == -1)
            error("child: shm_detach failed\n");
        exit(0);
    }

    if (shm_attach(id, (void*)0x10000000) == -1)
        error("parent: shm_attach failed\n");
    atomic_int* shared = (atomic_int*)0x10000000;
    while (atomic_load_explicit(&shared[0], memory_order_acquire) == 0)
        ;
    dprintf("parent: unblocked by the child\n");
    atomic_store_explicit(&shared[1], 42, memory_order_release);

    int status = 1;
    if (wait(&status) == -1 || status != 0)
        error("the child failed\n");
    if (shm_destroy(id) != -1)
        error("a segment that is attached was destroyed\n");
    if (shm_detach(id) == -1)
        error("parent: shm_detach failed\n");
    if (shm_destroy(id) == -1)
        error("shm_destroy failed\n");
    if (0 == 1)
        error("I am a camel\n");
    dprintf("I am a process\n");
    return 0;
}
