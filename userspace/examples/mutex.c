// SPDX-License-Identifier: LGPL-2.1-or-later
// A mutex and what it protects in one plain region: four processes add to a sum that none of them
// may lose a part of.
#include <pthread.h>
#include <stdio.h>
#include <stm/stm.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4, ROUNDS = 10000 };

struct account {
    pthread_mutex_t lock;
    long sum; // protected by `lock`
};

int main(void) {
    // Ephemeral: it goes with the last process that has it mapped.
    int fd = stm_open("mutex example", sizeof(struct account),
                      STM_CREATE | STM_EXCL | STM_PLAIN | STM_EPHEMERAL, 0600);
    if (fd < 0) {
        perror("stm_open");
        return 1;
    }
    struct account* account =
        mmap(NULL, sizeof *account, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (account == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    pthread_mutexattr_t shared;
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&account->lock, &shared);

    for (int process = 0; process < PROCESSES; ++process) {
        if (fork() != 0)
            continue;
        for (int round = 0; round < ROUNDS; ++round) {
            pthread_mutex_lock(&account->lock);
            ++account->sum;
            pthread_mutex_unlock(&account->lock);
        }
        _exit(0);
    }
    while (wait(NULL) > 0)
        continue;
    printf("%d processes, %d rounds each: sum %ld\n", PROCESSES, ROUNDS, account->sum);
    return account->sum == PROCESSES * ROUNDS ? 0 : 1;
}
