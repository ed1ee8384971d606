/* SPDX-License-Identifier: GPL-2.0 */
/* What the module counts; each member is a file of the same name in sysfs. */
#ifndef STM_INTERFACE_COUNTERS_H
#define STM_INTERFACE_COUNTERS_H

#include "kernel/interface/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The first four are what is there now. The others are of all regions since the module was loaded,
 * also of those that are gone, and never become less. docs/tracing.md has their meaning.
 */
struct stm_counters {
	__u64 regions;
	__u64 bytes;
	__u64 resident_bytes;
	__u64 handles;
	__u64 starts;
	__u64 commits;
	__u64 read_only_commits;
	__u64 calls;
	__u64 conflicts;
	__u64 other_aborts;
	__u64 serial;
	__u64 waits;
	__u64 faults;
	__u64 reads;
	__u64 writes;
};

/* Takes the REGISTRY lock. */
void stm_core_counters(struct stm_counters *counters);

#ifdef __cplusplus
}
#endif

#endif
