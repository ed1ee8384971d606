// SPDX-License-Identifier: GPL-2.0
/* Sleeping, waking, timers and the processor. */
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/poll.h>
#include <linux/preempt.h>
#include <linux/processor.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "kernel/glue/compat.h"
#include "kernel/interface/services.h"

static_assert(sizeof(struct wait_queue_head) <= sizeof(struct stm_wait_queue));

static struct wait_queue_head *as_queue(struct stm_wait_queue *queue)
{
	return (struct wait_queue_head *)queue;
}

void stm_linux_wait_queue_init(struct stm_wait_queue *queue)
{
	init_waitqueue_head(as_queue(queue));
}

struct sleeper {
	struct wait_queue_entry entry;
	u64 keys;
	int (*ready)(void *context); /* or NULL */
	void *context;
};

/*
 * The key of a wake-up is a set of keys of ours. The queue's lock is held, which a sleeper takes
 * before its context is gone.
 */
static int wake_if_meant(struct wait_queue_entry *entry, unsigned int mode, int flags, void *key)
{
	const struct sleeper *sleeper = container_of(entry, struct sleeper, entry);

	if (!((unsigned long)key & sleeper->keys))
		return 0;
	if (sleeper->ready && !sleeper->ready(sleeper->context))
		return 0;
	return default_wake_function(entry, mode, flags, key);
}

int stm_linux_wait(const struct stm_bed *beds, unsigned int count, int (*ready)(void *context),
		   void *context, enum stm_wait_asks asks, __u64 timeout_ns,
		   enum stm_wait_kind kind)
{
	const unsigned int state = kind == STM_WAIT_KILLABLE ? TASK_KILLABLE : TASK_INTERRUPTIBLE;
	const bool limited = timeout_ns != ~0ULL;
	/* An absolute time, so wake-ups make the wait neither longer nor shorter. */
	ktime_t deadline = ktime_add_safe(ktime_get(), min_t(u64, timeout_ns, KTIME_MAX));
	struct sleeper sleepers[STM_MOST_BEDS];
	unsigned int i;
	int result = 0;

	stm_linux_death_point();
	for (i = 0; i < count; i++) {
		init_waitqueue_func_entry(&sleepers[i].entry, wake_if_meant);
		sleepers[i].entry.private = current;
		sleepers[i].keys = beds[i].keys;
		sleepers[i].ready = asks == STM_ASKS_WAKER ? ready : NULL;
		sleepers[i].context = context;
		add_wait_queue(as_queue(beds[i].queue), &sleepers[i].entry);
	}
	for (;;) {
		/* A wake-up that comes from here on puts it back. */
		set_current_state(state);
		if (ready(context))
			break;
		if (signal_pending_state(state, current)) {
			result = -EINTR;
			break;
		}
		if (!limited) {
			schedule();
		} else if (!schedule_hrtimeout_range(&deadline, current->timer_slack_ns,
						     HRTIMER_MODE_ABS)) {
			result = ready(context) ? 0 : -ETIMEDOUT;
			break;
		}
	}
	__set_current_state(TASK_RUNNING);
	for (i = 0; i < count; i++)
		remove_wait_queue(as_queue(beds[i].queue), &sleepers[i].entry);
	return result;
}

/* wq_has_sleeper() has the barrier between the caller's changes and the look at the sleepers. */
void stm_linux_wake(struct stm_wait_queue *queue, __u64 keys)
{
	static_assert(sizeof(void *) == sizeof(keys));
	if (wq_has_sleeper(as_queue(queue)))
		__wake_up(as_queue(queue), TASK_NORMAL, 0, (void *)(unsigned long)keys);
}

int stm_linux_wake_pollers(struct stm_wait_queue *queue)
{
	if (!wq_has_sleeper(as_queue(queue)))
		return 0;
	wake_up_poll(as_queue(queue), EPOLLIN | EPOLLRDNORM);
	return 1;
}

void stm_linux_delay(__u64 nanoseconds)
{
	unsigned long microseconds = min_t(u64, nanoseconds / NSEC_PER_USEC, 10000);

	if (microseconds < 10)
		ndelay(min_t(u64, nanoseconds, 10000));
	else
		usleep_range(microseconds, microseconds + microseconds / 4);
}

__u64 stm_linux_monotonic_ns(void)
{
	return ktime_get_ns();
}

struct timer {
	struct delayed_work work;
	void (*call)(void *context);
	void *context;
};
static_assert(sizeof(struct timer) <= sizeof(struct stm_timer));

static void run_timer(struct work_struct *work)
{
	struct timer *timer = container_of(to_delayed_work(work), struct timer, work);

	timer->call(timer->context);
}

void stm_linux_timer_init(struct stm_timer *storage, void (*call)(void *context), void *context)
{
	struct timer *timer = (struct timer *)storage;

	INIT_DELAYED_WORK(&timer->work, run_timer);
	timer->call = call;
	timer->context = context;
}

void stm_linux_timer_arm(struct stm_timer *timer, __u32 milliseconds)
{
	/*
	 * Not on this processor's own workers, because looking at a large transaction takes a
	 * while.
	 */
	queue_delayed_work(stm_unbound_workqueue(), &((struct timer *)timer)->work,
			   msecs_to_jiffies(milliseconds));
}

void stm_linux_timer_stop(struct stm_timer *timer)
{
	cancel_delayed_work_sync(&((struct timer *)timer)->work);
}

void stm_linux_stay_on_processor(void)
{
	stm_linux_death_point();
	preempt_disable();
}

void stm_linux_leave_processor(void)
{
	stm_linux_death_point();
	preempt_enable();
}

void stm_linux_pause(void)
{
	cpu_relax();
}
