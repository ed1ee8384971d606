/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads and writes at several offsets by one system call
 *
 * A transaction of <stm/transaction.h> that reads and writes by pread and pwrite makes a system
 * call for each. Here a call does several of them. What is to be read and written is a list of
 * pieces:
 *
 *	long from, to;
 *	const struct stm_piece loads[] = {
 *		stm_read_piece(offset_of_from, &from, sizeof from),
 *		stm_read_piece(offset_of_to, &to, sizeof to),
 *	};
 *	const struct stm_piece stores[] = {
 *		stm_write_piece(offset_of_from, &from, sizeof from),
 *		stm_write_piece(offset_of_to, &to, sizeof to),
 *	};
 *	do {
 *		stm_start(fd);
 *		if (stm_access(fd, loads, 2) < 0) {
 *			stm_cancel(fd);
 *			return -1;
 *		}
 *		from -= amount;
 *		to += amount;
 *	} while ((result = stm_access_and_commit(fd, stores, 2)) > 0);
 *
 * stm_read_piece() and stm_write_piece() make a piece of its offset in the region, memory of the
 * program, and a number of bytes, which may be 0.
 *
 * Without a transaction the pieces of a call are a transaction of their own: eight values are read
 * as they were at one moment by one system call.
 *
 * Threads, restarts and signals: as for pread and pwrite in <stm/transaction.h>. The module must
 * have interface 1.6 or later (otherwise ENOTTY).
 */
#ifndef STM_ACCESS_H
#define STM_ACCESS_H

#include <stddef.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct stm_piece - one read or write
 * @offset: of its first byte in the region
 * @memory: of the program: where a read puts the bytes, or a write finds them
 * @bytes: their number, less than 4 GiB; 0: the piece does nothing
 * @flags: 0: a read; STM_PIECE_IS_WRITTEN: a write
 */
struct stm_piece {
	unsigned long long offset;
	void *memory;
	unsigned int bytes;
	unsigned int flags;
};
#define STM_PIECE_IS_WRITTEN 0x1u

/* So many do not fit into a region, or are more than a transaction may touch. */
#define STM_PIECE_BYTES(bytes) ((bytes) > 0xffffffffu ? 0xffffffffu : (unsigned int)(bytes))

static inline struct stm_piece stm_read_piece(unsigned long long offset, void *to, size_t bytes)
{
	const struct stm_piece piece = {offset, to, STM_PIECE_BYTES(bytes), 0};

	return piece;
}

static inline struct stm_piece stm_write_piece(unsigned long long offset, const void *from,
					       size_t bytes)
{
	/* A write only reads its memory. */
	const struct stm_piece piece = {offset, (void *)(size_t)from, STM_PIECE_BYTES(bytes),
					STM_PIECE_IS_WRITTEN};

	return piece;
}

/**
 * stm_access - read and write at several offsets of a region
 * @fd: a handle of a transactional region
 * @pieces: done in this order; a read finds what the writes before it wrote
 * @count: their number, at most 1024
 *
 * All of them are part of the transaction that the thread has on @fd. If it has none, they are a
 * transaction of their own. Nothing is half done: there is no short result, and a piece that is not
 * all in the region is an error. Memory of a read must not overlap memory of another piece.
 * Otherwise it is not specified what is there in the end, or is written.
 *
 * Returns 0, or -1 with errno:
 *
 *	EBADF		@fd is no descriptor, or is not open for what a piece does
 *	ENOTTY		@fd is no handle, or the module is older
 *	EOPNOTSUPP	the region is plain
 *	EINVAL		a piece has a flag that is not known
 *	EFAULT		memory of a piece, or @pieces, cannot be read or written
 *	ENOSPC		a piece is not all in the region
 *	E2BIG		too many pieces, or more stripes than the module's max_stripes
 *	ENOMEM		no memory
 *	EAGAIN		a conflict, of a transaction that cannot restart now: see
 *			stm_defer_restarts()
 *	ECANCELED	the transaction is over: see stm_wait()
 *	EDEADLK		see stm_commit()
 *	EINTR		the process is being killed
 *
 * After an error of a piece the transaction is over, though it must still be ended: nothing of it
 * will happen. Memory of reads may have been changed.
 */
int stm_access(int fd, const struct stm_piece *pieces, unsigned int count);

/**
 * stm_begin_access - begin a transaction by its first reads and writes
 * @fd: a handle of a transactional region
 * @pieces: as for stm_access(), done at the beginning of the transaction
 * @count: their number, at most 1024
 *
 * This is for transactions that need no restart: nothing returns twice, no signal is sent, and
 * nothing is asked of the function that calls. A conflict is told by results alone. It costs less
 * than stm_start(), and other languages can call it.
 *
 *	do {
 *		if (stm_begin_access(fd, loads, 2) < 0)
 *			break;
 *		from -= amount;
 *		to += amount;
 *	} while ((result = stm_access_and_commit(fd, stores, 2)) > 0);
 *
 * As long as the pieces themselves conflict with others they are done again. If a later
 * stm_access() returns -1 with EAGAIN, the transaction cannot commit: end it by stm_cancel(), and
 * begin again. Loads and stores in mappings of @fd should not be a part of such a transaction,
 * because nothing stops them when it has read something old.
 *
 * The library does not know of such a transaction. So nothing that may run within it should call
 * stm_start() or stm_try_start() on @fd: in a transaction that cannot commit any more they would
 * begin another one in its place, and commit that alone.
 *
 * Returns 0 in a transaction. Otherwise -1 without one, with errno as for stm_access(), or
 *
 *	EBUSY		a transaction runs on @fd, or the handle is mapped, and another thread of
 *			the process has a transaction on it
 *	EINTR		a signal arrived while the call waited
 *	EINVAL		a piece has a flag that is not known, or the module is older than interface
 *			1.7
 */
int stm_begin_access(int fd, const struct stm_piece *pieces, unsigned int count);

/**
 * stm_access_and_commit - read and write at several offsets, and commit
 * @fd: a handle on which a transaction runs
 * @pieces: as for stm_access()
 * @count: their number, at most 1024
 *
 * It does what stm_access() does, and then ends the transaction, or its innermost part. These are
 * over in any case. After an error they have no effect, and after one in a part the transaction
 * around it cannot commit if a piece has failed.
 *
 * Returns what stm_try_commit() returns: 0 when it is committed; 1 with errno EAGAIN after a
 * conflict; -1 with an errno of stm_access() or stm_try_commit() when another attempt alone will
 * not help.
 */
int stm_access_and_commit(int fd, const struct stm_piece *pieces, unsigned int count);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif /* STM_ACCESS_H */
