/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Simple shared memory: segments with names, mapped where there is room, that carry strings
 *
 * A segment is a plain region (stm/stm.h), with mode 0666 less the umask. The region's name is
 * "ssmem:" followed by the segment's name; names are compared in full. A segment holds zeros at
 * first. It is destroyed with its last attachment in any process: when that is detached, or when
 * its process ends, is killed or calls exec. A child made by fork has attached what its parent had.
 *
 * Any thread may call these functions; no signal handler may. On an error they return -1, set
 * errno, and have changed nothing. Besides the errors listed they give those of stm/stm.h for a
 * missing or unsuitable module.
 */
#ifndef STM_SSMEM_H
#define STM_SSMEM_H

#include <stddef.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

#define SSMEM_FLAG_READ 0   /* map read-only; every attachment may read */
#define SSMEM_FLAG_CREATE 1 /* create the segment if there is none of this name */
#define SSMEM_FLAG_WRITE 2  /* map read-write, and allow ssmem_write */
#define SSMEM_FLAG_EXEC 4   /* map executable; with CREATE, a new segment allows that */

/* The longest string that ssmem_write and ssmem_read move, in bytes with its terminating NUL. */
#define SSMEM_STRING_MAX 262144

/**
 * ssmem_attach - map a segment
 * @name: its name, 1 to 249 bytes
 * @flag: SSMEM_FLAG_*. An attachment is never writable and executable at once. So WRITE with EXEC
 *	is allowed only with CREATE. It creates a segment that may be executed, and maps it here
 *	for writing its code
 * @length: bytes of a new segment, at least 1; rounded up to whole pages. An existing segment keeps
 *	its own length, larger or smaller, and is mapped whole
 *
 * A process may attach a segment several times, at as many addresses.
 *
 * Returns the address, or -1 with errno:
 *   ENOENT        there is no such segment, and CREATE was not given
 *   EINVAL        @name is NULL or empty, @length is 0, a flag is unknown, or WRITE with EXEC was
 *                 given without CREATE
 *   ENAMETOOLONG  @name has more than 249 bytes
 *   EACCES        its mode forbids it, or EXEC was given for a segment that was created without it
 *   EFBIG, ENOSPC a limit of the module is reached
 */
long ssmem_attach(char *name, int flag, size_t length);

/**
 * ssmem_detach - unmap a segment; the last detach destroys it
 * @addr: what ssmem_attach returned
 *
 * Returns 0, or -1 with errno EINVAL: nothing is attached there.
 */
long ssmem_detach(void *addr);

/**
 * ssmem_write - copy a string into a segment
 * @addr: where to: an address within an attachment
 * @data: the string; it is stored with its terminating NUL
 *
 * No ssmem_read of the segment, in any process, sees only a part of the string. No writer waits
 * forever behind readers.
 *
 * Returns 0, or -1 with errno:
 *   EMSGSIZE  the string does not fit between @addr and the segment's end, or is longer than
 *             SSMEM_STRING_MAX; nothing was written
 *   EACCES    the segment was attached without WRITE
 *   EINVAL    @addr is in no attachment, or @data is NULL
 */
long ssmem_write(void *addr, char *data);

/**
 * ssmem_read - copy a string out of a segment
 * @addr: where the string begins: an address within an attachment
 * @data: room for the string and its NUL. This is never more than the bytes from @addr to the
 *	segment's end, nor than SSMEM_STRING_MAX. If there is no NUL there, @data gets all of these
 *	bytes but the last, and a NUL
 *
 * Returns 0, or -1 with errno EINVAL: @addr is in no attachment, or @data is NULL.
 */
long ssmem_read(void *addr, char *data);

/**
 * ssmem_length - the rest of a segment's length
 * @addr: an address within an attachment
 *
 * Returns the bytes from @addr to the segment's end, or -1 with errno EINVAL: @addr is in no
 * attachment.
 */
long ssmem_length(void *addr);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif /* STM_SSMEM_H */
