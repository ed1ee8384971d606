/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transactions on the regions of stm/stm.h: what a program reads and writes between stm_start and stm_commit happens for
 * all other processes at once, or not at all.
 *
 *	do {
 *		stm_start(fd);
 *		pread(fd, &balance, sizeof balance, 0);
 *		balance += 10;
 *		pwrite(fd, &balance, sizeof balance, 0);
 *	} while (stm_commit(fd));
 *
 * (Where more can go wrong than a conflict with others: while ((result = stm_try_commit(fd)) > 0), and look at the result.)
 *
 * A transaction belongs to the thread that started it and to the open file behind @fd. Inside it, read, pread, readv
 * and write, pwrite, writev on @fd give and take one consistent state of the region, with the transaction's own writes
 * over it. Nothing is visible to others before the commit.
 *
 * In mappings: a handle for each thread. Threads that only call read and write may share one. But page tables belong to the
 * process: while a thread has a transaction on a handle that is mapped, all threads of the process see, in the mappings of
 * that handle, what this transaction sees and has stored, and what they store there becomes a part of it. And another thread
 * cannot begin one on that handle: stm_try_start returns -1 with EBUSY, stm_start calls abort(). So each thread that uses
 * mappings calls stm_open, not dup, and mmap for itself; then it is to the others as another process is.
 *
 *
 * Restarts
 *
 * stm_start returns again, as setjmp does, when the transaction has to begin anew: when a read or write call finds that
 * what was read before has changed (that call does not return then; the program never sees the data), when the program
 * does something for long that cannot be committed any more (an endless loop on old data), when it gets SIGSEGV, SIGBUS,
 * SIGFPE or SIGILL with such data, or calls stm_retry or stm_wait. What the transaction wrote to the region is gone then,
 * and the file position of the handle is where it was when the transaction first used it, by read, write or lseek. (So it is
 * when stm_cancel ends the whole transaction, and when stm_commit returns 1. Who shares an open file shares its position.)
 * Everything else is as the program left it, so what is between stm_start and stm_commit must be fit to be done several
 * times: no output, no allocation that is not freed at the next start, no lock. And since a restart may come at any
 * instruction, it must not call functions that may not be left in the middle, as malloc and printf may not (those that a
 * signal handler may call are right), unless between stm_defer_restarts and stm_allow_restarts.
 *
 * The rules are those of setjmp. The function that called stm_start must not have returned: so stm_start stands in the
 * function that calls stm_commit, not in one of its own that wraps it, or in a constructor. Where the thread's stack pointer
 * shows that it has returned, a restart, and the next stm_start, print a line that says so on standard error and call
 * abort(). Coroutines with stacks of their own may begin transactions, and be left by restarts. A local variable of it that
 * was changed since stm_start has an indeterminate value after a restart, unless it is volatile:
 *
 *	int attempts = 0;		// wrong: may be 0, or anything, after a restart
 *	volatile int attempts = 0;	// right
 *	do {
 *		stm_start(fd);
 *		attempts = attempts + 1;
 *		...
 *	} while (stm_commit(fd));
 *
 * Variables that are set before stm_start and not changed, or set anew after it before they are used, need nothing. In
 * C++ no object with a destructor may be made between stm_start and a restart: it would not be run.
 *
 * A restart of several transactions. stm_start within a transaction of the same descriptor begins a part of it (nesting):
 * stm_commit of the part makes it belong to what is around it, stm_cancel undoes the part alone, and a restart always
 * goes back to the outermost stm_start. When a thread has transactions on several descriptors at once, a restart of any
 * of them goes back to the stm_start of the one that it started first, and those begun later are cancelled: only there all
 * of what they did can be done again. They are committed one by one, not together.
 *
 * A transaction must be left by stm_commit, stm_cancel or the thread's end. Left by return or longjmp it goes on, and
 * what follows is taken for a part of it. After stm_cancel the loop must be left with break.
 *
 *
 * Signals
 *
 * The first stm_start of a process installs handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGURG. SIGURG is what the
 * kernel sends to a transaction that cannot commit. It is ignored by default, is passed over by debuggers, and a program
 * that uses it has to expect it at any time anyway, so one that comes too late does no harm, not even after exec.
 *
 * No transaction begins with one of these five blocked, whatever the thread has blocked before: a start unblocks them, and
 * leaves them so; the others stay blocked. It makes no system call for that unless the program has changed the mask since
 * the start before: pthread_sigmask, sigprocmask, sighold, sigrelse, sigset, sigblock and sigsetmask are replaced by
 * functions of this library. (Where the program finds libc's first, since this library was loaded by dlopen, each start
 * makes one.) Within a transaction these do not block the first four; and a thread that blocks SIGURG there
 * gets EAGAIN from read and write instead of a restart. A restart gives the thread the mask back that it had at stm_start.
 *
 * The program keeps its own signal handling. sigaction, signal and their relatives are replaced by functions of the same
 * name in this library, which record what the program wants for these five signals and do it whenever a signal is not
 * about a doomed transaction, with the program's flags, mask and alternate stack. While any handler of the program runs a
 * restart waits for its end, or until it is left by longjmp or siglongjmp. In a child of vfork they are what libc's are,
 * for the child alone.
 *
 * exec and its relatives are replaced as well: a program that is executed inherits what is ignored and what is blocked as
 * if this library were not there. (Not by posix_spawn, system and popen: there, a signal of the five that is ignored is at
 * its default, and none of them is blocked.)
 *
 * A fault inside of a transaction with data that is still valid is an error of the program: its transactions are
 * cancelled, and then the program's own handler
 * is called, or the process dies by that signal at the faulting instruction. When such a handler returns to the same
 * instruction, the transaction is begun again from stm_start. A transaction that runs out of stack is restarted only if the
 * thread has an alternate stack (sigaltstack) and no own handler for SIGSEGV without SA_ONSTACK.
 *
 * Limits. A program that installs a handler past these functions (the system call itself, or from a library that found
 * libc's sigaction first because this library was loaded by dlopen) takes the signal away from this library, or, if it
 * is for another signal, may be left by a restart as by longjmp. A mask that blocks these signals and comes past them (by
 * the system call itself, or back from before the thread's first start by siglongjmp or setcontext) kills at the next
 * load of doomed data. A fault in a handler of the program is always taken for the program's own. None of the functions
 * below may be called by a signal handler, or
 * be left by longjmp out of one, except stm_reason_text. A handler that leaves a transaction by siglongjmp has to cancel it.
 *
 * Page faults. The first load from a page of a mapping in a transaction, and the first store, is a page fault. So the
 * pages that the last transactions begun by the same call of stm_start touched are mapped when the next one begins: a steady
 * one has no fault. A function of the program that starts, calls what it is given and commits is one such place for all; what they have
 * in common is mapped. With STM_PREDICT=0 in the environment nothing is.
 *
 * System calls. A transaction that touches what it touches by loads and stores makes one, at its end, if there is nothing to
 * be done at its start: no pages that are known to be touched again (see above), nothing loaded from the mapping since the
 * last one, no conflict before. Until it has touched something, the kernel does not know of it: it is not in the statistics
 * yet, and poll tells what was committed before it. So this library has to know when a descriptor's number may have become
 * another file's: close, close_range and closefrom are replaced by functions of it, which do what libc's do. While one thread
 * closes a descriptor of a region past them (by the system call itself, by fclose), no other may begin a transaction on a
 * new one. In the child of vfork no function of this header may be called.
 *
 * Other versions. A module of an older minor version of the interface is made do with: what it lacks costs system calls and
 * page faults. One of another major version is refused by the functions of stm/stm.h.
 *
 * Sanitizers. A program that is built with -fsanitize=address or -fsanitize=thread runs as any other: their runtime
 * libraries are told of restarts.
 *
 * fork: the child has no transaction. x86-64 only. The shadow stack (CET) is unwound as longjmp does.
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
/* As in stm/stm.h: two functions are called as structures of stm/ioctl.h are. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/* What stm_statistics() fills: see stm/ioctl.h. */
struct stm_statistics;
struct timespec; /* which time.h keeps to itself in strict C99 */

/**
 * stm_start - begin a transaction, or a part of the one that runs
 * @fd: a handle of a transactional region
 *
 * Returns once for the call, and again for each restart. It can wait: after conflicts for a random, growing time, for
 * the region's serial token, in a region of STM_MUTEX for its lock. It goes on waiting when a signal handler has run.
 *
 * There is no error for it to return, and to go on without a transaction would be worse than to stop. So it prints a
 * line on standard error and calls abort() when it cannot start: @fd is no handle of a transactional region, nested
 * too deeply, no memory; or go on: more pages touched in mappings than allowed, no memory for them. stm_try_start() is for programs that want to know.
 */
void stm_start(int fd) STM_RETURNS_TWICE;

/**
 * stm_try_start - as stm_start, but it tells
 * @fd: a handle of a transactional region
 *
 * Returns 0 in a transaction, or -1 without one, with errno: EBADF, ENOTTY: no handle. EOPNOTSUPP: a plain region.
 * E2BIG: nested too deeply. EBUSY: the handle is mapped, and another thread of the process has a transaction on it. EDEADLK:
 * this thread has one on another handle of the region, which must end first. ENOMEM, ENOSPC: out of memory, or more threads than the module allows on this handle. EAGAIN:
 * the limit of stm_set_retry_limit() is reached. A restart, too, may return -1; and so may a load or a store in a mapping,
 * after which the transaction is over and has no effect: E2BIG: it touched more pages than the module's max_stripes
 * allows. ENOMEM: there is no memory for the page.
 */
int stm_try_start(int fd) STM_RETURNS_TWICE;

/**
 * stm_commit, stm_try_commit - end the transaction, or the innermost part of it
 * @fd: the handle
 *
 * stm_commit returns 0 when everything that was written is visible to others (of a part: when it belongs to the transaction
 * now), and only then. Otherwise 1, with errno, the transaction is over, and nothing of it has happened.
 *
 * stm_try_commit returns 0 in the same case; 1 when it is worth trying again, with errno EAGAIN: a conflict, which another
 * attempt does not have, or not for long; or -1, with errno, when trying again alone will not help:
 *
 *	E2BIG	larger than the module's limits allow (max_stripes), in what it touched or in a call within it
 *	ENOMEM	no memory
 *	ENOSPC	a write in it began behind the end of the region
 *	ECANCELED	it was over before: a stm_wait had returned, or the thread had closed its last descriptor of it
 *	EDEADLK	another transaction of this thread, on another handle of the same region, must end first
 *	EINVAL	there is no transaction
 *	EBADF, ENOTTY	@fd is no handle
 *
 *	do {
 *		stm_start(fd);
 *		...
 *	} while ((result = stm_try_commit(fd)) > 0);
 *	if (result < 0)
 *		perror("...");
 *
 * In a part a conflict restarts the whole transaction. EDEADLK does so as well, if another transaction of the thread was
 * begun before; where that does not help, a few times, that one cannot be: its stm_try_start returns -1 with EDEADLK, its
 * stm_start prints a line on standard error, which names both, and calls abort().
 *
 * A loop around stm_commit that asks for no reason ends nevertheless: after a hundred results of 1 in a row that are no
 * conflicts, of transactions begun by one call on one descriptor, the next stm_try_start there returns -1 with that errno,
 * and the next stm_start, or stm_commit if there is none, prints a line and calls abort(). What stm_try_commit returns is
 * not counted.
 */
int stm_commit(int fd);
int stm_try_commit(int fd);

/**
 * stm_cancel - undo the transaction, or the innermost part of it, and end that
 * @fd: the handle
 *
 * Without a transaction it does nothing but set errno to EINVAL (EBADF, ENOTTY).
 */
void stm_cancel(int fd);

/**
 * stm_retry - undo everything and begin again from the outermost stm_start
 * @fd: the handle
 *
 * Does not return. Begins at once; to sleep until there is something new use stm_wait(). Without a transaction it
 * prints a line on standard error and calls abort().
 */
void stm_retry(int fd);

/**
 * stm_wait - undo everything, sleep until something that was read changes, and begin again from the outermost stm_start
 * @fd: the handle
 * @timeout: the longest time to sleep; NULL: no limit
 *
 * All of the thread's transactions are undone before it sleeps, whatever handles they are on, so others get what they held.
 *
 * Returns only when it does not begin again: -1 with errno. ETIMEDOUT. EINTR: a signal handler without SA_RESTART has run; one
 * with it, or a stop, neither ends nor prolongs the wait. The transactions are over then, and have no effect; but what the
 * thread reads or writes by their handles still fails, with ECANCELED, until it calls stm_cancel or stm_commit (which returns 1
 * with ECANCELED) or begins another one there. So a program that does not look at the result does nothing without a
 * transaction; one that does calls stm_cancel. E2BIG, ENOMEM, ECANCELED: it could not be committed, and is over as well.
 *
 * Or the transaction goes on: EDEADLK: it has read nothing, so nothing could end the wait (where the thread has others, they
 * may be over). EINVAL: not a time (or there is no transaction). In the serial order of things nothing has happened.
 *
 * It is a cancellation point (pthread_cancel). A module before interface 1.3 ends the wait at each signal, with EINTR, and
 * lets the program go on without a transaction.
 */
int stm_wait(int fd, const struct timespec* timeout);

/**
 * stm_defer_restarts, stm_allow_restarts - do something that a restart must not interrupt
 *
 * Between the two calls the thread's transactions do not restart by themselves, also those that begin there, on whatever
 * handle; the first call may be the first that the thread makes of all. A restart that was due happens in the
 * stm_allow_restarts that ends the last one, which does not return then. Calls nest. A restart (by stm_retry or stm_wait,
 * too) ends those that came after the outermost stm_start; what was held back there is held back again. Always succeed. No
 * system call is made, unless a restart was due.
 *
 * In between a transaction can be doomed: it has read something old, and will not commit. What the program sees then:
 *
 *	read and write on the handle	fail with EAGAIN
 *	a load from a mapping		gives what was loaded before, or from a page that was not touched before, what
 *					was committed last: the two need not fit together. stm_validate() tells
 *	a store				goes nowhere
 *	stm_start, stm_try_start	begin a part, on the same handle, in which it is as around it
 *	stm_commit of such a part	0; of the whole transaction: 1 with EAGAIN, and it is over
 *
 * So a program that follows a pointer or divides by a number which it loads in between has to call stm_validate first. A
 * fault by such data is taken for the program's own (and cancels nothing); if it dies by that, a line on standard error
 * says why. (A module before interface 1.3 gives such a load no page: SIGSEGV.)
 */
void stm_defer_restarts(void);
void stm_allow_restarts(void);

/**
 * stm_validate - is all that the transaction has read still valid?
 * @fd: the handle
 *
 * Returns 0: it was, at the time of the call. -1 with errno: EAGAIN: it is not, and the transaction cannot commit.
 * EINVAL: there is no transaction. E2BIG, ENOMEM: a system call could not touch a page of a mapping for it, as in
 * stm_try_start(). If the kernel was first to notice, the transaction restarts and the call does not return.
 */
int stm_validate(int fd);

/**
 * stm_abort_reason - why this thread's transaction on @fd cannot commit, or else, why the last one that ended did
 * @fd: the handle
 *
 * Returns STM_REASON_* of stm/ioctl.h (0, STM_REASON_NONE: it was committed, or there was none), or -1 with errno. A read or
 * write call outside of a transaction is a transaction, too: ask before the next one.
 */
int stm_abort_reason(int fd);

/** stm_reason_text - a few words for STM_REASON_*; "unknown" for other numbers. Always succeeds. */
const char* stm_reason_text(int reason);

/**
 * stm_set_retry_limit - how often a transaction may be attempted
 * @fd: a handle
 * @attempts: so many in a row may fail; 0, the default: any number
 *
 * For the calling thread and this descriptor number. Counted are automatic restarts, stm_retry, stm_wait and commits
 * that return 1; a commit or cancel of the whole transaction begins anew. When the limit is reached stm_try_start(), at
 * the next call or at the restart, returns -1 with errno EAGAIN, and counts from zero again. stm_start() knows no limit.
 * There is no need for one: the kernel waits between attempts and, after some (module parameter serial_after, 16), lets no
 * other commit pass, so that the next attempt does not conflict.
 *
 * Returns 0, or -1 with errno ENOMEM; EBADF: @fd is negative.
 */
int stm_set_retry_limit(int fd, unsigned attempts);

/**
 * stm_statistics - what the transactions of the handle's region did since its creation
 * @fd: a handle
 * @result: filled in; include <stm/ioctl.h> for its members
 *
 * Returns 0, or -1 with errno EBADF, ENOTTY, EFAULT.
 */
int stm_statistics(int fd, struct stm_statistics* result);

#ifdef __cplusplus
#pragma GCC diagnostic pop
}
#endif
#pragma GCC visibility pop

#endif /* STM_TRANSACTION_H */
