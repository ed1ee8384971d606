// SPDX-License-Identifier: GPL-2.0
/* Where each task is stuck, told when the host's patience ends. */
#include "guest.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char report[FRAME_MAX];
static size_t used;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
	va_list args;

	if (sizeof(report) - used < 4096) {
		channel_send(FROM_STUCK, report, used);
		used = 0;
	}
	va_start(args, format);
	used += vsnprintf(report + used, sizeof(report) - used, format, args);
	va_end(args);
}

static char state_of(const char *stat)
{
	/* The name may hold any character, so look behind its last parenthesis. */
	const char *end = strrchr(stat, ')');

	return end && end[1] == ' ' ? end[2] : '?';
}

static void one_task(const char *folder, const char *task, const char *command)
{
	char path[PATH_MAX], stat[1024], text[2048];

	snprintf(path, sizeof(path), "%s/%s/stat", folder, task);
	if (read_file(path, stat, sizeof(stat)) <= 0)
		return;
	char *name = strchr(stat, '('), *end = strrchr(stat, ')');
	char state = state_of(stat);
	/* An idle kernel thread tells nothing. */
	if (!*command && state != 'D' && state != 'R')
		return;
	say("task %s %.*s state %c  %s\n", task, name && end ? (int)(end + 1 - name) : 0, name,
	    state, *command ? command : "[kernel thread]");
	snprintf(path, sizeof(path), "%s/%s/syscall", folder, task);
	if (read_file(path, text, sizeof(text)) > 0)
		say("    system call: %s", text);
	snprintf(path, sizeof(path), "%s/%s/stack", folder, task);
	if (read_file(path, text, sizeof(text)) > 0) {
		for (char *save, *line = strtok_r(text, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			say("    %s\n", line);
	}
}

void stuck_report(void)
{
	DIR *processes = opendir("/proc");
	struct dirent *process, *task;

	while (processes && (process = readdir(processes))) {
		char path[PATH_MAX], command[256];
		ssize_t length;

		if (!isdigit((unsigned char)process->d_name[0]) || !strcmp(process->d_name, "1"))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", process->d_name);
		length = read_file(path, command, sizeof(command));
		for (ssize_t i = 0; i + 1 < length; i++)
			if (!command[i] || command[i] == '\n')
				command[i] = ' ';
		snprintf(path, sizeof(path), "/proc/%s/task", process->d_name);
		DIR *tasks = opendir(path);

		while (tasks && (task = readdir(tasks)))
			if (isdigit((unsigned char)task->d_name[0]))
				one_task(path, task->d_name, length > 0 ? command : "");
		if (tasks)
			closedir(tasks);
	}
	if (processes)
		closedir(processes);
	channel_send(FROM_STUCK, report, used);
	used = 0;
	/* What the processors do goes to the kernel's log: the stacks come by interrupt. */
	write_file("/proc/sysrq-trigger", "l");
	channel_send(FROM_STUCK, NULL, 0);
}
