// SPDX-License-Identifier: GPL-2.0
// The allocator in a region, from C: by typed transactions, and by ordinary pointers in a mapping.
// Processes insert into one list and remove from it, in either way, and some of them are killed:
// the list is whole, and nothing is lost.
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stm/heap.h>
#include <stm/stm.h>
#include <stm/transaction.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 1 << 20, PROCESSES = 4, TURNS = 300, KILLS = 12, KEYS = 64, TAG = 77 };

struct node {
    long key;
    uint64_t next; /* an offset; 0: there is none */
};
struct list {
    uint64_t first;
    long length;
};

static char name[64];

static void expect(int condition, const char* what) {
    if (condition)
        return;
    fprintf(stderr, "heap: %s (%s)\n", what, strerror(errno));
    exit(1);
}

/* -- By pointers -- */

static char* map(int fd) {
    char* base = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    expect(base != MAP_FAILED, "mmap");
    return base;
}

/* The place that leads to the first node of at least that key. */
static uint64_t* find(char* base, struct list* list, long key) {
    uint64_t* place = &list->first;
    while (*place != 0 && ((struct node*)(base + *place))->key < key)
        place = &((struct node*)(base + *place))->next;
    return place;
}

static void toggle(char* base, long key) {
    void* root = NULL;
    uint64_t tag = 0;
    expect(stm_heap_root_mapped(base, SIZE, &root, &tag) == 0 && tag == TAG, "the root");
    struct list* list = root;
    uint64_t* place = find(base, list, key);
    struct node* found = *place != 0 ? (struct node*)(base + *place) : NULL;
    if (found != NULL && found->key == key) {
        *place = found->next;
        expect(stm_heap_free_mapped(base, SIZE, found) == 0, "free");
        --list->length;
    } else {
        void* fresh = NULL;
        expect(stm_heap_allocate_mapped(base, SIZE, sizeof(struct node), 8, &fresh) == 0,
               "allocate");
        ((struct node*)fresh)->key = key;
        ((struct node*)fresh)->next = *place;
        *place = (uint64_t)((char*)fresh - base);
        ++list->length;
    }
}

static void by_pointers(unsigned seed) {
    int fd = stm_open(name, 0, 0, 0);
    expect(fd >= 0, "stm_open");
    char* base = map(fd);
    for (int i = 0; i < TURNS; ++i) {
        long key = (long)(rand_r(&seed) % KEYS) + 1;
        do {
            stm_start(fd);
            toggle(base, key);
        } while (stm_commit(fd));
    }
}

/* -- Typed -- */

/* Each returns 0, or what the transaction's functions have returned. */
static int toggle_typed(stm_tx* tx, stm_region* region, long key) {
    uint64_t root, tag;
    struct list list;
    struct node node = {0, 0};
    int result = stm_heap_root(tx, region, &root, &tag);
    if (result == 0)
        result = stm_tx_load(tx, region, root, &list, sizeof list);
    if (result != 0)
        return result;
    uint64_t place = root, next = list.first;
    while (next != 0) {
        if ((result = stm_tx_load(tx, region, next, &node, sizeof node)) != 0)
            return result;
        if (node.key >= key)
            break;
        place = next + offsetof(struct node, next);
        next = node.next;
    }
    long change = 1;
    uint64_t fresh = 0;
    if (next != 0 && node.key == key) {
        fresh = node.next;
        change = -1;
        result = stm_heap_free(tx, region, next);
    } else {
        result = stm_heap_allocate(tx, region, sizeof node, 8, &fresh);
        node.key = key;
        node.next = next;
        if (result == 0)
            result = stm_tx_store(tx, region, fresh, &node, sizeof node);
    }
    list.length += change;
    if (result == 0)
        result = stm_tx_store(tx, region, place, &fresh, sizeof fresh);
    if (result == 0)
        result = stm_tx_store(tx, region, root + offsetof(struct list, length), &list.length,
                              sizeof list.length);
    return result;
}

static void typed(unsigned seed) {
    stm_region* region = stm_region_open(name, 0, 0, 0);
    expect(region != NULL, "stm_region_open");
    for (int i = 0; i < TURNS; ++i) {
        long key = (long)(rand_r(&seed) % KEYS) + 1;
        stm_tx* tx = stm_tx_begin(region, 0);
        expect(tx != NULL, "stm_tx_begin");
        int result;
        do {
            expect(toggle_typed(tx, region, key) >= 0, "toggle");
        } while ((result = stm_tx_commit(tx)) > 0);
        expect(result == 0, "stm_tx_commit");
    }
    stm_region_close(region);
}

/* -- All of it -- */

static void check(void) {
    stm_region* region = stm_region_open(name, 0, 0, 0);
    struct stm_heap_report report;
    struct list list;
    long counted = 0, last = 0;
    int result;
    stm_tx* tx = stm_tx_begin(region, STM_TX_READ_ONLY);
    do {
        uint64_t root, tag;
        counted = last = 0;
        if (stm_heap_check(tx, region, &report) != 0 ||
            stm_heap_root(tx, region, &root, &tag) != 0 ||
            stm_tx_load(tx, region, root, &list, sizeof list) != 0)
            continue;
        for (uint64_t at = list.first; at != 0; ++counted) {
            struct node node;
            if (stm_tx_load(tx, region, at, &node, sizeof node) != 0)
                break;
            expect(node.key > last, "the list is not sorted");
            last = node.key;
            at = node.next;
        }
    } while ((result = stm_tx_commit(tx)) > 0);
    expect(result == 0, "the check");
    expect(counted == list.length, "not as many nodes as counted");
    expect(report.blocks == (uint64_t)counted + 1, "a block is lost");
    stm_region_close(region);
}

static pid_t begin(int number) {
    pid_t pid = fork();
    expect(pid >= 0, "fork");
    if (pid != 0)
        return pid;
    if (number % 2 == 0)
        by_pointers((unsigned)getpid());
    else
        typed((unsigned)getpid());
    _exit(0);
}

int main(void) {
    snprintf(name, sizeof name, "test:heap:%d", (int)getpid());
    int fd = stm_open(name, SIZE, STM_CREATE | STM_EXCL, 0600);
    expect(fd >= 0, "stm_open");
    char* base = map(fd);
    do {
        stm_start(fd);
        void* list = NULL;
        expect(stm_heap_allocate_mapped(base, SIZE, sizeof(struct list), 8, &list) == 0, "make");
        memset(list, 0, sizeof(struct list));
        expect(stm_heap_set_root_mapped(base, SIZE, list, TAG) == 0, "set the root");
        expect(stm_heap_free_mapped(base, SIZE, base + 4096) == -1 && errno == EINVAL,
               "what is no block");
    } while (stm_commit(fd));
    munmap(base, SIZE);
    check();

    pid_t processes[PROCESSES];
    for (int i = 0; i < PROCESSES; ++i)
        processes[i] = begin(i);
    unsigned seed = 1;
    for (int kills = 0; kills < KILLS; ++kills) {
        usleep((useconds_t)(rand_r(&seed) % 30000));
        int victim = (int)(rand_r(&seed) % PROCESSES);
        int status;
        kill(processes[victim], SIGKILL);
        waitpid(processes[victim], &status, 0);
        expect(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "a process has failed");
        check();
        processes[victim] = begin(victim);
    }
    for (int i = 0; i < PROCESSES; ++i) {
        int status;
        waitpid(processes[i], &status, 0);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a process has failed");
    }
    check();
    expect(stm_unlink_deferred(name) == 0, "stm_unlink_deferred");
    close(fd);
    return 0;
}
