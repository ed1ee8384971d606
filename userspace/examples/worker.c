// SPDX-License-Identifier: LGPL-2.1-or-later
// "worker NAME [ADDRESS]": one of any number of processes that add to the same total. Each maps the
// region "workshop" where Linux likes, or at ADDRESS (hexadecimal), adds a thousand one by one, and
// keeps the region mapped until its standard input ends.
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <stm/stm.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROUNDS = 1000 };

struct workshop {
    atomic_long total;
    atomic_int workers;
    char last[32]; // who came last
};

int main(int argc, char** argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: worker NAME [ADDRESS]\n");
        return 2;
    }
    void* wish = argc > 2 ? (void*)strtoul(argv[2], NULL, 16) : NULL;
    int fd = stm_open("workshop", sizeof(struct workshop), STM_CREATE | STM_PLAIN, 0600);
    if (fd < 0) {
        perror("stm_open");
        return 1;
    }
    struct workshop* workshop =
        mmap(wish, sizeof *workshop, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (workshop == MAP_FAILED) {
        perror("mmap");
        return 1;
    }

    int number = atomic_fetch_add(&workshop->workers, 1) + 1;
    if (number > 1)
        printf("%s: %s was here before me\n", argv[1], workshop->last);
    strncpy(workshop->last, argv[1], sizeof workshop->last - 1);
    for (int round = 0; round < ROUNDS; ++round)
        atomic_fetch_add(&workshop->total, 1);
    printf("%s: process %d, worker %d, mapped at %p; the total is %ld\n", argv[1], getpid(), number,
           (void*)workshop, atomic_load(&workshop->total));
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    return 0;
}
