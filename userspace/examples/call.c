// SPDX-License-Identifier: LGPL-2.1-or-later
// A function call between two processes: the child is the client that asks, the parent the server
// that answers. They hand the turn to each other through two integers of a shared segment, which
// holds zeros at first.
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stm/shm.h>
#include <sys/wait.h>
#include <unistd.h>

struct call {
    atomic_int asked;    // 1: `argument` is ready
    atomic_int answered; // 1: `result` is ready
    int argument;
    int result;
};

static void wait_for(atomic_int* flag) {
    while (atomic_load_explicit(flag, memory_order_acquire) == 0)
        sched_yield();
}

static int client(struct call* call) {
    call->argument = 6;
    printf("client: what is %d * 7?\n", call->argument);
    fflush(stdout);
    atomic_store_explicit(&call->asked, 1, memory_order_release);
    wait_for(&call->answered);
    printf("client: it is %d\n", call->result);
    return call->result == 42 ? 0 : 1;
}

static void server(struct call* call) {
    wait_for(&call->asked);
    printf("server: somebody asks about %d\n", call->argument);
    fflush(stdout);
    call->result = call->argument * 7;
    atomic_store_explicit(&call->answered, 1, memory_order_release);
}

int main(void) {
    int id = shm_create(sizeof(struct call));
    if (id < 0 || shm_attach(id, NULL) < 0) {
        perror("shm");
        return 1;
    }
    struct call* call = shm_address(id); // the child inherits what is attached

    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        int status = client(call);
        fflush(stdout);
        _exit(status);
    }
    server(call);
    int status = 1;
    waitpid(child, &status, 0);
    if (shm_detach(id) < 0 || shm_destroy(id) < 0) {
        perror("shm");
        return 1;
    }
    return status == 0 ? 0 : 1;
}
