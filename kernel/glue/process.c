// SPDX-License-Identifier: GPL-2.0
/* The caller: processes, users and the time. */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/timekeeping.h>
#include <linux/uidgid.h>

#include <stm/ioctl.h>

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
	const __s32 id = pid_vnr((struct pid *)process);
	struct task_struct *task = NULL;

	static_assert(TASK_COMM_LEN == 16);
	memset(command, 0, TASK_COMM_LEN);
	if (id)
		task = get_pid_task((struct pid *)process, PIDTYPE_TGID);
	if (task) {
		get_task_comm(*(char(*)[TASK_COMM_LEN])command, task);
		put_task_struct(task);
	}
	return id;
}

struct stm_thread *stm_linux_thread_current(void)
{
	return (struct stm_thread *)get_task_pid(current, PIDTYPE_PID);
}

void stm_linux_thread_put(struct stm_thread *thread)
{
	put_pid((struct pid *)thread);
}

int stm_linux_thread_is_current(const struct stm_thread *thread)
{
	return (const struct pid *)thread == task_pid(current);
}

int stm_linux_thread_is_alive(struct stm_thread *thread)
{
	struct task_struct *task;
	bool alive;

	rcu_read_lock();
	task = pid_task((struct pid *)thread, PIDTYPE_PID);
	/* A thread that is exiting makes no system call any more. */
	alive = task && !(READ_ONCE(task->flags) & PF_EXITING);
	rcu_read_unlock();
	return alive;
}

static bool task_runs(const struct task_struct *task, __u64 exec_id)
{
	return !(READ_ONCE(task->flags) & PF_EXITING) && READ_ONCE(task->self_exec_id) == exec_id;
}

int stm_linux_thread_runs(struct stm_thread *thread, __u64 exec_id)
{
	struct task_struct *task;
	bool runs;

	/* Most often the caller asks for itself, at each page fault in a transaction. */
	if (stm_linux_thread_is_current(thread))
		return task_runs(current, exec_id);
	rcu_read_lock();
	task = pid_task((struct pid *)thread, PIDTYPE_PID);
	runs = task && task_runs(task, exec_id);
	rcu_read_unlock();
	return runs;
}

int stm_linux_thread_is_in(struct stm_thread *thread, const struct stm_memory *memory)
{
	struct task_struct *task;
	bool is;

	rcu_read_lock();
	task = pid_task((struct pid *)thread, PIDTYPE_PID);
	/* exec gives it the new one before it drops the reference to the one before. */
	is = task && READ_ONCE(task->mm) == (const struct mm_struct *)memory;
	rcu_read_unlock();
	return is;
}

int stm_linux_thread_is_of_process(struct stm_thread *thread)
{
	struct task_struct *task;
	bool is;

	rcu_read_lock();
	task = pid_task((struct pid *)thread, PIDTYPE_PID);
	is = task && same_thread_group(task, current);
	rcu_read_unlock();
	return is;
}

/*
 * A thread that has ended has no descriptors. The lock keeps a thread's descriptor table in place.
 */
int stm_linux_thread_shares_descriptors(struct stm_thread *thread)
{
	struct task_struct *task = get_pid_task((struct pid *)thread, PIDTYPE_PID);
	bool shares = false;

	if (!task)
		return false;
	if (current->files) {
		task_lock(task);
		shares = task->files == current->files;
		task_unlock(task);
	}
	put_task_struct(task);
	return shares;
}

__s32 stm_linux_thread_id(struct stm_thread *thread)
{
	return pid_vnr((struct pid *)thread);
}

void stm_linux_thread_signal(struct stm_thread *thread, __u64 exec_id, int signal)
{
	struct kernel_siginfo info;
	struct task_struct *task = get_pid_task((struct pid *)thread, PIDTYPE_PID);

	if (!task)
		return;
	clear_siginfo(&info);
	info.si_signo = signal;
	info.si_code = SI_QUEUE;
	info.si_int = STM_SIGNAL_COOKIE;
	/*
	 * exec raises the id before it takes on other rights. If it does so right after this look,
	 * the program gets a signal that its user could send it as well.
	 */
	if (READ_ONCE(task->self_exec_id) == exec_id)
		send_sig_info(signal, &info, task);
	put_task_struct(task);
}

__u64 stm_linux_exec_id(void)
{
	return READ_ONCE(current->self_exec_id);
}

int stm_linux_dying(void)
{
	return fatal_signal_pending(current);
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

void stm_linux_caller_ids(struct stm_ids *ids)
{
	ids->uid = __kuid_val(current_euid());
	ids->gid = __kgid_val(current_egid());
}

void stm_linux_ids_for_caller(struct stm_ids *ids)
{
	ids->uid = from_kuid_munged(current_user_ns(), KUIDT_INIT(ids->uid));
	ids->gid = from_kgid_munged(current_user_ns(), KGIDT_INIT(ids->gid));
}

int stm_linux_caller_in_group(__u32 gid)
{
	return in_group_p(KGIDT_INIT(gid));
}

int stm_linux_caller_has(enum stm_privilege privilege)
{
	switch (privilege) {
	case STM_PRIVILEGE_IPC_OWNER:
		return capable(CAP_IPC_OWNER);
	case STM_PRIVILEGE_IPC_LOCK:
		return capable(CAP_IPC_LOCK);
	default:
		return capable(CAP_SYS_ADMIN);
	}
}
