/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What the stm module and user space agree on.
 *
 * Every request takes a pointer to a structure whose first member, `size`, is the size in bytes that the caller
 * knows. A structure may grow: a newer kernel reads a shorter one as if the rest were zero; an older kernel accepts a
 * longer one only when the rest is zero (E2BIG otherwise). All members have a fixed width and their natural alignment,
 * so a 32-bit caller needs no translation. Unknown flags are refused with EINVAL. A request that fails has changed
 * nothing.
 *
 * Errors that every request can give:
 *   ENOTTY  the request is unknown to this module
 *   EFAULT  the structure, or memory that it points to, cannot be read or written
 *   EINVAL  `size` is smaller than the first version of the structure, a flag or reserved member is not zero
 *   E2BIG   the structure is longer than this module knows and the unknown part is not zero
 *   ENOMEM  the kernel has no memory left for it
 *   EINTR   a fatal signal came while it waited
 */
#ifndef STM_IOCTL_H
#define STM_IOCTL_H

#ifndef STM_KERNEL_CORE /* the freestanding core supplies the same types itself */
#include <linux/ioctl.h>
#include <linux/types.h>
#endif

/* The version of this interface. Another major version is another interface; a minor version only adds. */
#define STM_ABI_MAJOR 1
#define STM_ABI_MINOR 3

/* Size in bytes of a region's name with its terminating NUL. A name is any non-empty string that fits. */
#define STM_NAME_SIZE 256

#define STM_IOC_TYPE 0xBD

#define STM_IOC_VERSION _IO(STM_IOC_TYPE, 0x00)
#define STM_IOC_OPEN _IO(STM_IOC_TYPE, 0x01)
#define STM_IOC_SET_SIZE _IO(STM_IOC_TYPE, 0x02)
#define STM_IOC_INFO _IO(STM_IOC_TYPE, 0x03)
#define STM_IOC_ATTACHMENTS _IO(STM_IOC_TYPE, 0x04)
#define STM_IOC_DESTROY _IO(STM_IOC_TYPE, 0x05)

#define STM_IOC_START _IO(STM_IOC_TYPE, 0x10)
#define STM_IOC_COMMIT _IO(STM_IOC_TYPE, 0x11)
#define STM_IOC_CANCEL _IO(STM_IOC_TYPE, 0x12)
#define STM_IOC_VALIDATE _IO(STM_IOC_TYPE, 0x13)
#define STM_IOC_WAIT _IO(STM_IOC_TYPE, 0x14)
#define STM_IOC_TRANSACTION _IO(STM_IOC_TYPE, 0x15)
#define STM_IOC_STATISTICS _IO(STM_IOC_TYPE, 0x16)
#define STM_IOC_CELL _IO(STM_IOC_TYPE, 0x17)

/* What a region is, from its creation on. */
#define STM_REGION_PLAIN 0x1	 /* ordinary shared memory: no transactions, mapped read-write */
#define STM_REGION_MUTEX 0x2	 /* transactions take the region's lock instead of being optimistic */
#define STM_REGION_EPHEMERAL 0x4 /* destroyed with its last user */
#define STM_REGION_EXEC 0x8	 /* may be mapped PROT_EXEC, never together with PROT_WRITE; needs PLAIN */
#define STM_REGION_FLAGS 0xf

/**
 * struct stm_version - STM_IOC_VERSION: the module's interface and limits
 * @size: sizeof(struct stm_version)
 * @flags: 0
 * @abi_major: out: STM_ABI_MAJOR of the module
 * @abi_minor: out: STM_ABI_MINOR of the module
 * @device_major: out: major number of the driver's device nodes
 * @page_size: out: bytes in a page
 * @max_regions: out: how many regions there may be
 * @regions: out: how many there are
 * @max_region_bytes: out: largest size of one region in bytes
 * @max_bytes: out: largest sum of all regions' sizes in bytes
 * @bytes: out: sum of all regions' sizes in bytes
 * @resident_bytes: out: bytes that have been touched and so occupy memory
 * @max_user_regions: out: how many regions one user may own
 * @max_user_bytes: out: largest sum of the sizes of one user's regions in bytes
 */
struct stm_version {
	__u32 size;
	__u32 flags;
	__u32 abi_major;
	__u32 abi_minor;
	__u32 device_major;
	__u32 page_size;
	__u32 max_regions;
	__u32 regions;
	__aligned_u64 max_region_bytes;
	__aligned_u64 max_bytes;
	__aligned_u64 bytes;
	__aligned_u64 resident_bytes;
	__u32 max_user_regions;
	__u32 reserved;
	__aligned_u64 max_user_bytes;
};

#define STM_OPEN_READ 0x1    /* the handle may read and map for reading */
#define STM_OPEN_WRITE 0x2   /* the handle may write; a mapping needs READ as well */
#define STM_OPEN_CREATE 0x4  /* create the region when there is none of that name */
#define STM_OPEN_EXCL 0x8    /* with CREATE: fail with EEXIST when there is one */
#define STM_OPEN_CLOEXEC 0x10 /* the descriptor is closed by exec */
#define STM_OPEN_BY_ID 0x20  /* @id names the region, not @name; not with CREATE */
#define STM_OPEN_FLAGS 0x3f

/**
 * struct stm_open - STM_IOC_OPEN: open a region, or create it; the result is a new file descriptor, its handle
 * @size: sizeof(struct stm_open)
 * @flags: STM_OPEN_*; READ or WRITE must be among them
 * @region_size: in: bytes wanted, rounded up to pages; 0 takes what an existing region has, or the module's
 *	default_size for a new one. out: the region's size in bytes
 * @id: in with BY_ID; out: the region's id
 * @region_flags: in with CREATE: STM_REGION_* of a new region; out: the region's own
 * @mode: in with CREATE: permission bits of a new region, the caller's umask is applied; out: the region's own
 * @minor: out: minor number of the device node that stands for the region
 * @reserved: 0
 * @name: in without BY_ID: the region's name, NUL terminated; compared in full
 *
 * A new region belongs to the caller's file system uid and gid. An existing one is opened with the rules of a file:
 * its owner, group and mode decide (and may be changed by fchmod and fchown on the new descriptor; on a device node they
 * change the node). A region that was born by opening a device node has that node's owner and mode.
 *
 * ENOENT: no such region and no CREATE. EEXIST: with EXCL. EACCES: the mode forbids it, or a size is to be given to a
 * region that has none without WRITE. EINVAL: empty name, more bytes than the existing region has, EXEC without PLAIN,
 * MUTEX with PLAIN, CREATE with a name that begins with "minor:" (those are of regions that device nodes made).
 * ENAMETOOLONG: no NUL within @name. EFBIG: larger than max_region_bytes. ENOSPC: a limit on the number or bytes of
 * regions, of all or of this user, is reached. ESTALE: @id is of a region that is gone, or has lost its name. EMFILE, ENFILE: too many open
 * files.
 */
struct stm_open {
	__u32 size;
	__u32 flags;
	__aligned_u64 region_size;
	__aligned_u64 id;
	__u32 region_flags;
	__u32 mode;
	__u32 minor;
	__u32 reserved;
	char name[STM_NAME_SIZE];
};

/**
 * struct stm_set_size - STM_IOC_SET_SIZE: give the region of this handle its size, once, before its first use
 * @size: sizeof(struct stm_set_size)
 * @flags: 0
 * @region_size: in: bytes, rounded up to pages; out: the region's size in bytes
 *
 * A region that was born by opening a device node has no size until it is given one here, or takes the module's
 * default_size at its first read, write, lseek, mmap or STM_IOC_START (also one that is refused or fails after that).
 * Asking again for no more than it has is no error and changes nothing.
 *
 * EBUSY: the region has a smaller size already. EINVAL: 0 bytes. EFBIG, ENOSPC: as STM_IOC_OPEN. EBADF: the handle is
 * not open for writing.
 */
struct stm_set_size {
	__u32 size;
	__u32 flags;
	__aligned_u64 region_size;
};

/* How the structures below name a region: exactly one of these. */
#define STM_BY_HANDLE 0x1 /* the region of this file descriptor */
#define STM_BY_ID 0x2	  /* @id */
#define STM_BY_NAME 0x4	  /* @name */
#define STM_BY_NEXT 0x8	  /* STM_IOC_INFO only: the first region whose minor is at least @minor, for listing */
/*
 * STM_IOC_INFO only, for listing also what has lost its name: of the regions that have a name or are used, the one with the
 * smallest id that is at least @id. Since version 1.3.
 */
#define STM_BY_NEXT_ID 0x20
#define STM_BY_FLAGS 0x2f

/* Destroyed with DEFERRED: the name is gone, the last user still has it. Its minor may be another region's by now. */
#define STM_STATE_UNLINKED 0x1
#define STM_STATE_SIZED 0x2    /* the size is settled */

/**
 * struct stm_info - STM_IOC_INFO: what a region is and how it is used
 * @size: sizeof(struct stm_info)
 * @flags: STM_BY_*
 * @id: in with BY_ID and BY_NEXT_ID; out: generation in the upper 32 bits, minor in the lower
 * @minor: in with BY_NEXT; out: minor number
 * @region_flags: out: STM_REGION_*
 * @state: out: STM_STATE_*
 * @mode: out: permission bits
 * @uid, @gid: out: owner and group, as seen in the caller's user namespace
 * @region_size: out: bytes
 * @resident_bytes: out: bytes of pages that have been touched
 * @handles: out: open files that use the region
 * @mappings: out: memory mappings of it, in all processes
 * @creator_pid: out: process id of the creator in the caller's pid namespace, 0 when it has none there
 * @reserved: 0
 * @created_ns: out: time of creation, nanoseconds since 1970 (CLOCK_REALTIME)
 * @reads, @writes: out: read and write calls served
 * @faults: out: page faults served
 * @name: in with BY_NAME; out: the name
 *
 * With BY_ID, here, in STM_IOC_ATTACHMENTS and in STM_IOC_STATISTICS, a region that has lost its name can be asked for
 * as long as it is used.
 *
 * ENOENT: no such region, or with BY_NEXT and BY_NEXT_ID none left. ESTALE: @id is of a region that is gone. Anyone may
 * ask; it is what ipcs shows.
 */
struct stm_info {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	__u32 minor;
	__u32 region_flags;
	__u32 state;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__aligned_u64 region_size;
	__aligned_u64 resident_bytes;
	__u32 handles;
	__u32 mappings;
	__s32 creator_pid;
	__u32 reserved;
	__aligned_u64 created_ns;
	__aligned_u64 reads;
	__aligned_u64 writes;
	__aligned_u64 faults;
	char name[STM_NAME_SIZE];
};

#define STM_ATTACHMENT_HANDLE 1	 /* an open file; @pid opened it */
#define STM_ATTACHMENT_MAPPING 2 /* a mapping in the address space of @pid */

/**
 * struct stm_attachment - one user of a region
 * @kind: STM_ATTACHMENT_*
 * @pid: process id in the caller's pid namespace, 0 when it has none there
 * @address: start of the mapping; 0 for a handle, and (unless the caller is privileged) for a mapping of another user's
 *	process, or of one that has no id in the caller's pid namespace
 * @length: bytes mapped
 * @offset: offset in the region of the first byte mapped
 * @protection: PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4 (a handle: what it may do)
 * @reserved: 0
 * @command: the process's name, NUL terminated; empty when it is gone, or has no id in the caller's pid namespace
 */
struct stm_attachment {
	__u32 kind;
	__s32 pid;
	__aligned_u64 address;
	__aligned_u64 length;
	__aligned_u64 offset;
	__u32 protection;
	__u32 reserved;
	char command[16];
};

/**
 * struct stm_attachments - STM_IOC_ATTACHMENTS: who uses a region, right now
 * @size: sizeof(struct stm_attachments)
 * @flags: STM_BY_HANDLE, STM_BY_ID or STM_BY_NAME
 * @id: in with BY_ID; out: the region's id
 * @buffer: address of an array of struct stm_attachment
 * @capacity: how many fit in it, at most 65536
 * @count: out: how many there are; only the first @capacity were stored
 * @name: in with BY_NAME
 *
 * ENOENT, ESTALE: as STM_IOC_INFO. EINVAL: @capacity too large.
 */
struct stm_attachments {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	__aligned_u64 buffer;
	__u32 capacity;
	__u32 count;
	char name[STM_NAME_SIZE];
};

#define STM_DESTROY_DEFERRED 0x10 /* a region in use loses its name now and its memory with its last user */
#define STM_DESTROY_FLAGS (STM_BY_ID | STM_BY_NAME | STM_BY_HANDLE | STM_DESTROY_DEFERRED)

/**
 * struct stm_destroy - STM_IOC_DESTROY: end a region
 * @size: sizeof(struct stm_destroy)
 * @flags: STM_BY_HANDLE, STM_BY_ID or STM_BY_NAME; STM_DESTROY_DEFERRED
 * @id: in with BY_ID
 * @name: in with BY_NAME
 *
 * With BY_HANDLE the handle itself does not count as a user; the region goes when it is closed.
 *
 * ENOENT, ESTALE: there is no such region, or it has lost its name already. EPERM: the caller is not the owner and has no CAP_FOWNER. EBUSY: it is in use and
 * DEFERRED was not given, or it is the region `default`.
 */
struct stm_destroy {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	char name[STM_NAME_SIZE];
};

/*
 * Transactions.
 *
 * A transaction belongs to the thread that started it on that open file: threads of one process, and a parent and a child
 * that share a descriptor, have one each and never mix. It ends when it is committed or cancelled, and it is discarded
 * when its thread ends or calls exec. What the transaction of an ended thread stored in mappings leaves those of its
 * process within watchdog_ms. Closing a duplicate of the descriptor changes nothing. When the last one that the thread's
 * process has of the open file is closed, the transaction is over, and has no effect; what the thread does with the file,
 * if it gets it again, fails with ECANCELED until COMMIT (ECANCELED), CANCEL or START with RESTART has told it so: it never
 * takes effect one call at a time. What it stored in mappings is gone; they are as without a transaction if the thread has
 * closed the descriptor itself, and give SIGBUS for each load and store if another one has. No other thread of the process
 * can begin one there before (EBUSY).
 *
 * read and write calls on the handle by that thread are part of the transaction: a read gives the bytes of the
 * transaction's snapshot with its own writes over them; a write becomes visible to others at the commit. By a thread
 * without a transaction each read and each write call is a transaction of its own (up to 16 MiB; a longer call
 * is one for each 16 MiB). So is each request of io_uring and Linux AIO, whoever executes it; a thread that has a
 * transaction on the handle cannot: EBUSY.
 *
 * A region has a fixed size, so there is nothing to append to. A write at its end or beyond fails with ENOSPC, and one that
 * begins before ends there with a short count. With O_APPEND, at open or by fcntl, and with RWF_APPEND every write is one at
 * the end, whatever its position: it fails with ENOSPC and changes nothing. In a transaction that fails the transaction.
 *
 * A call that fails for want of memory (ENOMEM), by max_stripes (E2BIG) or because it begins behind the end of the region
 * (ENOSPC) fails the transaction: nothing of the call is done, all that follows fails with the same error, also COMMIT,
 * and nothing of the transaction takes effect. Only the caller's own buffer (EFAULT, or a short count if it ends in the
 * middle) leaves it as it is.
 *
 * EAGAIN from read, write or VALIDATE means: the transaction is doomed, since something that it read has changed. Nothing
 * it does has an effect any more; cancel it and start again.
 */

/*
 * STM_IOC_START: begin a transaction, or a part nested in the one that runs. The argument is a number: STM_START_* or'ed
 * with STM_START_SIGNAL(signal) and STM_START_SITE(site). The result is the nesting depth: 1 for a transaction, 2 and more for a part of one.
 *
 * RESTART ends what runs, all depths of it, as a conflict (if it is doomed or its reads are no longer valid; otherwise
 * as a cancel), and begins again at depth 1.
 *
 * After conflicts in a row the call waits a random, growing time before it begins; after 16 (module parameter
 * serial_after) the transaction holds the region's serial token: no other transaction commits until it ends, so it can
 * not conflict. In a region of STM_REGION_MUTEX every transaction does.
 *
 * Nobody starves. Who holds up a commit for longer than its lease loses the token, and may conflict again (not in a region
 * of STM_REGION_MUTEX). The lease is a second (module parameter serial_lease_ms) and twice as long for the next try
 * of that thread each time that it did not suffice, up to a minute (serial_lease_max_ms): so a transaction of less than
 * that commits, whatever others do, and a commit waits for one lease at most. Between two leases others commit for as
 * long as the last one was: the call waits meanwhile.
 *
 * With a signal the thread is sent that signal when the transaction is found doomed while it runs: by a failing read or
 * write call, before that call returns to the program, or, when it makes no calls, by a watchdog (module parameter
 * watchdog_ms). Its siginfo has si_code SI_QUEUE, si_pid 0 and si_value.sival_int STM_SIGNAL_COOKIE.
 *
 * In mappings of the handle, in the calling address space, ordinary loads and stores are part of the transaction: loads
 * see the snapshot with the transaction's stores over it; stores become visible to others at the commit. A load that can
 * not be given the snapshot gets SIGSEGV (and the signal that was asked for): the transaction is doomed. Page tables belong
 * to a process, so only one of its threads at a time can have a transaction on a handle that is mapped (EBUSY): threads
 * that work at the same time open a handle each. Without a transaction a load sees what was committed last, and a store
 * gets SIGSEGV. A page that cannot be had, since the transaction touched more than max_stripes allows or there is no
 * memory for it, gives SIGBUS: from then on VALIDATE and COMMIT fail with E2BIG or ENOMEM.
 *
 * A site is a number, of 32 bits and not 0, that the program chooses for a place where it begins transactions. What the
 * thread's last transactions from there touched in mappings is mapped when the next one begins (at most as many pages as
 * the module parameter predicted_pages says), after a conflict too, so that a transaction that touches the same pages
 * again and again has no page fault. A page counts as read then, also when it is not touched after all. With
 * NO_PREDICTION, or without a site, nothing is mapped and nothing is learnt.
 *
 * EOPNOTSUPP: a plain region. EINTR: a signal came while it waited; nothing has begun. E2BIG: nested too deeply.
 * EBUSY: see above.
 * ECANCELED: the process closed its last descriptor while the call waited; nothing has begun.
 * EAGAIN, ECANCELED: nested in a transaction that cannot commit; so also E2BIG, ENOMEM, ENOSPC. ENOMEM. ENOSPC: too many threads have used this handle. EDEADLK: the thread
 * holds the serial token of the region by a transaction on another handle (so also from COMMIT, read and write).
 */
#define STM_START_RESTART 0x1
#define STM_START_NO_PREDICTION 0x2
#define STM_START_FLAGS 0x3
#define STM_START_SIGNAL(number) ((number) << 8) /* 1 to 64 */
#define STM_START_SITE(number) ((__u64)(number) << 32)
#define STM_SIGNAL_COOKIE 0x53544d21

/**
 * struct stm_start_cell - words of the program's own memory, through which a thread begins transactions on a handle
 *	without a system call
 * @offer: written by the module: 0: it does not know the cell (any more); STM_CELL_ATTACHED; or STM_CELL_OFFER(site):
 *	the next STM_IOC_START of that site (0: without one) would have nothing to do
 * @begun: written by the program: 0, or the offer that it takes
 *
 * To begin, at depth 0, the thread looks whether @offer is that of its site, stores that to @begun, and then, in this
 * order for all processors, looks at @offer again. If it is still there, the transaction has begun: with the signal of
 * struct stm_cell, at a snapshot not older than that moment. Else it exchanges @begun for 0. If it was 0, the module has
 * taken the offer back and found it taken: the transaction has begun as well. If not, STM_IOC_START is needed.
 *
 * The module hears of such a transaction when it comes to one of this handle's requests, read and write calls by that
 * thread, or to a page fault in its mappings; then it is there as if STM_IOC_START had begun it, is counted, and @begun
 * is 0. If it never does, since the thread ends before, no transaction has begun. For poll it is then that the handle looks.
 *
 * The offer is made at the end of a transaction that was committed, or cancelled by STM_IOC_CANCEL, and taken back when
 * something has to be done at a start after all: after a load outside of transactions in the mappings, since another thread
 * of the process began a transaction on the mapped handle, or since one of this thread's requests or calls came.
 */
struct stm_start_cell {
	__aligned_u64 offer;
	__aligned_u64 begun;
};
#define STM_CELL_ATTACHED (1ull << 32)
#define STM_CELL_OFFER(site) (3ull << 32 | (site))

/**
 * struct stm_cell - STM_IOC_CELL: the calling thread's cell for this handle, from now on
 * @size: sizeof(struct stm_cell)
 * @flags: 0
 * @address: of a struct stm_start_cell, a multiple of its size, in private anonymous memory; 0: none
 * @signal: as in STM_START_SIGNAL, 0 for none: for the transactions that begin through it
 * @reserved: 0
 *
 * The page that it is in is pinned, and should be one that fork does not copy (MADV_WIPEONFORK). The module forgets the
 * cell, and stores 0 to @offer, when any process closes a descriptor of the handle: the number may be another file's then.
 * It hears of that when the number is free already. So a program of several threads must see to it itself that no thread
 * takes an offer for a number that it got while another one's close of it was in progress.
 *
 * EINVAL: @address is no multiple of the cell's size, or of other memory, or of a huge page; the thread has had no
 * transaction on this handle. EFAULT: it cannot be written. ENOMEM.
 */
struct stm_cell {
	__u32 size;
	__u32 flags;
	__aligned_u64 address;
	__u32 signal;
	__u32 reserved;
};

/*
 * STM_IOC_COMMIT: end the innermost part. The argument is 0. At depth 1 the result says whether the transaction took
 * effect; in any case it is over. At a greater depth it becomes part of the one around it.
 *
 * 0: committed. EAGAIN: rolled back after a conflict. EINVAL: no transaction. ENOMEM, EINTR (a fatal signal), E2BIG (more
 * was touched than max_stripes allows), ENOSPC, ECANCELED: rolled back; see above. At a greater depth only the last four
 * are possible: the part is over, and the transaction around it cannot commit.
 */

/*
 * STM_IOC_CANCEL: undo the innermost part, or with STM_CANCEL_ALL the whole transaction. EINVAL: no transaction.
 */
#define STM_CANCEL_ALL 0x1
#define STM_CANCEL_KEEP 0x2 /* with ALL: the thread does not know yet: see STM_WAIT_KEEP */
#define STM_CANCEL_FLAGS 0x3

/*
 * STM_IOC_VALIDATE: is everything that the transaction has read still valid? The argument is 0. 0: yes. EAGAIN: no.
 * EINVAL: no transaction. E2BIG, ENOMEM, ENOSPC, ECANCELED: it has failed, and cannot commit; see above.
 *
 * With GO_ON a transaction that is doomed (EAGAIN) gets a page for each load and store in mappings from then on, until it
 * ends: what was committed last, which need not fit what it read before, and of which nothing will be committed. It is for
 * code that cannot be left in the middle. EINVAL: the module does not know it (interface 1.2 and before).
 */
#define STM_VALIDATE_GO_ON 0x1

/**
 * struct stm_wait - STM_IOC_WAIT: end the transaction without an effect, and sleep until something it read changes
 * @size: sizeof(struct stm_wait)
 * @flags: STM_WAIT_*; a module before interface 1.3 knows none (EINVAL)
 * @timeout_ns: nanoseconds; STM_WAIT_FOREVER
 *
 * The transaction is over when the call returns, unless it is EINVAL, EFAULT or EDEADLK.
 *
 * 0: something changed (or had changed before). ETIMEDOUT. EINTR: a signal came. EINVAL: no transaction. EDEADLK:
 * nothing was read, so nothing could end the wait.
 *
 * With KEEP: after ETIMEDOUT the transaction has no effect, but is still there: what the thread does with the handle fails
 * with ECANCELED until COMMIT or CANCEL has told it, or RESTART. Signals do with the call what they do with those of Linux
 * that can be interrupted: when no handler ran, or one with SA_RESTART, it goes on (with UNTIL, for as long as it would
 * have); otherwise it fails with EINTR, and STM_CANCEL_ALL with STM_CANCEL_KEEP makes it as after ETIMEDOUT. Without that
 * COMMIT fails with ECANCELED, too.
 */
#define STM_WAIT_KEEP 0x1  /* what was not told of its end is not to go on without a transaction */
#define STM_WAIT_UNTIL 0x2 /* @timeout_ns is a time of CLOCK_MONOTONIC */
#define STM_WAIT_FLAGS 0x3
#define STM_WAIT_FOREVER 0xffffffffffffffffull
struct stm_wait {
	__u32 size;
	__u32 flags;
	__aligned_u64 timeout_ns;
};

/* Why a transaction ended, or is doomed. */
#define STM_REASON_NONE 0		/* it did not; or it was committed */
#define STM_REASON_READ_LOCKED 1	/* a stripe to read stayed locked by a commit */
#define STM_REASON_READ_VALIDATION 2	/* what was read before has changed, noticed by a read */
#define STM_REASON_COMMIT_LOCKED 3	/* a stripe to write stayed locked by another commit */
#define STM_REASON_COMMIT_VALIDATION 4	/* what was read has changed, noticed at the commit */
#define STM_REASON_TOO_BIG 5		/* more than the module's limits allow */
#define STM_REASON_NO_MEMORY 6
#define STM_REASON_CANCEL 7		/* the program cancelled */
#define STM_REASON_RETRY 8		/* STM_IOC_WAIT, or RESTART of a valid transaction */
#define STM_REASON_SIGNAL 9		/* a signal interrupted a wait inside of the commit */
#define STM_REASON_KILLED 10		/* the thread ended, or called exec */
#define STM_REASON_SERIAL_WAIT 11	/* the serial token could not be had */
#define STM_REASON_OUT_OF_RANGE 12
#define STM_REASON_FAULT 13		/* the caller's own memory could not be read or written */
#define STM_REASON_CLOSED 14		/* the last descriptor of the file was closed in the thread's process */
#define STM_REASONS 16

/**
 * struct stm_transaction - STM_IOC_TRANSACTION: the calling thread's transaction on this handle
 * @size: sizeof(struct stm_transaction)
 * @flags: 0
 * @depth: out: nesting depth; 0: none runs
 * @doom: out: STM_REASON_* why it cannot commit any more; NONE: it may
 * @last_reason: out: STM_REASON_* of the last one that ended
 * @serial: out: 1 when it holds the serial token
 * @stripes_read, @stripes_written: out: size of the read and the write set, in stripes of 64 bytes
 * @conflicts: out: conflicts in a row of the attempts so far
 * @longest_streak: out: the most that any transaction of this thread had, on this handle
 */
struct stm_transaction {
	__u32 size;
	__u32 flags;
	__u32 depth;
	__u32 doom;
	__u32 last_reason;
	__u32 serial;
	__u32 stripes_read;
	__u32 stripes_written;
	__u32 conflicts;
	__u32 longest_streak;
};

#define STM_STATISTICS_OF_HANDLE 0x10 /* only what went through this open file; with BY_HANDLE */

/**
 * struct stm_statistics - STM_IOC_STATISTICS: what the transactions of a region did since its creation
 * @size: sizeof(struct stm_statistics)
 * @flags: STM_BY_HANDLE, STM_BY_ID or STM_BY_NAME; STM_STATISTICS_OF_HANDLE
 * @id: in with BY_ID; out: the region's id
 * @starts: out: transactions begun, those of single read and write calls not included
 * @commits: out: transactions committed
 * @read_only: out: of these, how many had written nothing
 * @calls: out: single read and write calls that were a transaction of their own
 * @aborts: out: how often a transaction ended by each STM_REASON_*
 * @restarts: out: STM_START_RESTART of a running transaction
 * @serial: out: transactions that held the serial token
 * @waits: out: STM_IOC_WAIT calls that slept
 * @signals: out: signals sent to doomed transactions
 * @extensions: out: times that a snapshot was moved forward
 * @longest_streak: out: the most conflicts in a row that one transaction had
 * @last_committer_pid: out: in the caller's pid namespace, 0 if none
 * @waiting: out: threads that sleep in STM_IOC_WAIT now
 * @name: in with BY_NAME
 * @load_faults, @store_faults: out: page faults of loads and of stores, of transactions in mappings
 * @predicted_used, @predicted_unused: out: pages that were mapped at the start of a transaction, and then were touched,
 *	or were not
 */
struct stm_statistics {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	__aligned_u64 starts;
	__aligned_u64 commits;
	__aligned_u64 read_only;
	__aligned_u64 calls;
	__aligned_u64 aborts[STM_REASONS];
	__aligned_u64 restarts;
	__aligned_u64 serial;
	__aligned_u64 waits;
	__aligned_u64 signals;
	__aligned_u64 extensions;
	__u32 longest_streak;
	__s32 last_committer_pid;
	__u32 waiting;
	__u32 reserved;
	char name[STM_NAME_SIZE];
	/* Here the structure of version 1.0 ended. */
	__aligned_u64 load_faults;
	__aligned_u64 store_faults;
	__aligned_u64 predicted_used;
	__aligned_u64 predicted_unused;
};

/*
 * poll, select and epoll on a handle: readable (POLLIN) when something was committed to the region, by a transaction or
 * a write call, since this handle last looked: since its last STM_IOC_START, or read call outside of a transaction, or
 * since it was opened. Always writable.
 */

#endif /* STM_IOCTL_H */
