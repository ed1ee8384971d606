// SPDX-License-Identifier: LGPL-2.1-or-later
// Every run of this program, whoever starts it, is one visitor more: they all map the same page.
#include <stdatomic.h>
#include <stdio.h>
#include <stm/stm.h>
#include <sys/mman.h>

int main(void) {
    int fd = stm_open("counter", 4096, STM_CREATE | STM_PLAIN, 0600);
    if (fd < 0) {
        perror("stm_open");
        return 1;
    }
    atomic_long* visitors = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (visitors == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    printf("visitor %ld\n", atomic_fetch_add(visitors, 1) + 1); // a new region holds zeros
    return 0;
}
