/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Simple shared memory: segments that are found by name, mapped where there is room, and that carry strings.
 *
 * A segment is a plain region (stm/stm.h) named "ssmem:" and the segment's name, mode 0666 less the umask. It holds
 * zeros at first and is destroyed with its last attachment in any process: when that is detached, or its process ends,
 * is killed or calls exec. A child made by fork has what its parent had attached. Names are compared in full.
 *
 * Any thread may call these functions; signal handlers may not. They return -1 and set errno on an error, and have
 * then changed nothing. Besides what is listed, the errors of stm/stm.h for a missing or unsuitable module.
 */
#ifndef STM_SSMEM_H
#define STM_SSMEM_H

#include <stddef.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

#define SSMEM_FLAG_READ 0   /* map read-only: what every attachment may do */
#define SSMEM_FLAG_CREATE 1 /* create the segment when there is none of this name */
#define SSMEM_FLAG_WRITE 2  /* map read-write, and allow ssmem_write */
#define SSMEM_FLAG_EXEC 4   /* map executable; with CREATE, a new segment allows that */

/* Bytes, with the terminating NUL, of the longest string that ssmem_write and ssmem_read move. */
#define SSMEM_STRING_MAX 262144

/**
 * ssmem_attach - map a segment
 * @name: its name, 1 to 249 bytes
 * @flag: SSMEM_FLAG_*. An attachment is never writable and executable at once: WRITE with EXEC is allowed only with
 *	CREATE, and then means a segment that may be executed, mapped here for writing its code
 * @length: bytes of a new segment, at least 1; rounded up to whole pages. An existing segment has its own length,
 *	larger or smaller, and is mapped whole
 *
 * A process may attach a segment several times, at as many addresses.
 *
 * Returns the address, or -1 with errno: ENOENT: there is no such segment, and no CREATE. EINVAL: @name is NULL or
 * empty, @length is 0, an unknown flag, WRITE with EXEC without CREATE. ENAMETOOLONG: @name has more than 249 bytes.
 * EACCES: its mode forbids it, or EXEC of a segment that was not created with it. EFBIG, ENOSPC: a limit of the module.
 */
long ssmem_attach(char *name, int flag, size_t length);

/**
 * ssmem_detach - unmap a segment; the last to do so destroys it
 * @addr: what ssmem_attach returned
 *
 * Returns 0, or -1 with errno EINVAL: nothing is attached there.
 */
long ssmem_detach(void *addr);

/**
 * ssmem_write - copy a string into a segment
 * @addr: where: an address within an attachment
 * @data: the string; it is stored with its terminating NUL
 *
 * No ssmem_read of the segment, in any process, sees a part of it only, and no writer waits forever behind readers.
 *
 * Returns 0, or -1 with errno: EMSGSIZE: the string does not fit between @addr and the segment's end, or is longer than
 * SSMEM_STRING_MAX; nothing was written. EACCES: attached without WRITE. EINVAL: @addr is in no attachment, or @data
 * is NULL.
 */
long ssmem_write(void *addr, char *data);

/**
 * ssmem_read - copy a string out of a segment
 * @addr: where it begins: an address within an attachment
 * @data: where to: room for the string and its NUL, which is never more than the bytes from @addr to the segment's end
 *	nor than SSMEM_STRING_MAX. A segment without a NUL there gives all of these bytes but the last, then a NUL
 *
 * Returns 0, or -1 with errno EINVAL: @addr is in no attachment, or @data is NULL.
 */
long ssmem_read(void *addr, char *data);

/**
 * ssmem_length - how long a segment is
 * @addr: an address within an attachment
 *
 * Returns the bytes from @addr to the segment's end, or -1 with errno EINVAL: @addr is in no attachment.
 */
long ssmem_length(void *addr);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif /* STM_SSMEM_H */
