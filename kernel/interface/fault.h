/* SPDX-License-Identifier: GPL-2.0 */
/* The rights of a mapping, and the request and the result of a page fault in it. */
#ifndef STM_INTERFACE_FAULT_H
#define STM_INTERFACE_FAULT_H

#include "kernel/interface/services.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STM_MAP_WRITE 0x1 /* in: PROT_WRITE is asked for; out: it is allowed, now or by mprotect */
#define STM_MAP_EXEC 0x2  /* the same for PROT_EXEC */
#define STM_MAP_PLAIN 0x4 /* out: stores go straight to the region */
#define STM_MAP_SEGMENT 0x8 /* out: the core wants to know when mappings come and go */
#define STM_MAP_WINDOW 0x10 /* out: the pages are the same for every process; no transaction's */
#define STM_MAP_DIRECT 0x20 /* out: of a window: the core wants to know of stores, and of the end */

#define STM_FAULT_BATCH 16
enum stm_fault_result {
	/* Map the pages of struct stm_fault. */
	STM_FAULT_MAP,
	STM_FAULT_NO_MEMORY,
	/* Memory is short: try again at once, the kernel too. A transaction gets it a few times. */
	STM_FAULT_AGAIN,
	/* Another thread's transaction is doomed: try again after its end, perhaps much later. */
	STM_FAULT_WAIT,
	/* Beyond the region, or beyond what a transaction may touch: SIGBUS. */
	STM_FAULT_OUTSIDE,
	/* A store outside of a transaction, or the transaction is doomed: SIGSEGV. */
	STM_FAULT_FORBIDDEN
};
/*
 * in: @index is the missing page. @first and @last are the first and the last page that may be
 * mapped with it. @write is nonzero for a store. @dump is nonzero if it is for the core file of the
 * calling process, whose threads are at their ends: then no page is allocated that the region does
 * not have. @memory is the address space, and @address the page's address in it. out: @pages[0] is
 * page @first, followed by @count - 1 others, all resident. Page @index is one of them. A fault is
 * served with mmap_lock or the lock of the mapping held, by any process, for any address space.
 */
struct stm_fault {
	__u64 index;
	__u64 first;
	__u64 last;
	int write;
	int dump;
	unsigned int count;
	struct stm_memory *memory;
	__u64 address;
	__u64 resume; /* out, of stm_core_window_store(): where the thread goes on */
	struct stm_page *pages[STM_FAULT_BATCH];
};

#ifdef __cplusplus
}
#endif

#endif
