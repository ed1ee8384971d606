// SPDX-License-Identifier: LGPL-2.1-or-later
// An ordinary intrusive list, in memory that several processes share. Its functions know nothing of
// transactions; the three lines that make them safe are marked. Start it several times at once:
//	list & list & list
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <stm/stm.h>
#include <sys/mman.h>
#include <unistd.h>

#define WHERE ((void*)0x300000000000) // the same in all processes, so that pointers mean the same
#define NODES 1000
#define SIZE ((NODES + 1) * sizeof(struct node) + 4096)

struct node {
    struct node* next;
    long key;
};

struct shared {
    struct node* first; // keys rise
    struct node* unused;
    struct node* fresh; // from here on nobody has used the nodes yet
    struct node nodes[NODES];
};

static void insert(struct shared* list, long key) {
    struct node** place = &list->first;
    while (*place && (*place)->key < key)
        place = &(*place)->next;
    if (*place && (*place)->key == key)
        return;
    struct node* node = list->unused;
    if (node)
        list->unused = node->next;
    else if (!list->fresh)
        list->fresh = (node = list->nodes) + 1;
    else
        node = list->fresh++;
    node->key = key;
    node->next = *place;
    *place = node;
}

static void erase(struct shared* list, long key) {
    struct node** place = &list->first;
    while (*place && (*place)->key < key)
        place = &(*place)->next;
    struct node* node = *place;
    if (!node || node->key != key)
        return;
    *place = node->next;
    node->next = list->unused;
    list->unused = node;
}

static int is_sorted(const struct shared* list) {
    for (const struct node* node = list->first; node && node->next; node = node->next)
        if (node->key >= node->next->key)
            return 0;
    return 1;
}

int main(void) {
    int fd = stm_open("list", SIZE, STM_CREATE, 0600);
    if (fd < 0) {
        perror("stm_open");
        return 1;
    }
    struct shared* list =
        mmap(WHERE, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    if (list == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    unsigned random = (unsigned)getpid();
    for (int i = 0; i < 1000; i++) {
        random = random * 1103515245 + 12345;
        const long key = random >> 16 & 127;
        int sorted;
        int result;
        do {
            stm_start(fd); // 1
            if (random >> 30 & 1)
                insert(list, key);
            else
                erase(list, key);
            sorted = is_sorted(list);
        } while ((result = stm_try_commit(fd)) > 0); // 2, and the do around them is 3
        if (result < 0) {
            perror("a change of the list");
            return 1;
        }
        if (!sorted) {
            fputs("the list is torn\n", stderr);
            return 1;
        }
    }
    long length = 0;
    int result;
    do {
        stm_start(fd);
        length = 0;
        for (struct node* node = list->first; node; node = node->next)
            length++;
    } while ((result = stm_try_commit(fd)) > 0);
    if (result < 0) {
        perror("a walk through the list");
        return 1;
    }
    printf("%ld keys, in order\n", length);
    return 0;
}
