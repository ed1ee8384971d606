/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared memory segments with numeric identifiers, attached at an address of the caller's choice
 *
 * A segment is a plain region (stm/stm.h). It belongs to the user who created it (mode 0600), holds
 * zeros at first, and lives until shm_destroy(). A process attaches a segment at most once at a
 * time, and detaches it by its id. The kernel detaches a process that ends, is killed or calls
 * exec. A child made by fork has attached what its parent had, at the same addresses.
 *
 * 'stmctl ls' lists segments by their ids. 'stmctl attachments --id ID' shows which processes have
 * one attached.
 *
 * Any thread may call these functions; no signal handler may. On an error they return -1, set
 * errno, and have changed nothing. Besides the errors listed they give those of stm/stm.h for a
 * missing or unsuitable module.
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
 * Returns its id, a positive number that any process of the same user can use, or -1 with errno:
 *   EINVAL        @size is not positive
 *   EFBIG, ENOSPC a limit of the module is reached
 */
int shm_create(int size);

/**
 * shm_attach - map a segment for reading and writing
 * @id: the segment
 * @addr: where to map it: a multiple of the page size, with nothing mapped from there to the
 *	segment's end. NULL: anywhere; shm_address() then tells where
 *
 * Returns 0, or -1 with errno:
 *   EINVAL    there is no such segment (it never was, or was destroyed), or @addr is not page
 *             aligned
 *   EALREADY  this process has it attached already
 *   EEXIST    something else is mapped there; it was left alone
 *   EACCES    the segment is another user's
 *   EPERM     @addr is below the lowest address that may be mapped
 *   ENOMEM    it would reach past the end of the address space, or there is no memory
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
 * Returns 0, or -1 with errno:
 *   EBUSY   a process, perhaps this one, has it attached
 *   EINVAL  there is no such segment
 *   EPERM   it is another user's
 */
int shm_destroy(int id);

/**
 * shm_address - where this process has a segment attached
 * @id: the segment
 *
 * Returns the address of its first byte, or NULL with errno EINVAL: it is not attached.
 */
void *shm_address(int id);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif /* STM_SHM_H */
