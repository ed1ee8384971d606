/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An allocator inside a region
 *
 * All that it knows lies in the region, and changes by the caller's transaction only. So what was
 * allocated in a transaction that has no effect was never allocated, what was freed there still is
 * allocated, and a process that is killed leaks nothing. Blocks are offsets, which mean the same in
 * every process.
 *
 * The heap fills the region. The first function that changes something makes it, if all of the
 * region's first bytes are zero. A region of less than two pages has no room for it.
 *
 *	uint64_t node;
 *	if (stm_heap_allocate(tx, region, 24, 8, &node))
 *		continue; // to stm_tx_commit()
 *
 * Results are those of <stm/tx.h>: 0, STM_TX_AGAIN, or -1 with errno. Besides those of
 * stm_tx_load() and stm_tx_store(), the errors of every function here are
 *   EBADMSG  the region holds something else than a heap
 *   ENOSPC   there is no room
 *   EINVAL   what a caller has passed makes no sense; see the functions
 * After these three nothing has changed, and the transaction may go on.
 *
 * Any thread may call these functions, in its own transaction.
 */
#ifndef STM_HEAP_H
#define STM_HEAP_H

#include <stddef.h>
#include <stdint.h>
#include <stm/tx.h> /* IWYU pragma: export */

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

/**
 * stm_heap_allocate - allocate a block
 * @bytes: of any number; up to 2048 are rounded up to one of 21 sizes, more to whole pages
 * @alignment: of the offset, a power of two up to 4096; 16 is always given
 * @offset: where the block begins is stored here, never 0. What it holds is undefined
 *
 * EINVAL: @alignment is something else.
 */
int stm_heap_allocate(stm_tx *tx, stm_region *region, size_t bytes, size_t alignment,
		      uint64_t *offset);

/**
 * stm_heap_free - free a block
 * @offset: what stm_heap_allocate() has stored, or 0: nothing happens
 *
 * EINVAL: no block that is allocated begins there.
 */
int stm_heap_free(stm_tx *tx, stm_region *region, uint64_t offset);

/**
 * stm_heap_usable - how many bytes of a block may be used: those asked for, or some more
 *
 * EINVAL: no block that is allocated begins there.
 */
int stm_heap_usable(stm_tx *tx, stm_region *region, uint64_t offset, size_t *bytes);

/**
 * stm_heap_root, stm_heap_set_root - where a region's structures begin
 * @offset: what stm_heap_set_root() has stored, or 0
 * @tag: the same; it tells what lies there, and the heap attaches no meaning to it
 */
int stm_heap_root(stm_tx *tx, stm_region *region, uint64_t *offset, uint64_t *tag);
int stm_heap_set_root(stm_tx *tx, stm_region *region, uint64_t offset, uint64_t tag);

struct stm_heap_report {
	uint64_t bytes;		/* of the region that blocks may use: whole pages of 4096 bytes */
	uint64_t free_bytes;	/* in pages of which no block uses a part */
	uint64_t largest_free;	/* bytes of the longest row of such pages */
	uint64_t blocks;	/* allocated */
	uint64_t block_bytes;	/* that these may use */
	uint64_t slab_bytes;	/* in pages that hold blocks of one size, free ones included */
	const char *problem;	/* what is wrong, or NULL */
};

/**
 * stm_heap_check - look at all that the heap knows, and tell whether it is consistent
 *
 * It reads what describes each page in use, so it is a long transaction.
 *
 * EBADMSG: it is not consistent; @report tells in what.
 */
int stm_heap_check(stm_tx *tx, stm_region *region, struct stm_heap_report *report);

/**
 * stm_heap_allocate_mapped, stm_heap_free_mapped - the same in a mapping, by plain pointers
 * @base, @size: a mapping of the whole region, in which the calling thread has a transaction by
 *	stm_start()
 * @bytes, @alignment: as for stm_heap_allocate()
 * @block: a block, at its address in this mapping
 *
 * The heap is the same: what is allocated in one way may be freed in the other one. These functions
 * load and store in the mapping, so the transaction may begin again in their middle, as at any
 * load. In mappings whole pages conflict, and many blocks are described in one page. So processes
 * that allocate in this way at the same time often conflict.
 *
 * Return 0, or -1 with errno: EBADMSG, ENOSPC, EINVAL.
 */
int stm_heap_allocate_mapped(void *base, size_t size, size_t bytes, size_t alignment, void **block);
int stm_heap_free_mapped(void *base, size_t size, void *block);

/**
 * stm_heap_root_mapped, stm_heap_set_root_mapped - stm_heap_root() and stm_heap_set_root() in a
 * mapping
 * @base, @size: as for stm_heap_allocate_mapped()
 * @block: of the root, or NULL
 * @tag: as for stm_heap_root()
 *
 * Return 0, or -1 with errno: EBADMSG, ENOSPC.
 */
int stm_heap_root_mapped(void *base, size_t size, void **block, uint64_t *tag);
int stm_heap_set_root_mapped(void *base, size_t size, void *block, uint64_t tag);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif /* STM_HEAP_H */
