// SPDX-License-Identifier: GPL-2.0
/*
 * Deaths at every step, in builds for tests only. The thread `death_pid` is killed at its step
 * number `death_at`. tests/sweep goes through all steps.
 */
#ifdef STM_TEST_HOOKS
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "kernel/interface/services.h"

static int death_pid;
static int death_at;

module_param(death_pid, int, 0600);
MODULE_PARM_DESC(death_pid, "For tests: the thread to kill");
module_param(death_at, int, 0600);
MODULE_PARM_DESC(death_at, "For tests: the step at which to kill it");

/* Only the victim counts steps, so no step is lost. */
void stm_linux_death_point(void)
{
	if (likely(task_pid_nr(current) != READ_ONCE(death_pid)))
		return;
	WRITE_ONCE(death_at, READ_ONCE(death_at) - 1);
	if (READ_ONCE(death_at) == 0)
		send_sig(SIGKILL, current, 1);
}
#endif
