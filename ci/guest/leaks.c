// SPDX-License-Identifier: GPL-2.0
/* What kmemleak finds when all is over. */
#include "guest.h"

#include <fcntl.h>
#include <unistd.h>

#define KMEMLEAK "/sys/kernel/debug/kmemleak"

void leaks_report(void)
{
	char text[FRAME_MAX];
	bool found = false;
	ssize_t got;

	/*
	 * Memory younger than five seconds is never reported, and an object must
	 * look lost in two scans, since a pointer to it may be on the move.
	 */
	for (int scan = 0; scan < 2; scan++) {
		sleep(scan ? 1 : 5);
		if (!write_file(KMEMLEAK, "scan")) {
			log_error("this kernel has no kmemleak");
			return;
		}
	}
	int fd = open(KMEMLEAK, O_RDONLY | O_CLOEXEC);

	while (fd >= 0 && (got = read(fd, text, sizeof(text))) > 0) {
		channel_send(FROM_LEAKS, text, got);
		found = true;
	}
	if (fd >= 0)
		close(fd);
	if (found)
		log_error("kmemleak has found lost memory");
}
