// SPDX-License-Identifier: GPL-2.0
/*
 * Deaths at every step, in builds for tests only. The thread `death_pid` is killed at its step
 * number `death_at`. tests/sweep goes through all steps.
 */
#ifdef STM_TEST_HOOKS
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "kernel/glue/compat.h"
#include "kernel/interface/services.h"

static int death_pid;
static int death_at;

module_param(death_pid, int, 0600);
MODULE_PARM_DESC(death_pid, "For tests: the thread to kill");
module_param(death_at, int, 0600);
MODULE_PARM_DESC(death_at, "For tests: the step at which to kill it");

static bool death_is_due; /* for the victim alone */

/*
 * Only the victim counts steps, so no step is lost. Where no signal can be sent, nothing looks at
 * signals either, so it is the same for the victim to get its signal at the first step behind.
 */
void stm_linux_death_point(void)
{
	int left;

	if (likely(task_pid_nr(current) != READ_ONCE(death_pid)))
		return;
	left = READ_ONCE(death_at) - 1;
	WRITE_ONCE(death_at, left);
	if (left >= 0)
		death_is_due = left == 0;
	if (!death_is_due || !stm_can_send_signals())
		return;
	death_is_due = false;
	send_sig(SIGKILL, current, 1);
}
#endif
