// SPDX-License-Identifier: GPL-2.0
/*
 * Emulated processors that oversleep. Now and then QEMU's emulation on several threads leaves a
 * processor asleep although an interrupt is there for it: neither its timer nor another one wakes
 * it any more, and what waits for it waits for ever. An interrupt that cannot be masked does.
 *
 * On each processor a thread looks at those of the others once a second. When one has not run for
 * LIMIT such looks, Linux is asked what all processors do, by an interrupt of that kind. The log
 * shows then whether the processor was idle, or was busy with something that lets nobody run: that
 * is a fault of the kernel, which its own watchdogs report. One of the others does so, and again
 * after each LIMIT looks, but at most TELL_AT_MOST times until the processor has run again.
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
/* Of each processor; 0: its thread has not begun, and perhaps cannot. */
static atomic_uint looks[MOST];
/* How often it was told of the processor since a look: the look << 32 | how often. Only grows. */
static atomic_ullong told[MOST];

static void wake_all(int processor, unsigned int look, unsigned int times)
{
	char line[160];
	unsigned long long now = (unsigned long long)look << 32 | times;
	unsigned long long before = atomic_load(&told[processor]);

	/* The other threads count the same looks a little sooner or later. */
	do
		if (before >= now || times > TELL_AT_MOST)
			return;
	while (!atomic_compare_exchange_weak(&told[processor], &before, now));
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
			if (now && unchanged[other] && unchanged[other] % LIMIT == 0)
				wake_all(other, now, unchanged[other] / LIMIT);
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
