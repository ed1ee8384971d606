// SPDX-License-Identifier: GPL-2.0
/* Small files, read and written at once. */
#include "guest.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return done;
}

/* The file's start as a string; its length, or -1. */
ssize_t read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return -1;
	got = read(fd, buffer, size - 1);
	close(fd);
	buffer[got > 0 ? got : 0] = 0;
	return got;
}
