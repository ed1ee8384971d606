// SPDX-License-Identifier: GPL-2.0
/* The guest's file systems: the host's root, with the guest's own places over it. */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST "/host"

static void must_mount(const char *source, const char *target, const char *type,
		       unsigned long flags, const char *options)
{
	if (mount(source, target, type, flags, options))
		fail("cannot mount %s on %s: %s", type ? type : source, target, strerror(errno));
}

/* For what a small kernel may be built without. */
static void may_mount(const char *type, const char *target, const char *options)
{
	mkdir(target, 0755);
	mount(type, target, type, 0, options);
}

void mounts_early(void)
{
	mkdir("/dev", 0755);
	mkdir("/proc", 0555);
	mkdir("/sys", 0555);
	must_mount("devtmpfs", "/dev", "devtmpfs", 0, "mode=0755");
	must_mount("proc", "/proc", "proc", 0, NULL);
	must_mount("sysfs", "/sys", "sysfs", 0, NULL);
}

/* The guest may write there; what it writes covers the host's files and vanishes with it. */
static void overlay(const char *path, int number)
{
	char target[4200], upper[64], work[64], options[4600];
	struct stat host;

	snprintf(target, sizeof(target), HOST "%s", path);
	if (stat(target, &host) || !S_ISDIR(host.st_mode))
		return;
	snprintf(upper, sizeof(upper), "/over/%d.upper", number);
	snprintf(work, sizeof(work), "/over/%d.work", number);
	mkdir(upper, 0755);
	chmod(upper, host.st_mode & 07777);
	mkdir(work, 0755);
	/* index and xino are of no use over 9p and only make the kernel complain. */
	snprintf(options, sizeof(options),
		 "lowerdir=%s,upperdir=%s,workdir=%s,index=off,xino=off", target, upper, work);
	must_mount("overlay", target, "overlay", 0, options);
}

static void make_device_links(void)
{
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
}

/* Makes `modprobe` find the modules of this kernel, which the host has not installed. */
static void show_modules(const char *modules)
{
	const char *name = strrchr(modules, '/');
	char link[4200];

	if (!name || mount("tmpfs", "/lib/modules", "tmpfs", 0, "mode=0755"))
		return;
	snprintf(link, sizeof(link), "/lib/modules%s", name);
	symlink(modules, link);
}

/* Moves the whole tree over to the host's root, and stays there. */
void mounts_host(const struct config *config)
{
	mkdir(HOST, 0755);
	mkdir("/over", 0755);
	must_mount("host", HOST, "9p", MS_RDONLY,
		   "trans=virtio,version=9p2000.L,cache=loose,msize=524288");
	must_mount("tmpfs", "/over", "tmpfs", 0, "mode=0755");
	for (size_t i = 0; i < config->overlay.count; i++)
		overlay(config->overlay.item[i], i);

	/*
	 * Prepared before the guest's /dev hides the host's, whose /dev/shm
	 * is wanted only if the command is to run there.
	 */
	mkdir("/dev/shm", 01777);
	if (config->host_shm) {
		mkdir("/over/shm.upper", 0755);
		chmod("/over/shm.upper", 01777);
		mkdir("/over/shm.work", 0755);
		must_mount("overlay", "/dev/shm", "overlay", 0,
			   "lowerdir=" HOST "/dev/shm,upperdir=/over/shm.upper,"
			   "workdir=/over/shm.work,index=off,xino=off");
	}
	must_mount("/dev", HOST "/dev", NULL, MS_MOVE, NULL);
	must_mount("/proc", HOST "/proc", NULL, MS_MOVE, NULL);
	must_mount("/sys", HOST "/sys", NULL, MS_MOVE, NULL);

	for (size_t i = 0; i < config->out.count; i++) {
		char tag[16], target[4200];

		snprintf(tag, sizeof(tag), "out%zu", i);
		snprintf(target, sizeof(target), HOST "%s", config->out.item[i]);
		must_mount(tag, target, "9p", 0,
			   "trans=virtio,version=9p2000.L,cache=mmap,msize=524288");
	}

	if (chdir(HOST) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		fail("cannot switch to the host's root: %s", strerror(errno));
	if (config->modules)
		show_modules(config->modules);
}

void mounts_late(const struct config *config)
{
	make_device_links();
	mkdir("/dev/pts", 0755);
	must_mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666,mode=0620,gid=5");
	mkdir("/dev/shm", 01777);
	if (!config->host_shm)
		must_mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	may_mount("mqueue", "/dev/mqueue", NULL);
	may_mount("debugfs", "/sys/kernel/debug", NULL);
	may_mount("tracefs", "/sys/kernel/tracing", NULL);
	may_mount("cgroup2", "/sys/fs/cgroup", NULL);
	/* One at a time: a controller that is missing must not cost the others. */
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+pids");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+cpu");
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset");
}
