// SPDX-License-Identifier: GPL-2.0
/* Who calls: processes, users and the time. */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/timekeeping.h>
#include <linux/uidgid.h>

#include "kernel/interface/services.h"

struct stm_process *stm_linux_process_current(void)
{
	return (struct stm_process *)get_task_pid(current, PIDTYPE_TGID);
}

void stm_linux_process_put(struct stm_process *process)
{
	put_pid((struct pid *)process);
}

__s32 stm_linux_process_describe(struct stm_process *process, char command[16])
{
	struct task_struct *task;

	static_assert(TASK_COMM_LEN == 16);
	memset(command, 0, TASK_COMM_LEN);
	task = get_pid_task((struct pid *)process, PIDTYPE_TGID);
	if (task) {
		get_task_comm(*(char (*)[TASK_COMM_LEN])command, task);
		put_task_struct(task);
	}
	return pid_vnr((struct pid *)process);
}

__u32 stm_linux_current_user(void)
{
	return __kuid_val(current_fsuid());
}

int stm_linux_may_exceed_limits(void)
{
	return capable(CAP_SYS_RESOURCE);
}

__u64 stm_linux_realtime_ns(void)
{
	return ktime_get_real_ns();
}
