/* SPDX-License-Identifier: GPL-2.0 */
/* What a mapping may become, and what a page fault in it asks for and gets. */
#ifndef STM_INTERFACE_FAULT_H
#define STM_INTERFACE_FAULT_H

#include "kernel/interface/services.h"

#ifdef __cplusplus
extern "C" {
#endif

#define STM_MAP_WRITE 0x1 /* in: PROT_WRITE is asked for; out: it may be, now or by mprotect */
#define STM_MAP_EXEC 0x2  /* likewise PROT_EXEC */
#define STM_MAP_PLAIN 0x4 /* out: stores go straight to the region */

#define STM_FAULT_BATCH 16
enum stm_fault_result {
	STM_FAULT_MAP,	     /* map the pages of struct stm_fault */
	STM_FAULT_NO_MEMORY,
	STM_FAULT_AGAIN,     /* memory is short: at once, whoever has touched the page; told a few times to a transaction */
	STM_FAULT_WAIT,	     /* another thread's transaction is doomed: when that has ended it, which may last */
	STM_FAULT_OUTSIDE,   /* beyond the region, or beyond what a transaction may touch: SIGBUS */
	STM_FAULT_FORBIDDEN  /* a store outside of a transaction, or the transaction is doomed: SIGSEGV */
};
/*
 * in: @index is the page that is missing, @first and @last are the first and the last one that may be mapped with it, @write
 * tells a store, @memory is the address space and @address the page's in it. out: @pages[0] is page @first, followed by
 * @count - 1 others, all resident; page @index is one of them.
 * Called with mmap_lock or the lock of the mapping held, by any process, for any address space.
 */
struct stm_fault {
	__u64 index;
	__u64 first;
	__u64 last;
	int write;
	unsigned int count;
	struct stm_memory *memory;
	__u64 address;
	struct stm_page *pages[STM_FAULT_BATCH];
};

#ifdef __cplusplus
}
#endif

#endif
