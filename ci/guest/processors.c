// SPDX-License-Identifier: GPL-2.0
/*
 * Emulated processors that oversleep. Now and then QEMU's emulation on several threads leaves a
 * processor asleep although an interrupt is there for it: neither its timer nor another one wakes
 * it any more, and what waits for it waits for ever. An interrupt that cannot be masked does.
 *
 * On each processor a thread looks at those of the others once a second. When one has not run for
 * LIMIT such looks, Linux is asked what all processors do, by an interrupt of that kind. The log
 * shows then whether the processor was idle, or was busy with something that lets nobody run: that
 * is a fault of the kernel, which its own watchdogs report.
 */
#include "guest.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST = 64, LIMIT = 20, TELL_AT_MOST = 5 };

static int count;
static atomic_uint looks[MOST];
static atomic_int told;

static void wake_all(int processor)
{
	char line[160];

	if (atomic_fetch_add(&told, 1) >= TELL_AT_MOST)
		return;
	snprintf(line, sizeof(line),
		 "<5>stm-vm: nothing of ours ran on processor %d for %d s; all are woken\n",
		 processor, LIMIT);
	write_file("/dev/kmsg", line);
	write_file("/proc/sysrq-trigger", "l");
}

static void *watch(void *argument)
{
	int own = (int)(long)argument;
	unsigned int seen[MOST] = { 0 }, unchanged[MOST] = { 0 };
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(own, &here);
	if (sched_setaffinity(0, sizeof(here), &here))
		return NULL;
	setpriority(PRIO_PROCESS, 0, -20);
	for (;;) {
		sleep(1);
		atomic_fetch_add(&looks[own], 1);
		for (int other = 0; other < count; other++) {
			unsigned int now = atomic_load(&looks[other]);

			/* Counted in our own looks: the host may have stopped all of the guest. */
			unchanged[other] = now == seen[other] ? unchanged[other] + 1 : 0;
			seen[other] = now;
			if (other != own && unchanged[other] == LIMIT) {
				wake_all(other);
				unchanged[other] = 0;
			}
		}
	}
}

void processors_watch(void)
{
	sigset_t all, before;
	pthread_attr_t small;
	pthread_t thread;

	count = (int)sysconf(_SC_NPROCESSORS_ONLN);
	if (count < 2 || count > MOST)
		return;
	/* Signals are for the thread that serves the host. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 << 10);
	for (long processor = 0; processor < count; processor++)
		if (pthread_create(&thread, &small, watch, (void *)processor))
			break;
	pthread_attr_destroy(&small);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}
