/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tracepoints: what the core tells those who watch. kernel/glue/trace.c makes events of Linux
 * of it, which perf, trace-cmd and bpftrace know as stm:stm_NAME; docs/tracing.md lists their
 * fields.
 *
 * The core asks stm_linux_traced() before it gathers what an event tells. While nobody watches,
 * that is one instruction that does nothing, which Linux patches when the first event is switched
 * on. It is only a hint: the answer may be old, and an event that nobody wants is dropped.
 *
 * All of these may be called in any context except between stm_linux_stay_on_processor() and
 * stm_linux_leave_processor(), with any lock held. They do not sleep and cannot fail.
 */
#ifndef STM_INTERFACE_TRACE_H
#define STM_INTERFACE_TRACE_H

#include "kernel/interface/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(STM_KERNEL_CORE) && defined(STM_JUMP_LABELS)

/* Linux: a struct static_key that counts the events which are switched on. */
struct stm_trace_key;
extern struct stm_trace_key stm_trace_key;

/*
 * What Linux's arch_static_branch() is to C: an instruction of five bytes that does nothing, and
 * its place, that of the jump, and the key in a table of the module. x86 alone.
 */
static inline __attribute__((always_inline)) int stm_linux_traced(void)
{
	__asm__ goto("1: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n\t"
		     ".pushsection __jump_table, \"aw\"\n\t"
		     ".balign 8\n\t"
		     ".long 1b - ., %l[traced] - .\n\t"
		     ".quad %c0 - .\n\t"
		     ".popsection\n\t"
		     :
		     : "i"(&stm_trace_key)
		     :
		     : traced);
	return 0;
traced:
	return 1;
}

#else

/* Nonzero: an event is switched on. */
extern int stm_trace_enabled;
static inline int stm_linux_traced(void)
{
	return __builtin_expect(*(const volatile int *)&stm_trace_enabled, 0);
}

#endif

/* The region that an event is about. The name is valid during the call. */
struct stm_trace_region {
	__u64 id;
	const char *name;
};

/* How a transaction begins, or is ended. */
enum stm_trace_way {
	STM_TRACE_STARTED, /* by a start of the program */
	STM_TRACE_OFFERED, /* the program began without a system call; the module learns of it */
	STM_TRACE_CALL,	   /* of a single read or write call */
	STM_TRACE_TYPED	   /* the program has run it by itself, and only commits here */
};
/* @owner: the number by which it locks stripes; no two that run at once in a region have one. */
void stm_linux_trace_start(struct stm_trace_region region, enum stm_trace_way way, __u64 owner,
			   __u64 snapshot);
/* @version: 0 if it wrote nothing. @read, @written: stripes. */
void stm_linux_trace_commit(struct stm_trace_region region, enum stm_trace_way way, __u64 owner,
			    __u64 version, __u64 read, __u64 written);

struct stm_trace_conflict {
	__s64 offset;	 /* of the stripe that was in the way, in bytes; -1: none was */
	__u64 version;	 /* that the stripe has now; 0: it is locked */
	__u64 locked_by; /* the owner that has locked it; 0: none */
};
/* @reason: STM_REASON_. @row: how many attempts of it have conflicted one after the other. */
void stm_linux_trace_abort(struct stm_trace_region region, enum stm_trace_way way, __u64 owner,
			   __u32 reason, struct stm_trace_conflict conflict, __u32 row);

/* A fault in a mapping; @result: enum stm_fault_result. */
void stm_linux_trace_fault(struct stm_trace_region region, __u64 address, __u64 offset, int write,
			   int result);

enum stm_trace_wait {
	STM_TRACE_WAIT_CHANGE, /* of what was read */
	STM_TRACE_WAIT_COMMIT, /* a commit, for the transaction that runs alone */
	STM_TRACE_WAIT_TOKEN   /* to run alone */
};
/* A wait is over. @error: 0, or a negative errno value. */
void stm_linux_trace_wait(struct stm_trace_region region, enum stm_trace_wait what,
			  __u64 nanoseconds, int error);

enum stm_trace_repair {
	STM_TRACE_REPAIR_ENDED,	/* the transaction of a thread that has ended, or called exec */
	STM_TRACE_REPAIR_TOKEN,	/* the token was taken from a thread that has ended */
	STM_TRACE_REPAIR_LEASE	/* or has had it for too long */
};
/* @thread: the thread that left it. */
struct stm_thread;
void stm_linux_trace_repair(struct stm_trace_region region, enum stm_trace_repair what,
			    struct stm_thread *thread);

/* Nonzero: there are those who want to know each access, which is much. */
int stm_linux_traces_accesses(void);
/* At the end of a transaction: it has read or written stripes, @bytes from @offset on. */
void stm_linux_trace_access(struct stm_trace_region region, __u64 offset, __u64 bytes, int write);

#ifdef __cplusplus
}
#endif

#endif
