// SPDX-License-Identifier: GPL-2.0
/* Runs the command, and carries its input and output between its pipes and the channel. */
#include "guest.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CREDIT = 65536 };

/* Our ends of the command's input and output; -1 when closed. */
static int to_stdin = -1, from_stdout = -1, from_stderr = -1;
static bool is_tty;

/* Input that came and that the command has not taken yet: never more than the credit. */
static char input[CREDIT];
static size_t input_used;
static bool input_ended;

static void grant(uint32_t bytes)
{
	channel_send(FROM_CREDIT, &bytes, sizeof(bytes));
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void make_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC))
		fail("pipe: %s", strerror(errno));
}

static void set_window(unsigned int rows, unsigned int columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };

	if (rows && columns)
		ioctl(to_stdin, TIOCSWINSZ, &size);
}

static void run_command(const struct config *config) __attribute__((noreturn));
static void run_command(const struct config *config)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpriority(PRIO_PROCESS, 0, 0);
	if (config->cwd && chdir(config->cwd)) {
		dprintf(2, "ci/vm: the guest has no folder %s: %s\n", config->cwd, strerror(errno));
		_exit(126);
	}
	if (!config->argv.count)
		_exit(0);
	environ = (char **)config->env.item;
	execvp(config->argv.item[0], config->argv.item);
	int saved = errno;

	dprintf(2, "ci/vm: %s: %s\n", config->argv.item[0],
		saved == ENOENT ? "command not found in the guest" : strerror(saved));
	_exit(saved == ENOENT ? 127 : 126);
}

static pid_t start_with_pipes(const struct config *config)
{
	int in[2], out[2], err[2];

	make_pipe(in);
	make_pipe(out);
	make_pipe(err);
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		/* On a line that only sends, the input is a file that the host has packed. */
		if (channel_fd() < 0)
			in[0] = open(config->input ? config->input : "/dev/null",
				     O_RDONLY | O_CLOEXEC);
		if (dup2(in[0], 0) < 0 || dup2(out[1], 1) < 0 || dup2(err[1], 2) < 0)
			_exit(126);
		run_command(config);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	to_stdin = in[1];
	from_stdout = out[0];
	from_stderr = err[0];
	return pid;
}

static pid_t start_with_terminal(const struct config *config)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (master < 0 || grantpt(master) || unlockpt(master))
		fail("no pseudo-terminal: %s", strerror(errno));
	to_stdin = master;
	from_stdout = dup(master);
	fcntl(from_stdout, F_SETFD, FD_CLOEXEC);
	set_window(config->rows, config->columns);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (slave < 0)
		fail("no pseudo-terminal: %s", strerror(errno));
	pid_t pid = fork();

	if (pid == 0) {
		setsid();
		ioctl(slave, TIOCSCTTY, 0);
		dup2(slave, 0);
		dup2(slave, 1);
		dup2(slave, 2);
		run_command(config);
	}
	close(slave);
	return pid;
}

/* Sends what there is; returns false at the end of the stream. */
static bool forward(int *fd, uint32_t type)
{
	char data[FRAME_MAX];
	ssize_t got = read(*fd, data, sizeof(data));

	if (got > 0) {
		channel_send(type, data, got);
		return true;
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	close_end(fd);
	return false;
}

static void drain(void)
{
	while (from_stdout >= 0 && forward(&from_stdout, FROM_STDOUT))
		;
	while (from_stderr >= 0 && forward(&from_stderr, FROM_STDERR))
		;
}

static void feed_input(void)
{
	if (to_stdin < 0) {
		input_used = 0;
		return;
	}
	while (input_used) {
		ssize_t done = write(to_stdin, input, input_used);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN)
			return;
		if (done <= 0) {
			close_end(&to_stdin);
			input_used = 0;
			return;
		}
		input_used -= done;
		memmove(input, input + done, input_used);
		grant(done);
	}
	if (input_ended && is_tty) {
		/* A terminal cannot be closed for writing; its end of file is a character. */
		input[0] = 4;
		write(to_stdin, input, 1);
		input_ended = false;
	} else if (input_ended) {
		close_end(&to_stdin);
	}
}

static void obey_host(void)
{
	uint32_t type, window[2];
	char *data;
	size_t length;

	while (channel_receive(&type, &data, &length)) {
		switch (type) {
		case TO_STDIN:
			if (to_stdin < 0)
				break;
			if (length > sizeof(input) - input_used)
				fail("the host sent more input than was asked for");
			memcpy(input + input_used, data, length);
			input_used += length;
			feed_input();
			break;
		case TO_STDIN_EOF:
			input_ended = true;
			feed_input();
			break;
		case TO_SINK_CLOSED:
			/* The command gets the SIGPIPE that it would get on the host. */
			if (length == 1)
				close_end(*data == 1 ? &from_stdout : &from_stderr);
			break;
		case TO_WINDOW:
			if (length == sizeof(window) && is_tty && to_stdin >= 0) {
				memcpy(window, data, sizeof(window));
				set_window(window[0], window[1]);
			}
			break;
		case TO_STUCK:
			stuck_report();
			break;
		default:
			fail("frame '%c' is not known", (char)type);
		}
	}
}

/* Everything that has ended is reaped; true when the command itself is among it. */
static bool reap(pid_t command, int *status)
{
	bool ended = false;
	int one;
	pid_t pid;

	while ((pid = waitpid(-1, &one, WNOHANG)) > 0) {
		if (pid == command) {
			*status = WIFSIGNALED(one) ? 128 + WTERMSIG(one) : WEXITSTATUS(one);
			ended = true;
		}
	}
	return ended;
}

static bool processes_left(void)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	bool found = false;

	while (folder && !found && (entry = readdir(folder))) {
		char path[300], stat[512];

		if (!isdigit((unsigned char)entry->d_name[0]) || !strcmp(entry->d_name, "1"))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		if (read_file(path, stat, sizeof(stat)) <= 0)
			continue;
		/* Number, (name), state, parent: kernel threads are children of 0 or 2. */
		char *end = strrchr(stat, ')');
		int parent = end && strlen(end) > 4 ? atoi(end + 4) : 0;

		found = parent != 0 && parent != 2;
	}
	if (folder)
		closedir(folder);
	return found;
}

/* The command is over: so is what it left running. */
static void kill_the_rest(void)
{
	/* What uninterruptible sleep keeps alive is not waited for: the log will tell. */
	for (int tries = 0; tries < 500 && processes_left(); tries++) {
		kill(-1, SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		usleep(tries ? 10000 : 1000);
	}
}

int relay_run(const struct config *config)
{
	sigset_t child;
	int status = 0;

	is_tty = config->tty;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);

	channel_send(FROM_STARTED, NULL, 0);
	pid_t pid = is_tty ? start_with_terminal(config) : start_with_pipes(config);

	if (pid < 0)
		fail("fork: %s", strerror(errno));
	fcntl(to_stdin, F_SETFL, O_NONBLOCK);
	fcntl(from_stdout, F_SETFL, O_NONBLOCK);
	fcntl(from_stderr, F_SETFL, O_NONBLOCK);
	if (channel_fd() < 0) {
		close_end(&to_stdin);
	} else {
		grant(CREDIT);
	}

	for (;;) {
		struct pollfd wait[] = {
			{ .fd = children, .events = POLLIN },
			{ .fd = channel_fd(), .events = POLLIN },
			{ .fd = from_stdout, .events = POLLIN },
			{ .fd = from_stderr, .events = POLLIN },
			{ .fd = input_used ? to_stdin : -1, .events = POLLOUT },
		};
		struct signalfd_siginfo info;

		poll(wait, sizeof(wait) / sizeof(wait[0]), -1);
		if (wait[2].revents)
			forward(&from_stdout, FROM_STDOUT);
		if (wait[3].revents)
			forward(&from_stderr, FROM_STDERR);
		if (wait[1].revents)
			obey_host();
		if (wait[4].revents)
			feed_input();
		if (wait[0].revents && read(children, &info, sizeof(info)) > 0 &&
		    reap(pid, &status))
			break;
	}
	drain();
	kill_the_rest();
	drain();
	return status;
}
