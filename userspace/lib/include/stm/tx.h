/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transactions whose reads cost no system call, and whose commit costs one
 *
 * A program loads and stores by functions, at offsets in the region. A load reads the committed
 * bytes in the program's own address space, and checks them against the region's ownership records.
 * Stores are kept until the commit. A transaction that only reads makes no system call at all.
 * These transactions are isolated from all others of the region, whichever way those are made. One
 * transaction may use several regions, and takes effect in all of them or in none.
 *
 * In a region made with STM_DIRECT (<stm/stm.h>) the same program commits without a system call,
 * if the transaction uses this region alone and writes to no more than 101 stripes of 64 bytes. The
 * kernel finishes or undoes the commit of a process that is killed in the middle of it.
 *
 * This interface is for C, and for the bindings of other languages: no function returns twice, and
 * none of them leaves by a signal or longjmp. C++ programs use <stm/stm.hpp>, which is built on it.
 *
 *	stm_region *bank = stm_region_open("bank", 65536, STM_CREATE, 0600);
 *	stm_tx *tx = stm_tx_begin(bank, 0);
 *	do {
 *		long from, to;
 *		if (stm_tx_load(tx, bank, 0, &from, sizeof(from)) ||
 *		    stm_tx_load(tx, bank, 8, &to, sizeof(to)))
 *			continue;
 *		from -= 10;
 *		to += 10;
 *		if (stm_tx_store(tx, bank, 0, &from, sizeof(from)) ||
 *		    stm_tx_store(tx, bank, 8, &to, sizeof(to)))
 *			continue;
 *	} while (stm_tx_commit(tx) > 0);
 *
 * Results. 0 is success. A positive result is STM_TX_AGAIN: what the transaction has read has
 * changed, nothing that it does has an effect any more, and what the call was to load must not be
 * used. Every function gives this result then until stm_tx_commit() has given it, too; the
 * transaction has begun again with that. -1 is an error, with errno. A load, a store or a nested
 * part that fails is the end of the transaction, too: whatever follows fails with the same error,
 * and so does stm_tx_commit(). So a loop body only has to be left on every result that is not 0,
 * towards the call of stm_tx_commit().
 *
 * Memory. A load, and the commit to a direct region, may be the first to touch a page of the
 * region. If no memory is left for that the thread gets SIGBUS, as in any mapping.
 *
 * Threads. A region may be used by any number of threads. A transaction belongs to the thread that
 * began it; each thread has at most one at a time, and while it runs the thread begins no other
 * transactions on the same regions. A child made by fork may go on to use the regions of its
 * parent, but not a transaction that runs. No function may be called in a signal handler. One that
 * leaves a function by siglongjmp() has to be followed by stm_tx_cancel(), before anything else
 * here; if that was stm_tx_commit(), the transaction may have been committed nevertheless.
 *
 * Other languages. All that a foreign function interface needs are calls with numbers and
 * pointers; tests/world/languages has a bank in Python, Rust and Go. What their runtimes do besides
 * is for the program to mind:
 *   - A task that its runtime may move to another thread of the system (a goroutine, a virtual
 *     thread, an async function at each await) has to stay on one thread from stm_tx_begin() to the
 *     end of the transaction: runtime.LockOSThread() in Go.
 *   - A runtime's own signals (SIGURG in Go) may end a wait: -1 with EINTR from stm_tx_begin(),
 *     stm_tx_commit() or stm_tx_wait(). The transaction is over then, and is begun again.
 *   - An exception or panic that leaves the body has to call stm_tx_cancel(). None may pass through
 *     the functions of this header, which call none of the program's.
 *   - errno has to be read by the same thread, before the runtime calls anything else.
 *   - A runtime with threads of its own (Go, the JVM) cannot fork. It starts a program, which opens
 *     the region by its name.
 * The transactions of <stm/transaction.h> are impossible there: stm_start() returns twice, and a
 * restart leaves functions that the runtime believes to run. So are loads and stores by the
 * language's own references; <stm/stm.hpp> has these for C++ alone.
 */
#ifndef STM_TX_H
#define STM_TX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

typedef struct stm_region stm_region; /* a region that this process has attached */
typedef struct stm_tx stm_tx;	      /* a transaction of the calling thread */

/**
 * stm_region_open - open or create a region, and attach it
 * @name, @size, @flags, @mode: as for stm_open() in <stm/stm.h>; STM_PLAIN is refused
 *
 * Returns the region, or NULL with errno: those of stm_open(), and
 *   EOPNOTSUPP  the region is plain, or the module is older than this interface
 */
stm_region *stm_region_open(const char *name, size_t size, int flags, mode_t mode);

/**
 * stm_region_attach - attach the region of an open descriptor
 * @fd: a handle; it stays open, and is not used any more by this call's result
 *
 * Returns the region, or NULL with errno: EBADF, EOPNOTSUPP, ENOMEM, EMFILE.
 */
stm_region *stm_region_attach(int fd);

/**
 * stm_region_close - detach a region
 * @region: no transaction of this process uses it any more
 */
void stm_region_close(stm_region *region);

/**
 * stm_region_size - the bytes in a region
 */
size_t stm_region_size(const stm_region *region);

/**
 * stm_region_fd - the handle that the library uses
 *
 * It may be passed to poll(2), fchmod(2), stm_statistics() and so on.
 */
int stm_region_fd(const stm_region *region);

/**
 * stm_region_committed - a region's bytes as they are committed, mapped for reading
 *
 * For use outside of transactions: what is loaded there is no part of any, and two loads may see
 * two states. In a direct region the mapping is the one that commits store to: a store of the
 * program's own may go through, and breaks what others rely on.
 */
const void *stm_region_committed(const stm_region *region);

#define STM_TX_AGAIN 1

#define STM_TX_READ_ONLY 0x1 /* stores are refused (EROFS); long ones are quicker */
#define STM_TX_SERIAL 0x2    /* cannot conflict: holds the serial tokens of its regions */

/**
 * stm_tx_begin - begin a transaction of the calling thread
 * @region: a region that it uses; others join when they are first loaded from or stored to
 * @flags: STM_TX_*
 *
 * Makes no system call unless the thread begins its first transaction, or @flags has STM_TX_SERIAL.
 *
 * With STM_TX_SERIAL it holds the serial token of @region from now on (see STM_IOC_START in
 * <stm/ioctl.h>). When another region joins, the body has to be repeated once: tokens are taken in
 * a fixed order, all of them before the first load. A transaction that keeps a token for longer
 * than its lease may lose it, and conflict.
 *
 * With STM_TX_READ_ONLY, where only @region is used and is not direct: after a few conflicts in a
 * row the transaction gets a snapshot for which commits keep what they overwrite, and meets no
 * further one (see "Long readers" of STM_IOC_START). Loads of what has been overwritten since are
 * system calls then.
 *
 * Returns the transaction, or NULL with errno:
 *   EBUSY   the thread has a transaction already; or another one has the token by the same handle
 *   EINVAL  an unknown flag
 *   ENOMEM  no memory is left
 *   EINTR   a signal arrived while it waited for the serial token
 *   EDEADLK the thread holds the token by a transaction on another handle
 */
stm_tx *stm_tx_begin(stm_region *region, int flags);

/**
 * stm_tx_load - load bytes
 * @to: private memory
 *
 * Loads what the transaction has stored there, or else what is committed at its snapshot.
 *
 * Returns 0, STM_TX_AGAIN, or -1 with errno:
 *   ERANGE  not all of the bytes are in the region
 *   EFBIG   the transaction touches more than the library allows
 *   ENOMEM  no memory is left
 */
int stm_tx_load(stm_tx *tx, stm_region *region, uint64_t offset, void *to, size_t bytes);

/**
 * stm_tx_load_word - load an aligned word of 8 bytes
 * @offset: a multiple of 8
 *
 * The same as stm_tx_load(), but most of it is compiled into the program.
 */
static inline int stm_tx_load_word(stm_tx *tx, stm_region *region, uint64_t offset, uint64_t *to);

/**
 * stm_tx_view - what a transaction that only reads needs for a load
 *
 * With STM_TX_READ_ONLY this mostly stays the same from stm_tx_begin() or STM_TX_AGAIN to
 * stm_tx_commit(), so a compiler can keep it in registers. Its members are for the library.
 */
typedef struct stm_tx_view {
	stm_tx *tx;
	stm_region *region;
	const uint64_t *records;
	const unsigned char *data;
	uint64_t bound;
	uint64_t limit;
} stm_tx_view;

/**
 * stm_tx_view_of - get the view of the region with which a transaction began, for one attempt
 */
static inline stm_tx_view stm_tx_view_of(stm_tx *tx);

/**
 * stm_tx_view_load_word - the same as stm_tx_load_word(), by a view
 *
 * After another call has given STM_TX_AGAIN it may still succeed, with words of the same snapshot.
 */
static inline int stm_tx_view_load_word(const stm_tx_view *view, uint64_t offset, uint64_t *to);

/**
 * stm_tx_store - store bytes, at the commit
 * @from: private memory
 *
 * Returns 0, STM_TX_AGAIN, or -1 with errno: those of stm_tx_load(), and
 *   EROFS   the transaction is STM_TX_READ_ONLY, or the region was opened STM_RDONLY
 */
int stm_tx_store(stm_tx *tx, stm_region *region, uint64_t offset, const void *from, size_t bytes);

/**
 * stm_tx_store_word - store an aligned word of 8 bytes, at the commit
 * @offset: a multiple of 8
 *
 * The same as stm_tx_store(), but most of it is compiled into the program.
 */
static inline int stm_tx_store_word(stm_tx *tx, stm_region *region, uint64_t offset, uint64_t word);

/**
 * stm_tx_commit - end a transaction: make all of its stores visible at once
 *
 * After conflicts in a row it waits for a random, growing time before it begins again, and in the
 * end takes the serial token. So no transaction starves.
 *
 * Returns
 *   0   it is committed, and over
 *   STM_TX_AGAIN  it had no effect, and has begun again: repeat the body
 *   -1  it had no effect, and is over; errno is EFBIG, ENOMEM, ENOSPC or EINTR, or what a load or a
 *       store has failed with
 */
int stm_tx_commit(stm_tx *tx);

/**
 * stm_tx_restart - begin again from the body's first line, as after a conflict but at once
 */
void stm_tx_restart(stm_tx *tx);

/**
 * stm_tx_cancel - end a transaction without an effect
 */
void stm_tx_cancel(stm_tx *tx);

/**
 * stm_tx_wait - undo everything, sleep until something that was read changes, and begin again
 * @timeout_ns: nanoseconds at most, or negative: no limit
 *
 * Returns STM_TX_AGAIN: repeat the body. Or -1, and the transaction is over, with errno:
 *   ETIMEDOUT  nothing changed for that long
 *   EINTR      a signal arrived
 *   EDEADLK    the transaction has loaded nothing, so nothing could end the wait
 */
int stm_tx_wait(stm_tx *tx, int64_t timeout_ns);

/**
 * stm_tx_valid - whether everything that was loaded is still valid
 *
 * For long computations between loads. Returns 1 or 0; after 0 every other function gives
 * STM_TX_AGAIN.
 */
int stm_tx_valid(stm_tx *tx);

/**
 * stm_tx_nest, stm_tx_merge, stm_tx_undo - a part of a transaction that can be undone alone
 *
 * Closed nesting: stm_tx_nest() begins a part. stm_tx_merge() makes it part of what is around it;
 * stm_tx_undo() forgets what was stored since it began. What was loaded in it stays in the read
 * set, also for stm_tx_wait(), which ends all parts.
 *
 * stm_tx_nest() returns 0, or -1 with errno:
 *   ENOMEM  no memory is left
 *   EFBIG   parts are nested too deeply
 */
int stm_tx_nest(stm_tx *tx);
void stm_tx_merge(stm_tx *tx);
void stm_tx_undo(stm_tx *tx);

/**
 * stm_tx_current - the running transaction of the calling thread, or NULL
 */
stm_tx *stm_tx_current(void);

/**
 * stm_tx_conflicts - how many attempts of this transaction have ended in a conflict so far
 */
unsigned stm_tx_conflicts(const stm_tx *tx);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#include <stm/detail/load_word.h>
#include <stm/detail/store_word.h>

#endif /* STM_TX_H */
