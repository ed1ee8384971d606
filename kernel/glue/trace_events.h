/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The events of Linux that kernel/interface/trace.h is about. Linux includes this file several
 * times. The fields are documented in docs/tracing.md; scripts of others use them.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM stm

#if !defined(STM_TRACE_EVENTS_H) || defined(TRACE_HEADER_MULTI_READ)
#define STM_TRACE_EVENTS_H

#include <linux/string.h>
#include <linux/tracepoint.h>

#include <stm/ioctl.h>

#include "kernel/interface/fault.h"
#include "kernel/interface/trace.h"

#ifndef STM_TRACE_EVENTS_ONCE
#define STM_TRACE_EVENTS_ONCE
/* So much of a region's name; the id says which one it is in any case. */
#define STM_TRACE_NAME 64
int stm_trace_switched_on(void);
void stm_trace_switched_off(void);
#endif

/* Else those who read an event's format would see the enumerators' names. */
TRACE_DEFINE_ENUM(STM_TRACE_STARTED);
TRACE_DEFINE_ENUM(STM_TRACE_OFFERED);
TRACE_DEFINE_ENUM(STM_TRACE_CALL);
TRACE_DEFINE_ENUM(STM_TRACE_TYPED);
TRACE_DEFINE_ENUM(STM_FAULT_MAP);
TRACE_DEFINE_ENUM(STM_FAULT_NO_MEMORY);
TRACE_DEFINE_ENUM(STM_FAULT_AGAIN);
TRACE_DEFINE_ENUM(STM_FAULT_WAIT);
TRACE_DEFINE_ENUM(STM_FAULT_OUTSIDE);
TRACE_DEFINE_ENUM(STM_FAULT_FORBIDDEN);
TRACE_DEFINE_ENUM(STM_TRACE_WAIT_CHANGE);
TRACE_DEFINE_ENUM(STM_TRACE_WAIT_COMMIT);
TRACE_DEFINE_ENUM(STM_TRACE_WAIT_TOKEN);
TRACE_DEFINE_ENUM(STM_TRACE_REPAIR_ENDED);
TRACE_DEFINE_ENUM(STM_TRACE_REPAIR_TOKEN);
TRACE_DEFINE_ENUM(STM_TRACE_REPAIR_LEASE);

/* Linux writes events like this: */
/* clang-format off */
#define show_way(way)                                                                              \
	__print_symbolic(way, {STM_TRACE_STARTED, "start"}, {STM_TRACE_OFFERED, "offer"},          \
			 {STM_TRACE_CALL, "call"}, {STM_TRACE_TYPED, "typed"})

#define show_reason(reason)                                                                        \
	__print_symbolic(reason, {STM_REASON_READ_LOCKED, "read_locked"},                          \
			 {STM_REASON_READ_VALIDATION, "read_validation"},                          \
			 {STM_REASON_COMMIT_LOCKED, "commit_locked"},                              \
			 {STM_REASON_COMMIT_VALIDATION, "commit_validation"},                      \
			 {STM_REASON_TOO_BIG, "too_big"}, {STM_REASON_NO_MEMORY, "no_memory"},     \
			 {STM_REASON_CANCEL, "cancel"}, {STM_REASON_RETRY, "retry"},               \
			 {STM_REASON_SIGNAL, "signal"}, {STM_REASON_KILLED, "killed"},             \
			 {STM_REASON_SERIAL_WAIT, "serial_wait"},                                  \
			 {STM_REASON_OUT_OF_RANGE, "out_of_range"}, {STM_REASON_FAULT, "fault"},   \
			 {STM_REASON_CLOSED, "closed"},                                            \
			 {STM_REASON_SNAPSHOT_TOO_OLD, "snapshot_too_old"})

#define show_result(result)                                                                        \
	__print_symbolic(result, {STM_FAULT_MAP, "mapped"}, {STM_FAULT_NO_MEMORY, "no_memory"},    \
			 {STM_FAULT_AGAIN, "again"}, {STM_FAULT_WAIT, "wait"},                     \
			 {STM_FAULT_OUTSIDE, "outside"}, {STM_FAULT_FORBIDDEN, "forbidden"})

#define show_wait(what)                                                                            \
	__print_symbolic(what, {STM_TRACE_WAIT_CHANGE, "change"},                                  \
			 {STM_TRACE_WAIT_COMMIT, "commit"}, {STM_TRACE_WAIT_TOKEN, "token"})

#define show_repair(what)                                                                          \
	__print_symbolic(what, {STM_TRACE_REPAIR_ENDED, "ended"},                                  \
			 {STM_TRACE_REPAIR_TOKEN, "token"}, {STM_TRACE_REPAIR_LEASE, "lease"})

TRACE_EVENT_FN(stm_start,
	TP_PROTO(const struct stm_trace_region *region, int way, u64 owner, u64 snapshot),
	TP_ARGS(region, way, owner, snapshot),
	TP_STRUCT__entry(
		__array(char, region, STM_TRACE_NAME)
		__field(u64, id)
		__field(u32, way)
		__field(u64, owner)
		__field(u64, snapshot)
	),
	TP_fast_assign(
		strscpy(__entry->region, region->name, STM_TRACE_NAME);
		__entry->id = region->id;
		__entry->way = way;
		__entry->owner = owner;
		__entry->snapshot = snapshot;
	),
	TP_printk("region=%s id=%#llx way=%s owner=%llu snapshot=%llu", __entry->region,
		  __entry->id, show_way(__entry->way), __entry->owner, __entry->snapshot),
	stm_trace_switched_on, stm_trace_switched_off
);

TRACE_EVENT_FN(stm_commit,
	TP_PROTO(const struct stm_trace_region *region, int way, u64 owner, u64 version, u64 read,
		 u64 written),
	TP_ARGS(region, way, owner, version, read, written),
	TP_STRUCT__entry(
		__array(char, region, STM_TRACE_NAME)
		__field(u64, id)
		__field(u32, way)
		__field(u64, owner)
		__field(u64, version)
		__field(u64, read)
		__field(u64, written)
	),
	TP_fast_assign(
		strscpy(__entry->region, region->name, STM_TRACE_NAME);
		__entry->id = region->id;
		__entry->way = way;
		__entry->owner = owner;
		__entry->version = version;
		__entry->read = read;
		__entry->written = written;
	),
	TP_printk("region=%s id=%#llx way=%s owner=%llu version=%llu read=%llu written=%llu",
		  __entry->region, __entry->id, show_way(__entry->way), __entry->owner,
		  __entry->version, __entry->read, __entry->written),
	stm_trace_switched_on, stm_trace_switched_off
);

TRACE_EVENT_FN(stm_abort,
	TP_PROTO(const struct stm_trace_region *region, int way, u64 owner, u32 reason,
		 const struct stm_trace_conflict *conflict, u32 row),
	TP_ARGS(region, way, owner, reason, conflict, row),
	TP_STRUCT__entry(
		__array(char, region, STM_TRACE_NAME)
		__field(u64, id)
		__field(u32, way)
		__field(u64, owner)
		__field(u32, reason)
		__field(u32, row)
		__field(s64, offset)
		__field(u64, version)
		__field(u64, locked_by)
	),
	TP_fast_assign(
		strscpy(__entry->region, region->name, STM_TRACE_NAME);
		__entry->id = region->id;
		__entry->way = way;
		__entry->owner = owner;
		__entry->reason = reason;
		__entry->row = row;
		__entry->offset = conflict->offset;
		__entry->version = conflict->version;
		__entry->locked_by = conflict->locked_by;
	),
	TP_printk("region=%s id=%#llx way=%s owner=%llu reason=%s row=%u offset=%lld "
		  "version=%llu locked_by=%llu",
		  __entry->region, __entry->id, show_way(__entry->way), __entry->owner,
		  show_reason(__entry->reason), __entry->row, __entry->offset, __entry->version,
		  __entry->locked_by),
	stm_trace_switched_on, stm_trace_switched_off
);

TRACE_EVENT_FN(stm_fault,
	TP_PROTO(const struct stm_trace_region *region, u64 address, u64 offset, int write,
		 int result),
	TP_ARGS(region, address, offset, write, result),
	TP_STRUCT__entry(
		__array(char, region, STM_TRACE_NAME)
		__field(u64, id)
		__field(u64, address)
		__field(u64, offset)
		__field(u32, write)
		__field(u32, result)
	),
	TP_fast_assign(
		strscpy(__entry->region, region->name, STM_TRACE_NAME);
		__entry->id = region->id;
		__entry->address = address;
		__entry->offset = offset;
		__entry->write = write != 0;
		__entry->result = result;
	),
	TP_printk("region=%s id=%#llx address=%#llx offset=%llu %s result=%s", __entry->region,
		  __entry->id, __entry->address, __entry->offset,
		  __entry->write ? "store" : "load", show_result(__entry->result)),
	stm_trace_switched_on, stm_trace_switched_off
);

TRACE_EVENT_FN(stm_wait,
	TP_PROTO(const struct stm_trace_region *region, int what, u64 nanoseconds, int error),
	TP_ARGS(region, what, nanoseconds, error),
	TP_STRUCT__entry(
		__array(char, region, STM_TRACE_NAME)
		__field(u64, id)
		__field(u32, what)
		__field(u64, nanoseconds)
		__field(s32, error)
	),
	TP_fast_assign(
		strscpy(__entry->region, region->name, STM_TRACE_NAME);
		__entry->id = region->id;
		__entry->what = what;
		__entry->nanoseconds = nanoseconds;
		__entry->error = error;
	),
	TP_printk("region=%s id=%#llx what=%s nanoseconds=%llu error=%d", __entry->region,
		  __entry->id, show_wait(__entry->what), __entry->nanoseconds, __entry->error),
	stm_trace_switched_on, stm_trace_switched_off
);

TRACE_EVENT_FN(stm_repair,
	TP_PROTO(const struct stm_trace_region *region, int what, s32 thread),
	TP_ARGS(region, what, thread),
	TP_STRUCT__entry(
		__array(char, region, STM_TRACE_NAME)
		__field(u64, id)
		__field(u32, what)
		__field(s32, thread)
	),
	TP_fast_assign(
		strscpy(__entry->region, region->name, STM_TRACE_NAME);
		__entry->id = region->id;
		__entry->what = what;
		__entry->thread = thread;
	),
	TP_printk("region=%s id=%#llx what=%s thread=%d", __entry->region, __entry->id,
		  show_repair(__entry->what), __entry->thread),
	stm_trace_switched_on, stm_trace_switched_off
);

TRACE_EVENT_FN(stm_access,
	TP_PROTO(const struct stm_trace_region *region, u64 offset, u64 bytes, int write),
	TP_ARGS(region, offset, bytes, write),
	TP_STRUCT__entry(
		__array(char, region, STM_TRACE_NAME)
		__field(u64, id)
		__field(u64, offset)
		__field(u64, bytes)
		__field(u32, write)
	),
	TP_fast_assign(
		strscpy(__entry->region, region->name, STM_TRACE_NAME);
		__entry->id = region->id;
		__entry->offset = offset;
		__entry->bytes = bytes;
		__entry->write = write != 0;
	),
	TP_printk("region=%s id=%#llx offset=%llu bytes=%llu %s", __entry->region, __entry->id,
		  __entry->offset, __entry->bytes, __entry->write ? "write" : "read"),
	stm_trace_switched_on, stm_trace_switched_off
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH kernel/glue
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace_events
#include <trace/define_trace.h>
/* clang-format on */
