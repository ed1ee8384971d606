// SPDX-License-Identifier: GPL-2.0
/* What went wrong. Every other part may call this. */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Into the kernel's log, where the host looks for whatever went wrong. Without the
 * newline the kernel would wait for the rest of the line.
 */
void log_error(const char *format, ...)
{
	char line[512] = "<3>stm-vm: error: ";
	size_t used = strlen(line);
	va_list args;

	va_start(args, format);
	vsnprintf(line + used, sizeof(line) - used - 1, format, args);
	va_end(args);
	strcat(line, "\n");
	write_file("/dev/kmsg", line);
}

static void (*end_with)(const char *text);

void fail_by(void (*end)(const char *text))
{
	end_with = end;
}

void fail(const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	end_with(text);
	abort();
}
