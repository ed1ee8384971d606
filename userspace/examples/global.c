// SPDX-License-Identifier: LGPL-2.1-or-later
// After fork each process has its own copy of a global variable, and both have the same region:
// what the child adds to the global is lost to the parent, what it adds to the region is not.
#include <stdio.h>
#include <stm/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static int global = 1;

int main(void) {
    int id = shm_create(sizeof(int));
    if (id < 0 || shm_attach(id, NULL) < 0) {
        perror("shm");
        return 1;
    }
    int* shared = shm_address(id);
    *shared = 1;

    pid_t child = fork();
    if (child == 0) {
        global += 41;
        *shared += 41;
        _exit(0);
    }
    if (child < 0 || waitpid(child, NULL, 0) < 0) {
        perror("fork");
        return 1;
    }
    printf("global variable: %d (the child's 42 stayed with the child)\n", global);
    printf("shared region:   %d\n", *shared);
    int as_expected = global == 1 && *shared == 42;
    if (shm_detach(id) < 0 || shm_destroy(id) < 0) {
        perror("shm");
        return 1;
    }
    return as_expected ? 0 : 1;
}
