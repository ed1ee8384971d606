// SPDX-License-Identifier: GPL-2.0
/* Frames to and from the host through a virtio port, or a serial line that only sends. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static int fd = -1;
static bool is_serial;

/* What has come in and is not yet a whole frame. */
static char *in;
static size_t in_size, in_used, in_taken;

void channel_open(const char *path)
{
	/* The device appears when its driver has probed, a moment after boot. */
	for (int tries = 0; tries < 5000; tries++) {
		fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
		if (fd >= 0 || (errno != ENOENT && errno != ENXIO && errno != ENODEV))
			break;
		usleep(1000);
	}
	if (fd < 0)
		fail("cannot open the channel %s: %s", path, strerror(errno));
	struct termios raw;

	if (tcgetattr(fd, &raw) == 0) {
		is_serial = true;
		cfmakeraw(&raw);
		raw.c_cflag |= CLOCAL;
		tcsetattr(fd, TCSANOW, &raw);
	}
}

int channel_fd(void)
{
	return is_serial ? -1 : fd;
}

static void send_bytes(const void *data, size_t length)
{
	const char *next = data;

	while (length) {
		ssize_t done = write(fd, next, length);

		if (done < 0 && errno == EAGAIN) {
			struct pollfd wait = { .fd = fd, .events = POLLOUT };

			poll(&wait, 1, 1000);
			continue;
		}
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return;	/* The host is gone, and this guest is about to be. */
		next += done;
		length -= done;
	}
}

void channel_send(uint32_t type, const void *data, size_t length)
{
	char frame[sizeof(struct frame_header) + FRAME_MAX];
	const char *next = data;

	if (fd < 0)
		return;
	do {
		size_t part = length < FRAME_MAX ? length : FRAME_MAX;
		struct frame_header header = { type, part };

		memcpy(frame, &header, sizeof(header));
		memcpy(frame + sizeof(header), next, part);
		send_bytes(frame, sizeof(header) + part);
		next += part;
		length -= part;
	} while (length);
}

static void fill(void)
{
	if (in_taken) {
		memmove(in, in + in_taken, in_used - in_taken);
		in_used -= in_taken;
		in_taken = 0;
	}
	if (in_size - in_used < 65536) {
		in_size = in_used + 65536;
		in = realloc(in, in_size);
		if (!in)
			fail("out of memory");
	}
	ssize_t got = read(fd, in + in_used, in_size - in_used);

	if (got > 0)
		in_used += got;
}

static bool take(uint32_t *type, char **data, size_t *length)
{
	struct frame_header header;

	if (in_used - in_taken < sizeof(header))
		return false;
	memcpy(&header, in + in_taken, sizeof(header));
	if (in_used - in_taken - sizeof(header) < header.length)
		return false;
	*type = header.type;
	*data = in + in_taken + sizeof(header);
	*length = header.length;
	in_taken += sizeof(header) + header.length;
	return true;
}

/* One frame if there is one without waiting; valid until the next call. */
bool channel_receive(uint32_t *type, char **data, size_t *length)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };

	if (is_serial)
		return false;
	if (take(type, data, length))
		return true;
	if (poll(&ready, 1, 0) <= 0 || !(ready.revents & POLLIN))
		return false;
	fill();
	return take(type, data, length);
}

/* Waits for the one frame that must come next; its data is the caller's. */
void channel_wait_for(uint32_t type, char **data, size_t *length)
{
	uint32_t got;
	char *text;

	while (!channel_receive(&got, &text, length)) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };

		/* A port that the host has not opened yet hangs up at once. */
		if (poll(&wait, 1, 1000) > 0 && !(wait.revents & POLLIN))
			usleep(1000);
	}
	if (got != type)
		fail("frame '%c' where '%c' was expected", (char)got, (char)type);
	*data = malloc(*length + 1);
	if (!*data)
		fail("out of memory");
	memcpy(*data, text, *length);
}

void channel_flush(void)
{
	if (is_serial)
		tcdrain(fd);
}
