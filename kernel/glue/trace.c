// SPDX-License-Identifier: GPL-2.0
/* The tracepoints: events of Linux from what the core tells (kernel/interface/trace.h). */
#include <linux/jump_label.h>
#include <linux/pid.h>

#include "kernel/interface/trace.h"

#define CREATE_TRACE_POINTS
#include "kernel/glue/trace_events.h"

/*
 * One key for all events: the core asks whether anybody watches at all. Linux calls the two
 * functions when the first one begins to watch an event, and when the last one has ceased to.
 */
#ifdef STM_JUMP_LABELS
/* The core declares it, as something that it does not know. */
extern struct static_key stm_trace_key;
struct static_key stm_trace_key = STATIC_KEY_INIT_FALSE;
static_assert(sizeof(struct jump_entry) == 16);

int stm_trace_switched_on(void)
{
	static_key_slow_inc(&stm_trace_key);
	return 0;
}

void stm_trace_switched_off(void)
{
	static_key_slow_dec(&stm_trace_key);
}
#else
int stm_trace_enabled;

int stm_trace_switched_on(void)
{
	WRITE_ONCE(stm_trace_enabled, stm_trace_enabled + 1);
	return 0;
}

void stm_trace_switched_off(void)
{
	WRITE_ONCE(stm_trace_enabled, stm_trace_enabled - 1);
}
#endif

void stm_linux_trace_start(struct stm_trace_region region, enum stm_trace_way way, __u64 owner,
			   __u64 snapshot)
{
	trace_stm_start(&region, way, owner, snapshot);
}

void stm_linux_trace_commit(struct stm_trace_region region, enum stm_trace_way way, __u64 owner,
			    __u64 version, __u64 read, __u64 written)
{
	trace_stm_commit(&region, way, owner, version, read, written);
}

void stm_linux_trace_abort(struct stm_trace_region region, enum stm_trace_way way, __u64 owner,
			   __u32 reason, struct stm_trace_conflict conflict, __u32 row)
{
	trace_stm_abort(&region, way, owner, reason, &conflict, row);
}

void stm_linux_trace_fault(struct stm_trace_region region, __u64 address, __u64 offset, int write,
			   int result)
{
	trace_stm_fault(&region, address, offset, write, result);
}

void stm_linux_trace_wait(struct stm_trace_region region, enum stm_trace_wait what,
			  __u64 nanoseconds, int error)
{
	trace_stm_wait(&region, what, nanoseconds, error);
}

void stm_linux_trace_repair(struct stm_trace_region region, enum stm_trace_repair what,
			    struct stm_thread *thread)
{
	/* Also after its end, as long as there is a reference. */
	trace_stm_repair(&region, what, pid_nr((struct pid *)thread));
}

int stm_linux_traces_accesses(void)
{
	return trace_stm_access_enabled();
}

void stm_linux_trace_access(struct stm_trace_region region, __u64 offset, __u64 bytes, int write)
{
	trace_stm_access(&region, offset, bytes, write);
}
