// SPDX-License-Identifier: GPL-2.0
/* The guest's first process: mounts, loads the module, runs one command, tells how it ended. */
#include "guest.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORT "/dev/vport0p1"
#define SERIAL "/dev/ttyS1"
#define PACKED_CONFIG "/etc/stm-vm.config"

static void stop(void) __attribute__((noreturn));
static void stop(void)
{
	channel_flush();
	/* The host ends the guest when it has read all; this is for when it does not. */
	sleep(10);
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

/* The host is told why nothing goes on. */
static void give_up(const char *text)
{
	channel_send(FROM_FAILED, text, strlen(text));
	dprintf(2, "stm-vm: cannot go on: %s\n", text);
	write_file("/dev/kmsg", "<3>stm-vm: end\n");
	stop();
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
		request.ifr_flags |= IFF_UP | IFF_RUNNING;
		ioctl(fd, SIOCSIFFLAGS, &request);
	}
	close(fd);
}

static void tune(void)
{
	/* The boot was quiet; from here on the log's every line is worth having. */
	write_file("/proc/sys/kernel/printk", "7 4 1 7");
	/* Lines from user space must not be dropped: the host waits for the last one. */
	write_file("/proc/sys/kernel/printk_devkmsg", "on");
	write_file("/proc/sys/kernel/sysrq", "1");
	write_file("/proc/sys/kernel/hung_task_timeout_secs", "60");
	/* Twice this is a soft lockup: a busy host stops a processor for a while. */
	write_file("/proc/sys/kernel/watchdog_thresh", "30");
	write_file("/proc/sys/kernel/hung_task_warnings", "-1");
}

static void read_packed_config(char **text, size_t *length)
{
	int fd = open(PACKED_CONFIG, O_RDONLY | O_CLOEXEC);
	struct stat file;

	if (fd < 0 || fstat(fd, &file))
		fail("no " PACKED_CONFIG);
	*length = file.st_size;
	*text = malloc(*length + 1);
	if (!*text || read(fd, *text, *length) != (ssize_t)*length)
		fail("cannot read " PACKED_CONFIG);
	close(fd);
}

/* The host only wants to know whether a guest gets this far. */
static bool is_trial(void)
{
	char line[4096];

	return read_file("/proc/cmdline", line, sizeof(line)) > 0 && strstr(line, "stm_vm_trial");
}

int main(void)
{
	static struct config config;
	bool packed = access(PACKED_CONFIG, R_OK) == 0;
	char *text;
	size_t length;
	uint32_t status;

	fail_by(give_up);
	mounts_early();
	if (is_trial()) {
		dprintf(2, "stm-vm: trial\n");
		reboot(RB_AUTOBOOT);
	}
	modules_load_listed("/modules.list");
	channel_open(packed ? SERIAL : PORT);
	if (packed)
		read_packed_config(&text, &length);
	else
		channel_wait_for(TO_CONFIG, &text, &length);
	config_parse(&config, text, length);

	if (config.host_root)
		mounts_host(&config);
	mounts_late(&config);
	tune();
	loopback_up();
	if (config.hostname)
		sethostname(config.hostname, strlen(config.hostname));
	channel_send(FROM_READY, NULL, 0);
	if (config.module)
		module_load(config.module, config.module_args);
	if (config.sections)
		module_send_sections();

	/* So that a busy command cannot keep us from telling what it does. */
	setpriority(PRIO_PROCESS, 0, -20);
	mlockall(MCL_CURRENT);
	/* Not where instructions are counted: there the processors take turns. */
	if (!packed)
		processors_watch();
	status = relay_run(&config);

	if (config.leak_check)
		leaks_report();
	if (config.module)
		module_remove();
	if (config.leak_check)
		leaks_report();
	sync();
	write_file("/dev/kmsg", "<3>stm-vm: end\n");
	channel_send(FROM_EXIT, &status, sizeof(status));
	stop();
}
