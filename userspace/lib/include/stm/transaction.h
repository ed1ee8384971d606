/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transactions on the regions of stm/stm.h
 *
 * What. What a program reads and writes between stm_start and stm_commit happens for all other
 * processes at once, or not at all.
 *
 * Why. Locks do not compose: two correct functions that lock do not make one correct function. And
 * a process that is killed while it holds a lock leaves the data half changed. A transaction takes
 * no lock that could be left behind, and contains other transactions. If its process is killed,
 * nothing of it has happened.
 *
 * When to use it. Several processes or threads change shared structures, a change touches more than
 * one place, or a process may be killed at any time.
 *
 * When not to use it:
 *   - The code has effects outside of the region, such as output. A transaction may run several
 *     times before it is committed.
 *   - One counter or flag is all there is. An atomic variable in a plain region (STM_PLAIN) costs
 *     no system call; a transaction costs at least one.
 *   - All processes change the same few bytes all the time. Transactions then conflict and are
 *     repeated. A mutex, or a region with STM_MUTEX, wastes less work.
 *   - The data must survive a reboot. A region is memory.
 *
 * Example. Both loops add 10 to a number in the region of the handle fd. The second one does so in
 * a mapping of fd:
 *
 *	do {
 *		stm_start(fd);
 *		pread(fd, &balance, sizeof balance, 0);
 *		balance += 10;
 *		pwrite(fd, &balance, sizeof balance, 0);
 *	} while (stm_commit(fd));
 *
 *	do {
 *		stm_start(fd);
 *		account->balance += 10;
 *	} while (stm_commit(fd));
 *
 * A conflict with others is repeated by the loop. Where more than that can go wrong, write
 * while ((result = stm_try_commit(fd)) > 0), and look at the result.
 *
 * The rules follow, in sections. The functions come after them.
 *
 *
 * -- What belongs to a transaction --
 *
 * A transaction belongs to the thread that started it, and to the open file behind @fd. These are
 * part of it, when that thread does them:
 *
 *   - read, pread, readv, write, pwrite and writev on @fd;
 *   - loads and stores in the mappings of @fd.
 *
 * They give and take one consistent state of the region, with the transaction's own writes laid
 * over it. Nothing is visible to others before the commit.
 *
 *
 * -- Threads --
 *
 * Threads that only call read and write may share a handle. Threads that use mappings need a handle
 * each: each of them calls stm_open, not dup, and mmap for itself. It then is to the others what
 * another process is.
 *
 * The reason is that page tables belong to the process. While a thread has a transaction on a
 * mapped handle, all threads of the process see in the mappings of that handle what this
 * transaction sees and has stored, and what they store there becomes part of it. Another thread
 * cannot begin a transaction on that handle: its stm_try_start returns -1 with EBUSY, and its
 * stm_start calls abort().
 *
 *
 * -- Restarts --
 *
 * stm_start returns again, as setjmp does, when the transaction has to begin again:
 *
 *   - A read or write call finds that something read before has changed. That call does not return,
 *     so the program never sees the data.
 *   - The program runs on for long with data that cannot be committed any more, for example in an
 *     endless loop.
 *   - It gets SIGSEGV, SIGBUS, SIGFPE or SIGILL with such data.
 *   - It calls stm_retry or stm_wait.
 *
 * What the transaction wrote to the region is gone then. The file position of the handle is where
 * it was when the transaction first used it, by read, write or lseek. (The same holds when
 * stm_cancel ends the whole transaction, and when stm_commit returns 1. Threads and processes that
 * share an open file share its position.) Everything else is as the program left it.
 *
 * So the code between stm_start and stm_commit must be fit to run several times:
 *
 *   - It makes no output, takes no lock, and makes no allocation that the next attempt does not
 *     free.
 *   - It waits on no futex, mutex or semaphore in the region. A mutex there belongs into a plain
 *     region; in a mapping of a transactional one, the futex calls of a transaction fail with
 *     EFAULT, and the C library aborts the process. stm_wait waits for a change.
 *   - It calls no function that must not be left in the middle, such as malloc and printf. A
 *     restart can come at any instruction. Functions that a signal handler may call are right, and
 *     stm_defer_restarts allows all others.
 *
 *
 * -- The function that calls stm_start --
 *
 * The rules are those of setjmp.
 *
 * The function must not have returned when a restart comes. So stm_start stands in the function
 * that calls stm_commit, not in a function that wraps it, nor in a constructor. Where the thread's
 * stack pointer shows that the function has returned, a restart, and the next stm_start, print a
 * line on standard error and call abort(). Coroutines with stacks of their own may begin
 * transactions, and restarts may leave them.
 *
 * A local variable of the function that was changed since stm_start has an indeterminate value
 * after a restart, unless it is volatile:
 *
 *	int attempts = 0;		// wrong: may be 0, or anything, after a restart
 *	volatile int attempts = 0;	// right
 *	do {
 *		stm_start(fd);
 *		attempts = attempts + 1;
 *		...
 *	} while (stm_commit(fd));
 *
 * Two kinds of variable need nothing: those that are set before stm_start and not changed, and
 * those that are set after it before each use.
 *
 * In C++, no object with a destructor may be made between stm_start and a restart: the destructor
 * would not run.
 *
 * A transaction must be left by stm_commit, by stm_cancel, or by the end of the thread. After
 * stm_cancel, leave the loop with break. If the transaction is left by return or longjmp it goes
 * on, and what follows is taken for a part of it.
 *
 *
 * -- Nesting, and several descriptors --
 *
 * stm_start within a transaction of the same descriptor begins a nested part. stm_commit of the
 * part makes it belong to what is around it. stm_cancel undoes the part alone. A restart always
 * goes back to the outermost stm_start.
 *
 * A thread may have transactions on several descriptors at once. A restart of any of them goes back
 * to the stm_start of the one that began first, because only there can all of their work be done
 * again. Those that began later are cancelled. They are committed one by one, not together.
 *
 *
 * -- Signals: what the library does --
 *
 * The first stm_start of a process installs handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and
 * SIGURG. The kernel sends SIGURG to a transaction that cannot commit. SIGURG is ignored by default
 * and debuggers pass it on; a program that uses it has to expect it at any time anyway. So one that
 * comes too late does no harm, not even after exec.
 *
 * The program keeps its own signal handling. The library replaces sigaction, signal and their
 * relatives by functions of the same name. They record what the program wants for the five signals.
 * Whenever a signal is not about a doomed transaction the library does what the program wants, with
 * the program's flags, mask and alternate stack. In a child of vfork these functions do what libc's
 * do, for the child alone.
 *
 * While any handler of the program runs, a restart waits until it ends or is left by longjmp or
 * siglongjmp. A handler that leaves a transaction by siglongjmp has to cancel it.
 *
 * A fault within a transaction whose data is still valid is an error of the program. Its
 * transactions are cancelled. Then the program's own handler is called, or the process dies by that
 * signal at the faulting instruction. If the handler returns to the same instruction the
 * transaction begins again from stm_start. A fault in a handler of the program is always taken for
 * the program's own.
 *
 * A transaction that runs out of stack is restarted only if the thread has an alternate stack
 * (sigaltstack), and the program has no handler for SIGSEGV without SA_ONSTACK.
 *
 * The library replaces exec and its relatives as well. A program that is executed inherits what is
 * ignored and what is blocked as if this library were not there. This does not hold for
 * posix_spawn, system and popen: there, a signal of the five that is ignored has its default
 * action, and none of the five is blocked.
 *
 *
 * -- Signals: masks --
 *
 * No transaction begins with one of the five signals blocked. A start unblocks them and leaves them
 * unblocked; all other signals stay as they are. A restart gives the thread the mask back that it
 * had at stm_start.
 *
 * For that the library replaces pthread_sigmask, sigprocmask, sighold, sigrelse, sigset, sigblock
 * and sigsetmask. So a start makes a system call only if the program has changed the mask since the
 * start before. (If the library was loaded by dlopen, the program may find libc's functions first.
 * Then each start makes one.)
 *
 * Within a transaction these functions do not block the first four signals. A thread that blocks
 * SIGURG there gets EAGAIN from read and write instead of a restart.
 *
 *
 * -- Signals: limits --
 *
 * A handler can be installed past the library: by the system call itself, or by a library that
 * found libc's sigaction first because this one was loaded by dlopen. If it is for one of the five
 * signals, it takes the signal away from this library. If it is for another signal, a restart may
 * leave it as longjmp would.
 *
 * A mask can come past the library: by the system call itself, or when siglongjmp or setcontext
 * restores one from before the thread's first start. If it blocks one of the five signals, the next
 * load of doomed data kills the process.
 *
 * A signal handler may call none of the functions below except stm_reason_text, and must not leave
 * any of them by longjmp.
 *
 *
 * -- What it costs --
 *
 * Page faults. The first load in a transaction from a page of a mapping is a page fault, and so is
 * the first store. Therefore the pages that the last transactions from one call of stm_start
 * touched are mapped when the next one begins there, where that pays: a steady transaction has no
 * page fault, unless it loads from a single page. A function of the program that starts, calls what
 * it is given, and commits is one such place for all its callers: what their transactions have in
 * common is mapped. With STM_PREDICT=0 in the environment nothing is mapped.
 *
 * System calls. A transaction by loads and stores makes one, at its end, if its start has nothing
 * to do: no page is known to be touched again (see above), nothing was loaded from the mapping
 * since the last transaction, and there was no conflict before. The kernel does not know of such a
 * transaction until it has touched something. Until then it is not in the statistics, and poll
 * tells what was committed before it.
 *
 * Closing. For that the library has to know when a descriptor's number may have become another
 * file's. It replaces close, close_range and closefrom by functions that do what libc's do. A
 * descriptor of a region can be closed past them, by the system call itself or by fclose. While one
 * thread does so, no other thread may begin a transaction on a new descriptor.
 *
 *
 * -- Processes, versions, tools --
 *
 * After fork the child has no transaction. A child of vfork must call no function of this header.
 *
 * A module with an older minor version of the interface works. What it lacks costs system calls and
 * page faults. The functions of stm/stm.h refuse a module with another major version.
 *
 * A program built with -fsanitize=address or -fsanitize=thread runs as any other: the library tells
 * the sanitizers' runtimes of restarts.
 *
 * x86-64 only. The shadow stack (CET) is unwound as longjmp does.
 */
#ifndef STM_TRANSACTION_H
#define STM_TRANSACTION_H

#include <time.h>

#if defined(__GNUC__)
#define STM_RETURNS_TWICE __attribute__((returns_twice))
#else
#error "stm_start returns twice: the compiler must know an attribute for that"
#endif

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
/* As in stm/stm.h: two functions have the names of structures of stm/ioctl.h. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

struct stm_statistics; /* in stm/ioctl.h */
struct timespec;       /* time.h does not declare it in strict C99 */

/**
 * stm_start - begin a transaction, or a nested part of the running one
 * @fd: a handle of a transactional region
 *
 * Returns once for the call, and again for each restart.
 *
 * It can wait: after conflicts for a random, growing time, for the region's serial token, and in a
 * region of STM_MUTEX for its lock. It goes on waiting when a signal handler has run.
 *
 * It cannot return an error, and to go on without a transaction would be worse than to stop. So it
 * prints a line on standard error and calls abort()
 *   - when it cannot start: @fd is no handle of a transactional region, transactions are nested too
 *     deeply, or there is no memory;
 *   - when the transaction cannot go on: it touched more pages in mappings than allowed, or there
 *     is no memory for them.
 * stm_try_start() is for programs that handle such errors.
 */
void stm_start(int fd) STM_RETURNS_TWICE;

/**
 * stm_try_start - begin a transaction like stm_start, but report errors
 * @fd: a handle of a transactional region
 *
 * Returns 0 in a transaction. Returns -1 without one, and sets errno:
 *
 *	EBADF, ENOTTY	@fd is no handle
 *	EOPNOTSUPP	the region is plain
 *	E2BIG		transactions are nested too deeply
 *	EBUSY		the handle is mapped, and another thread of the process has a transaction
 *			on it
 *	EDEADLK		this thread has a transaction on another handle of the region, which must
 *			end first
 *	ENOMEM		no memory
 *	ENOSPC		more threads than the module allows have used this handle
 *	EAGAIN		the limit of stm_set_retry_limit() is reached
 *
 * It can also return -1 at a restart. And it does so after a load or store in a mapping that could
 * be given no page; the transaction is over then, and has no effect:
 *
 *	E2BIG		it touched more pages than the module's max_stripes allows
 *	ENOMEM		there is no memory for the page
 */
int stm_try_start(int fd) STM_RETURNS_TWICE;

/**
 * stm_commit, stm_try_commit - end the transaction, or its innermost part
 * @fd: the handle
 *
 * stm_commit returns 0 when everything that was written is visible to others, and only then. For a
 * part, 0 means that it belongs to the transaction now. Otherwise it returns 1 with errno, the
 * transaction is over, and nothing of it has happened.
 *
 * stm_try_commit returns 0 in the same case. It returns 1 with errno EAGAIN after a conflict:
 * another attempt does not have it, or not for long. It returns -1 with errno when another attempt
 * alone will not help:
 *
 *	E2BIG		the transaction, or a call in it, is larger than max_stripes allows
 *	ENOMEM		no memory
 *	ENOSPC		a write in it began behind the end of the region
 *	ECANCELED	it was over before: a stm_wait had returned, or the thread had closed its
 *			last descriptor of the file
 *	EDEADLK		another transaction of this thread, on another handle of the same region,
 *			must end first
 *	EINVAL		there is no transaction
 *	EBADF, ENOTTY	@fd is no handle
 *
 *	do {
 *		stm_start(fd);
 *		...
 *	} while ((result = stm_try_commit(fd)) > 0);
 *	if (result < 0)
 *		perror("...");
 *
 * Parts. A conflict in a part restarts the whole transaction.
 *
 * Deadlock. EDEADLK restarts as well, if another transaction of the thread was begun before. After
 * a few restarts that did not help, the other one fails: its stm_try_start returns -1 with EDEADLK,
 * or its stm_start prints a line on standard error that names both, and calls abort().
 *
 * Endless loops. A loop around stm_commit ends even if the program never looks at errno. Results of
 * 1 that are no conflicts are counted for the transactions that one call begins on one descriptor.
 * After a hundred in a row, the next stm_try_start there returns -1 with that errno. The next
 * stm_start, or stm_commit if there is no start, prints a line and calls abort(). Results of
 * stm_try_commit do not count.
 */
int stm_commit(int fd);
int stm_try_commit(int fd);

/**
 * stm_cancel - undo and end the transaction, or its innermost part
 * @fd: the handle
 *
 * Without a transaction it only sets errno: EINVAL (EBADF, ENOTTY: @fd is no handle).
 */
void stm_cancel(int fd);

/**
 * stm_retry - undo everything and begin again from the outermost stm_start
 * @fd: the handle
 *
 * Does not return. The transaction begins again at once; use stm_wait() to sleep until something
 * has changed. Without a transaction it prints a line on standard error and calls abort().
 */
void stm_retry(int fd);

/**
 * stm_wait - undo everything, sleep until something that was read changes, and begin again
 * @fd: the handle
 * @timeout: the longest time to sleep; NULL: no limit
 *
 * It begins again from the outermost stm_start. All of the thread's transactions are undone before
 * it sleeps, whatever handles they are on, so others can have what they held.
 *
 * It returns only if it does not begin again. Then it returns -1 with errno:
 *
 *	ETIMEDOUT	nothing has changed for that long
 *	EINTR		a signal handler without SA_RESTART has run. A handler with it, or a stop,
 *			neither ends nor prolongs the wait
 *	E2BIG, ENOMEM, ECANCELED	it could not be committed
 *	EDEADLK		it has read nothing, so nothing could end the wait
 *	EINVAL		@timeout is not a time, or there is no transaction
 *
 * After ETIMEDOUT and EINTR the transactions are over and have no effect. But what the thread reads
 * or writes by their handles still fails, with ECANCELED. This ends when the thread calls
 * stm_cancel or stm_commit there (which returns 1 with ECANCELED), or begins another transaction.
 * So a program that ignores the result does nothing outside of a transaction; one that looks at it
 * calls stm_cancel. After E2BIG, ENOMEM and ECANCELED the transaction is over as well.
 *
 * After EDEADLK and EINVAL the transaction goes on. (After EDEADLK, other transactions of the
 * thread may be over.) In the serial order of things nothing has happened.
 *
 * It is a cancellation point (pthread_cancel). A module before interface 1.3 ends the wait at each
 * signal, with EINTR, and lets the program go on without a transaction.
 */
int stm_wait(int fd, const struct timespec* timeout);

/**
 * stm_defer_restarts, stm_allow_restarts - bracket code that a restart must not interrupt
 *
 * Between the two calls the thread's transactions do not restart by themselves. This includes
 * transactions that begin there, on whatever handle. stm_defer_restarts may be the thread's first
 * call of this library. Calls nest. Both always succeed, and make no system call unless a restart
 * was due.
 *
 * A restart that was due happens in the last stm_allow_restarts, which then does not return. A
 * restart by stm_retry or stm_wait ends the brackets that were opened after the outermost
 * stm_start. Restarts that were held back at that stm_start are held back again.
 *
 * In between, a transaction can be doomed: it has read something old and will not commit. Then the
 * program sees this:
 *
 *	read, write on the handle	fail with EAGAIN
 *	a load from a mapping		gives what was loaded before; from a page that was not
 *					touched before, what was committed last. The two need not
 *					fit together; stm_validate() tells
 *	a store				goes nowhere
 *	stm_start, stm_try_start	begin a part, on the same handle, in which all this holds
 *	stm_commit of such a part	returns 0
 *	stm_commit of the whole		returns 1 with EAGAIN, and it is over
 *
 * So a program has to call stm_validate before it follows a pointer, or divides by a number, that
 * it loaded in between. A fault by such data is taken for the program's own, and cancels nothing.
 * If the program dies by it, a line on standard error says why. (A module before interface 1.3
 * gives such a load no page: SIGSEGV.)
 */
void stm_defer_restarts(void);
void stm_allow_restarts(void);

/**
 * stm_validate - check that all that the transaction has read is still valid
 * @fd: the handle
 *
 * Returns 0 if it was, at the time of the call. Otherwise returns -1 with errno:
 *
 *	EAGAIN		it is not, and the transaction cannot commit
 *	EINVAL		there is no transaction
 *	E2BIG, ENOMEM	a system call touched a page of a mapping that it could not be given; see
 *			stm_try_start()
 *
 * If the kernel noticed first, the transaction restarts and the call does not return.
 */
int stm_validate(int fd);

/**
 * stm_abort_reason - why this thread's transaction cannot commit, or why its last one ended
 * @fd: the handle
 *
 * Returns STM_REASON_* of stm/ioctl.h, or -1 with errno. If a transaction runs on @fd that cannot
 * commit, the result is its reason; otherwise it is that of the last one that ended there. 0,
 * STM_REASON_NONE, means that this was committed, or that there was none. A read or write call
 * outside of a transaction is a transaction, too: ask before the next one.
 */
int stm_abort_reason(int fd);

/**
 * stm_reason_text - a few words for a reason
 * @reason: STM_REASON_*
 *
 * Returns "unknown" for other numbers. Always succeeds.
 */
const char* stm_reason_text(int reason);

/**
 * stm_set_retry_limit - limit how often a transaction is attempted
 * @fd: a handle
 * @attempts: the number of attempts in a row that may fail; 0, the default: any number
 *
 * The limit holds for the calling thread and this descriptor number. Automatic restarts, stm_retry,
 * stm_wait and commits that return 1 count. A commit or cancel of the whole transaction begins to
 * count from zero again. When the limit is reached, stm_try_start() returns -1 with errno EAGAIN,
 * at the next call or at the restart, and the count begins from zero again. stm_start() knows no
 * limit.
 *
 * No limit is needed. The kernel waits between attempts. After some (module parameter serial_after,
 * 16) it lets no other commit pass, so the next attempt does not conflict.
 *
 * Returns 0, or -1 with errno: ENOMEM; EBADF: @fd is negative.
 */
int stm_set_retry_limit(int fd, unsigned attempts);

/**
 * stm_set_warm - keep the pages of a handle's mappings from one transaction to the next
 * @fd: a handle of a transactional region that may read
 * @warm: 1: they stay warm; 0: they do not, which is the default
 *
 * It holds for the descriptor's number until that is closed, and is inherited by fork. Each thread
 * notices at its next start.
 *
 * The pages that a transaction has loaded stay in the page table when it ends. The thread's next
 * start brings those up to date that have changed meanwhile. So a transaction that only loads, and
 * from pages that are there, has no page fault; and if nothing was committed since the last one, it
 * makes no system call, neither at its start nor at its end.
 *
 * What is isolated from what is the same. These are different:
 *
 *   - A load outside of transactions, from a page that is there, gives what was committed when the
 *     last transaction began or ended, and not what was committed last.
 *   - All pages that are there count as read. So a transaction that stores can conflict with
 *     another one which has changed a page that this one does not need. The attempt after a
 *     conflict therefore begins without pages.
 *   - For the same reason stm_wait() does not fail with EDEADLK if such pages are there: a change
 *     of one of them ends it.
 *   - Transactions without a system call are counted in the statistics later.
 *   - As long as the mappings are warm, the process has one mapping of the handle more.
 *
 * The pages are at most 128 for each thread and handle, and are charged to its memory cgroup. They
 * leave the mapping when the thread reads or writes by a call outside of transactions, or waits
 * (stm_wait), when another thread of the process begins a transaction on the handle, and after a
 * tenth of a second or so without a transaction. It is best used for a handle that one thread uses
 * again and again, for the same pages. Where others change many pages that this thread has loaded
 * once and does not need again, each start copies them, and a mapping that is not warm may be
 * quicker.
 *
 * With STM_WARM=1 in the environment all handles are warm on which the program begins transactions.
 *
 * A descriptor that is closed past this library (see "Closing" above) keeps the region in use until
 * its number is closed again, or made warm.
 *
 * Returns 0, or -1 with errno:
 *
 *	EBADF, ENODEV	@fd is no handle
 *	EACCES		the handle may not read
 *	EOPNOTSUPP	the region is plain, or the module is older than interface 1.7
 *	EMFILE		@fd is 4096 or more
 *	ENOMEM		no memory
 */
int stm_set_warm(int fd, int warm);

/**
 * stm_refresh - show in a warm mapping what is committed now
 * @fd: the handle
 *
 * For loads outside of transactions, in the thread that has the pages: they show what was committed
 * when the call began, or later. In a mapping that is not warm it changes nothing. In the
 * statistics it is a transaction that was cancelled.
 *
 * Returns 0, or -1 with errno:
 *
 *	EBADF, ENOTTY	@fd is no handle
 *	EOPNOTSUPP	the region is plain
 *	EBUSY		the thread, or another one of the process, has a transaction on it
 *	ENOMEM, ENOSPC, EDEADLK, ECANCELED	as stm_try_start()
 */
int stm_refresh(int fd);

/*
 * With STM_REPORT_ABORTS=N in the environment the library says on standard error, or in the file of
 * STM_REPORT_FILE, why a transaction was aborted N times in a row: docs/debugging.md.
 */

/**
 * stm_statistics - what the transactions of the handle's region did since its creation
 * @fd: a handle
 * @result: filled in; include <stm/ioctl.h> for its members
 *
 * Returns 0, or -1 with errno: EBADF, ENOTTY: @fd is no handle. EFAULT.
 */
int stm_statistics(int fd, struct stm_statistics* result);

#ifdef __cplusplus
#pragma GCC diagnostic pop
}
#endif
#pragma GCC visibility pop

#endif /* STM_TRANSACTION_H */
