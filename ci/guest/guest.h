/* SPDX-License-Identifier: GPL-2.0 */
/* The guest's first process: shared declarations of its parts. */
#ifndef STM_GUEST_H
#define STM_GUEST_H

#include <stdarg.h> /* IWYU pragma: export */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Frames on the channel to the host: this header, then `length` bytes.
 * ci/vmlib/channel.py is the other side.
 */
struct frame_header {
	uint32_t type;
	uint32_t length;
};

enum {
	FRAME_MAX = 16384,

	/* host to guest */
	TO_CONFIG = 'C',	/* what to run; see config.c */
	TO_STDIN = 'I',
	TO_STDIN_EOF = 'E',
	TO_SINK_CLOSED = 'Z',	/* one byte, 1 or 2: nobody reads that output any more */
	TO_WINDOW = 'W',	/* two uint32_t: rows, columns */
	TO_STUCK = 'D',		/* tell where each task is stuck */

	/* guest to host */
	FROM_STDOUT = 'O',
	FROM_STDERR = 'e',
	FROM_CREDIT = 'c',	/* uint32_t: so many more bytes of stdin are welcome */
	FROM_READY = 'R',	/* the boot has gone well; next come the module and the command */
	FROM_STARTED = 'S',	/* the command runs from now on */
	FROM_EXIT = 'X',	/* uint32_t: exit status as a shell tells it */
	FROM_FAILED = 'F',	/* text: why the command could not be run */
	FROM_STUCK = 'T',	/* text: where each task is stuck */
	FROM_SECTIONS = 'A',	/* text: where the module's sections are, for gdb */
	FROM_LEAKS = 'K',	/* text: what kmemleak has found */
};

#define MAX_LIST 4096

struct list {
	size_t count;
	char *item[MAX_LIST + 1];
};

struct config {
	struct list argv, env, overlay, out;
	char *cwd, *input, *module, *module_args, *modules, *hostname;
	bool host_root;		/* the host's files through 9p; else all is in the initrd */
	bool tty;
	bool leak_check;
	bool sections;
	bool host_shm;
	unsigned int rows, columns;
};

/* config.c */
void config_parse(struct config *config, char *text, size_t length);

/* channel.c */
void channel_open(const char *path);
int channel_fd(void);
void channel_send(uint32_t type, const void *data, size_t length);
bool channel_receive(uint32_t *type, char **data, size_t *length);
void channel_wait_for(uint32_t type, char **data, size_t *length);
void channel_flush(void);

/* mounts.c */
void mounts_early(void);
void mounts_host(const struct config *config);
void mounts_late(const struct config *config);

/* modules.c */
void modules_load_listed(const char *list);
void module_load(const char *path, const char *args);
void module_send_sections(void);
void module_remove(void);

/* relay.c */
int relay_run(const struct config *config);

/* stuck.c */
void stuck_report(void);

/* processors.c */
void processors_watch(void);

/* leaks.c */
void leaks_report(void);

/* report.c */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends everything, by the function that fail_by() was told, which does not return. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void fail_by(void (*end)(const char *text));

/* files.c */
bool write_file(const char *path, const char *text);
ssize_t read_file(const char *path, char *buffer, size_t size);

#endif
