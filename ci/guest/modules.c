// SPDX-License-Identifier: GPL-2.0
/* Kernel modules: the drivers that the boot needs, and ours. */
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAME "stm"

static bool insert(const char *path, const char *args)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	long result = syscall(SYS_finit_module, fd, args, 0);
	int saved = errno;

	close(fd);
	errno = saved;
	return result == 0 || saved == EEXIST;
}

/* `list` names one file per line, each after those that it needs. */
void modules_load_listed(const char *list)
{
	char path[PATH_MAX];
	FILE *file = fopen(list, "re");

	if (!file)
		return;
	while (fgets(path, sizeof(path), file)) {
		path[strcspn(path, "\n")] = 0;
		if (!insert(path, ""))
			fail("cannot load %s: %s", path, strerror(errno));
	}
	fclose(file);
}

void module_load(const char *path, const char *args)
{
	if (!insert(path, args ? args : ""))
		fail("cannot load the module %s: %s", path, strerror(errno));
}

void module_send_sections(void)
{
	char text[FRAME_MAX];
	size_t used = 0;
	DIR *folder = opendir("/sys/module/" NAME "/sections");
	struct dirent *entry;

	if (!folder)
		return;
	while ((entry = readdir(folder))) {
		char path[PATH_MAX], address[64];

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "/sys/module/" NAME "/sections/%s", entry->d_name);
		if (read_file(path, address, sizeof(address)) <= 0)
			continue;
		address[strcspn(address, "\n")] = 0;
		if (used + 128 + strlen(entry->d_name) < sizeof(text))
			used += snprintf(text + used, sizeof(text) - used, "%s %s\n",
					 entry->d_name, address);
	}
	closedir(folder);
	channel_send(FROM_SECTIONS, text, used);
}

/*
 * When no process is left nothing may hold the module any more. What the kernel frees
 * a little later (files, after a grace period) is granted two seconds.
 */
void module_remove(void)
{
	for (int tries = 0; tries < 200; tries++) {
		if (syscall(SYS_delete_module, NAME, O_NONBLOCK) == 0 || errno == ENOENT)
			return;
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EBUSY)
			break;
		usleep(10000);
	}
	char count[64] = "?";

	if (read_file("/sys/module/" NAME "/refcnt", count, sizeof(count)) > 0)
		count[strcspn(count, "\n")] = 0;
	log_error("the module cannot be unloaded after the last process has ended: %s (refcnt %s)",
		  strerror(errno), count);
}
