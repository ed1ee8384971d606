/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared memory segments with numeric identifiers, attached at an address that the caller wishes.
 *
 * A segment is a plain region (stm/stm.h) that belongs to the user who created it (mode 0600) and lives until
 * shm_destroy(). It holds zeros at first. A process attaches a segment at most once at a time, detaches it by its id,
 * and is detached by the kernel when it ends, is killed or calls exec. A child made by fork has what its parent had
 * attached, at the same addresses. 'stmctl ls' lists segments by their ids, 'stmctl attachments --id ID' tells who has
 * one attached.
 *
 * Any thread may call these functions; signal handlers may not. They return -1 and set errno on an error, and have
 * then changed nothing. Besides what is listed, the errors of stm/stm.h for a missing or unsuitable module.
 */
#ifndef STM_SHM_H
#define STM_SHM_H

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

/**
 * shm_create - create a segment
 * @size: bytes, at least 1; rounded up to whole pages
 *
 * Returns its id, a positive number that any process of the same user can use, or -1 with errno: EINVAL: @size is not
 * positive. EFBIG, ENOSPC: a limit of the module is reached.
 */
int shm_create(int size);

/**
 * shm_attach - map a segment for reading and writing
 * @id: the segment
 * @addr: where: a multiple of the page size, with nothing mapped from there to the segment's end; or NULL for any
 *	place, which shm_address() tells
 *
 * Returns 0, or -1 with errno: EINVAL: no such segment (never was, or destroyed since), or @addr is not page aligned.
 * EALREADY: this process has it attached already. EEXIST: something else is mapped there; it was left alone.
 * EACCES: the segment is another user's. EPERM: below the lowest address that may be mapped. ENOMEM: past the end of
 * the address space, or no memory.
 */
int shm_attach(int id, void *addr);

/**
 * shm_detach - unmap a segment
 * @id: a segment that this process has attached
 *
 * Returns 0, or -1 with errno EINVAL: it is not attached.
 */
int shm_detach(int id);

/**
 * shm_destroy - end a segment and free its memory
 * @id: the segment
 *
 * Returns 0, or -1 with errno: EBUSY: some process, perhaps this one, has it attached. EINVAL: no such segment.
 * EPERM: it is another user's.
 */
int shm_destroy(int id);

/**
 * shm_address - where this process has a segment attached
 * @id: the segment
 *
 * Returns its first byte's address, or NULL with errno EINVAL: it is not attached.
 */
void *shm_address(int id);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif /* STM_SHM_H */
