// SPDX-License-Identifier: GPL-2.0
// What a program does that knows nothing newer than version 1.0 of the interface. It is built with
// the headers and the library of one version, and run with those and the module of another. What is
// newer is there only where the headers have it. There it says that an older module has it not.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#if __has_include(<stm/access.h>)
#include <stm/access.h>
#endif
#include <stm/ioctl.h>
#include <stm/stm.h>
#include <stm/transaction.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPage = 4096, kWord = sizeof(long), kRounds = 200 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("line %d: %s (errno %d)\n", __LINE__, #condition, errno);                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static char name[64];
static int fd;

static long get(off_t at) {
    long value = 0;
    CHECK(pread(fd, &value, kWord, at) == kWord);
    return value;
}

static void put(long value, off_t at) {
    CHECK(pwrite(fd, &value, kWord, at) == kWord);
}

// Another process adds one to the first word of both pages.
static void change(void) {
    stm_defer_restarts();
    const pid_t child = fork();
    if (child == 0) {
        fd = stm_open(name, 0, 0, 0);
        do {
            stm_start(fd);
            put(get(0) + 1, 0);
            put(get(kPage) + 1, kPage);
        } while (stm_commit(fd));
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    stm_allow_restarts();
}

static void by_calls(void) {
    volatile int tries = 0;
    volatile long first = 0;
    do {
        stm_start(fd);
        tries++;
        first = get(0);
        if (tries == 1)
            change();
        CHECK(get(kPage) == first);
        put(first, 64);
        stm_start(fd); // a part, which is undone
        put(7, 128);
        stm_cancel(fd);
        CHECK(stm_try_start(fd) == 0);
        put(first, 192);
        CHECK(stm_commit(fd) == 0);
    } while (stm_commit(fd));
    CHECK(tries == 2);
    CHECK(get(64) == first && get(128) == 0 && get(192) == first);
}

static void in_mappings(void) {
    volatile long* words = NULL;
    void* mapped = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(mapped != MAP_FAILED);
    words = mapped;
    for (volatile int round = 0; round < kRounds; round++) {
        volatile int tries = 0;
        do {
            stm_start(fd);
            tries++;
            const long first = words[0];
            if (round % 50 == 1 && tries == 1)
                change();
            CHECK(words[kPage / kWord] == first);
            words[kPage / kWord + 8] = words[kPage / kWord + 8] + 1;
        } while (stm_commit(fd));
    }
    CHECK(words[kPage / kWord + 8] == kRounds);
    munmap(mapped, 2 * kPage);
}

static void the_rest(void) {
    volatile int tries = 0;
    do {
        stm_start(fd);
        tries++;
        get(0);
        if (tries == 1)
            stm_retry(fd);
    } while (stm_commit(fd));
    CHECK(tries == 2);
    const struct timespec soon = {0, 1000000};
    stm_start(fd);
    get(0);
    CHECK(stm_wait(fd, &soon) == -1 && errno == ETIMEDOUT);
    // Nothing to commit: since 1.3 the transaction is still there, so that nothing goes on without.
    CHECK(stm_commit(fd) == 1 && (errno == EINVAL || errno == ECANCELED));
    stm_start(fd);
    CHECK(stm_validate(fd) == 0);
    stm_cancel(fd);
    CHECK(stm_abort_reason(fd) == STM_REASON_CANCEL);
    // The library fills in the structure as it knows it, which may have grown.
    union {
        struct stm_statistics known;
        char room[4096];
    } statistics;
    CHECK(stm_statistics(fd, &statistics.known) == 0);
    CHECK(statistics.known.commits > kRounds && statistics.known.starts > statistics.known.commits);
    CHECK(stm_set_retry_limit(fd, 1) == 0);
    CHECK(stm_size(fd) == 2 * kPage);
}

#ifdef STM_ACCESS_H
static void by_pieces(int has_it) {
    const long value = 9;
    long seen = 0;
    const struct stm_piece pieces[] = {stm_write_piece(256, &value, kWord),
                                       stm_read_piece(256, &seen, kWord)};
    CHECK(has_it ? stm_access(fd, pieces, 2) == 0
                 : stm_access(fd, pieces, 2) == -1 && errno == ENOTTY);
    CHECK(seen == (has_it ? value : 0));
    stm_start(fd);
    put(8, 320);
    CHECK(has_it ? stm_access_and_commit(fd, pieces, 2) == 0
                 : stm_access_and_commit(fd, pieces, 2) == -1 && errno == ENOTTY);
    CHECK(get(320) == (has_it ? 8 : 0)); // the transaction is over, and happened as a whole or not
    CHECK(stm_commit(fd) == 1 && errno == EINVAL);
}
#endif

static void words_where_it_can_not(void) {
    const int null = fileno(stdin);
    CHECK(stm_try_start(null) == -1 && (errno == ENOTTY || errno == EINVAL));
}

int main(void) {
    snprintf(name, sizeof name, "versions-%d", getpid());
    fd = stm_open(name, 2 * kPage, STM_CREATE, 0600);
    CHECK(fd >= 0);
    by_calls();
    in_mappings();
    the_rest();
    words_where_it_can_not();
    struct stm_version version = {.size = sizeof version};
    CHECK(ioctl(fd, STM_IOC_VERSION, &version) == 0);
#ifdef STM_ACCESS_H
    by_pieces(version.abi_minor >= 6);
#endif
    CHECK(stm_unlink_deferred(name) == 0);
    printf("built for %d.%d, module %u.%u\n", STM_ABI_MAJOR, STM_ABI_MINOR, version.abi_major,
           version.abi_minor);
    return 0;
}
