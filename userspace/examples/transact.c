// SPDX-License-Identifier: LGPL-2.1-or-later
// Transactions by hand: transact REGION [COMMAND]..., or the commands on standard input, one a
// line.
//
//	transact /tmp/counter 'start' 'get 0' 'put 0 5' '! transact /tmp/counter "get 0"' 'commit'
//
// REGION is the path of a node, which is made if need be (stm_create), or the name of a region
// without a "/", which must exist. "get PLACE" and "put PLACE NUMBER" read and write a number of 8
// bytes at that byte. start, commit, cancel, validate, retry and "wait MILLISECONDS" are the
// functions. "! COMMAND" has the shell do something, in another process, so that it is no part of
// the transaction. "fpe" divides by zero, "loop" runs until something stops it. When a transaction
// restarts, the commands since its start are done again, but for "!", "fpe", "loop" and "retry":
// those are done at the first attempt only.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stm/stm.h>

enum { COMMANDS = 1000 };

// All that a restart must leave as it is, is static.
static char* commands[COMMANDS];
static int count;
static volatile int next;  // the command to be done
static volatile int depth; // of nesting
static volatile int begin; // the command after the outermost start
static volatile int attempts;
static volatile long zero;

static void fail(const char* what) {
    fprintf(stderr, "transact: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void say(const char* command, const char* result) {
    printf("%*s%s%s%s\n", 2 * depth, "", command, result[0] != '\0' ? ": " : "", result);
    fflush(stdout);
}

static void get(int fd, const char* command) {
    long number = 0;
    off_t place = strtol(command + 3, NULL, 0);
    char result[64];
    ssize_t got = pread(fd, &number, sizeof number, place); // may restart
    stm_defer_restarts();
    if (got == (ssize_t)sizeof number)
        snprintf(result, sizeof result, "%ld", number);
    else
        snprintf(result, sizeof result, "%s", got < 0 ? strerror(errno) : "the end");
    say(command, result);
    stm_allow_restarts();
}

static void put(int fd, const char* command) {
    char* end;
    off_t place = strtol(command + 3, &end, 0);
    long number = strtol(end, NULL, 0);
    ssize_t put = pwrite(fd, &number, sizeof number, place);
    stm_defer_restarts();
    say(command, put == (ssize_t)sizeof number ? "" : strerror(errno));
    stm_allow_restarts();
}

static void shell(const char* command) {
    stm_defer_restarts();
    printf("%*s%s\n", 2 * depth, "", command);
    fflush(stdout);
    int status = system(command + 1);
    if (status != 0)
        printf("%*s(exit status %d)\n", 2 * depth, "",
               WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    fflush(stdout);
    stm_allow_restarts();
}

static void wait_for_change(int fd, const char* command) {
    long milliseconds = strtol(command + 4, NULL, 0);
    struct timespec timeout = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    stm_wait(fd, &timeout);
    int error = errno;
    if (error != EDEADLK) {
        stm_cancel(fd);
        depth = 0;
    }
    say(command, strerror(error));
}

static int is(const char* command, const char* word) {
    size_t length = strlen(word);
    return strncmp(command, word, length) == 0 &&
           (command[length] == '\0' || command[length] == ' ');
}

static void do_one(int fd, const char* command) {
    if (is(command, "get")) {
        get(fd, command);
    } else if (is(command, "put")) {
        put(fd, command);
    } else if (is(command, "commit")) {
        int result = stm_commit(fd);
        depth -= depth > 0;
        say(command, result == 0 ? "done" : strerror(errno));
    } else if (is(command, "cancel")) {
        errno = 0;
        stm_cancel(fd);
        depth -= depth > 0;
        say(command, errno == 0 ? "" : strerror(errno));
    } else if (depth > 0 && attempts > 1 &&
               (command[0] == '!' || is(command, "fpe") || is(command, "loop") ||
                is(command, "retry"))) {
        return;
    } else if (is(command, "retry")) {
        say(command, "");
        stm_retry(fd);
    } else if (is(command, "wait")) {
        wait_for_change(fd, command);
    } else if (is(command, "validate")) {
        say(command, stm_validate(fd) == 0 ? "valid" : strerror(errno));
    } else if (is(command, "fpe")) {
        say(command, "");
        printf("%ld\n", 7 / zero);
    } else if (is(command, "loop")) {
        say(command, "");
        while (zero == 0)
            continue;
    } else if (command[0] == '!') {
        shell(command);
    } else {
        errno = EINVAL;
        fail(command);
    }
}

static void run(int fd) {
    while (next < count) {
        const char* command = commands[next];
        ++next;
        if (!is(command, "start")) {
            do_one(fd, command);
            continue;
        }
        if (depth == 0) {
            begin = next;
            attempts = 0;
            stm_start(fd);
            // Here once more after each restart.
            next = begin;
            depth = 0;
            attempts = attempts + 1;
        } else {
            stm_start(fd);
        }
        stm_defer_restarts();
        say("start", depth == 0 && attempts > 1 ? "again" : "");
        depth = depth + 1;
        stm_allow_restarts();
    }
}

int main(int argc, char** argv) {
    if (argc < 2) {
        fprintf(stderr, "Usage: transact REGION [COMMAND]...\n");
        return 2;
    }
    int fd = strchr(argv[1], '/') != NULL ? stm_create(argv[1], 4096) : stm_open(argv[1], 0, 0, 0);
    if (fd < 0)
        fail(argv[1]);
    for (int word = 2; word < argc && count < COMMANDS; ++word)
        commands[count++] = argv[word];
    char line[1000];
    while (argc == 2 && count < COMMANDS && fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0')
            commands[count++] = strdup(line);
    }
    run(fd);
    return 0;
}
