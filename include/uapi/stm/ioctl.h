/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface between the stm module and user space.
 *
 * A request takes a pointer to a structure, unless its comment says that the argument is a number.
 * The first member, `size`, is the size in bytes of the structure as the caller knows it.
 * Structures may grow. A newer module reads a shorter structure as if the rest were zero. An older
 * module accepts a longer one only if the rest is zero, and otherwise fails with E2BIG. All members
 * have a fixed width and their natural alignment, so 32-bit callers need no translation. Unknown
 * flags are refused with EINVAL. A request that fails has changed nothing, unless its comment says
 * otherwise.
 *
 * Errors that every request can return:
 *   ENOTTY  This module does not know the request.
 *   EFAULT  The structure, or memory that it points to, cannot be read or written.
 *   EINVAL  `size` is smaller than the first version of the structure, or an unknown flag or a
 *           reserved member is not zero.
 *   E2BIG   The structure is longer than this module knows, and the unknown part is not zero.
 *   ENOMEM  The kernel has no memory for the request.
 *   EINTR   A fatal signal arrived during a wait.
 */
#ifndef STM_IOCTL_H
#define STM_IOCTL_H

#ifndef STM_KERNEL_CORE /* the freestanding core defines the same types itself */
#include <linux/ioctl.h>
#include <linux/types.h>
#endif

/* The version of this interface. Minor versions only add; another major version is incompatible. */
#define STM_ABI_MAJOR 1
#define STM_ABI_MINOR 10

/* Bytes of a region's name, with its terminating NUL. Any non-empty string that fits is a name. */
#define STM_NAME_SIZE 256

#define STM_IOC_TYPE 0xBD

#define STM_IOC_VERSION _IO(STM_IOC_TYPE, 0x00)
#define STM_IOC_OPEN _IO(STM_IOC_TYPE, 0x01)
#define STM_IOC_SET_SIZE _IO(STM_IOC_TYPE, 0x02)
#define STM_IOC_INFO _IO(STM_IOC_TYPE, 0x03)
#define STM_IOC_ATTACHMENTS _IO(STM_IOC_TYPE, 0x04)
#define STM_IOC_DESTROY _IO(STM_IOC_TYPE, 0x05)
#define STM_IOC_CHANGE_SEGMENT _IO(STM_IOC_TYPE, 0x06)
#define STM_IOC_DETACH_SEGMENT _IO(STM_IOC_TYPE, 0x07)

#define STM_IOC_NAME_PLACE _IO(STM_IOC_TYPE, 0x08)
#define STM_IOC_PLACES _IO(STM_IOC_TYPE, 0x09)
#define STM_IOC_DUMP _IO(STM_IOC_TYPE, 0x0a)
#define STM_IOC_START _IO(STM_IOC_TYPE, 0x10)
#define STM_IOC_COMMIT _IO(STM_IOC_TYPE, 0x11)
#define STM_IOC_CANCEL _IO(STM_IOC_TYPE, 0x12)
#define STM_IOC_VALIDATE _IO(STM_IOC_TYPE, 0x13)
#define STM_IOC_WAIT _IO(STM_IOC_TYPE, 0x14)
#define STM_IOC_TRANSACTION _IO(STM_IOC_TYPE, 0x15)
#define STM_IOC_STATISTICS _IO(STM_IOC_TYPE, 0x16)
#define STM_IOC_CELL _IO(STM_IOC_TYPE, 0x17)
#define STM_IOC_COMMIT_SETS _IO(STM_IOC_TYPE, 0x18)
#define STM_IOC_WAIT_SETS _IO(STM_IOC_TYPE, 0x19)
#define STM_IOC_VECTOR _IO(STM_IOC_TYPE, 0x1a)
#define STM_IOC_JOURNAL _IO(STM_IOC_TYPE, 0x1b)
#define STM_IOC_SETTLE _IO(STM_IOC_TYPE, 0x1c)
#define STM_IOC_WAKE _IO(STM_IOC_TYPE, 0x1d)

/*
 * The kind of a region. It is fixed when the region is created. On Linux 7 the module cannot be
 * unloaded while there is a region with EXEC.
 */
#define STM_REGION_PLAIN 0x1     /* ordinary shared memory: no transactions, mapped read-write */
#define STM_REGION_MUTEX 0x2     /* transactions take the region's lock; none is optimistic */
#define STM_REGION_EPHEMERAL 0x4 /* destroyed with its last user */
#define STM_REGION_EXEC 0x8      /* may be mapped PROT_EXEC, but never writable; needs PLAIN */
/*
 * Programs that may write to it may also commit by themselves; neither PLAIN nor MUTEX. Since
 * version 1.8. See "Direct regions" below.
 */
#define STM_REGION_DIRECT 0x10
/*
 * A System V segment; needs PLAIN, and goes with neither EXEC nor EPHEMERAL. Since version 1.4. See
 * "Segments" below.
 */
#define STM_REGION_SEGMENT 0x100
#define STM_REGION_FLAGS 0x11f

/**
 * struct stm_version - STM_IOC_VERSION: the module's interface and limits
 * @size: sizeof(struct stm_version)
 * @flags: 0
 * @abi_major: out: STM_ABI_MAJOR of the module
 * @abi_minor: out: STM_ABI_MINOR of the module
 * @device_major: out: major number of the driver's device nodes
 * @page_size: out: bytes in a page
 * @max_regions: out: largest number of regions
 * @regions: out: number of regions now
 * @max_region_bytes: out: largest size of one region in bytes
 * @max_bytes: out: largest sum of all regions' sizes in bytes
 * @bytes: out: sum of all regions' sizes in bytes
 * @resident_bytes: out: bytes that have been touched and so occupy memory
 * @max_user_regions: out: largest number of regions that one user may own
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

#define STM_OPEN_READ 0x1     /* the handle may read, and map for reading */
#define STM_OPEN_WRITE 0x2    /* the handle may write; a mapping needs READ as well */
#define STM_OPEN_CREATE 0x4   /* create the region if there is none of that name */
#define STM_OPEN_EXCL 0x8     /* with CREATE: fail with EEXIST if there is one */
#define STM_OPEN_CLOEXEC 0x10 /* exec closes the descriptor */
#define STM_OPEN_BY_ID 0x20   /* @id names the region, not @name; not with CREATE */
#define STM_OPEN_FLAGS 0x3f

/**
 * struct stm_open - STM_IOC_OPEN: open or create a region
 * @size: sizeof(struct stm_open)
 * @flags: STM_OPEN_*; READ or WRITE must be among them
 * @region_size: in: bytes wanted, rounded up to pages. 0 accepts the size of an existing region,
 *	and means the module's default_size for a new one. out: the region's size in bytes
 * @id: in with BY_ID; out: the region's id
 * @region_flags: in with CREATE: STM_REGION_* of a new region; out: those of the region
 * @mode: in with CREATE: permission bits of a new region, less the caller's umask; out: those of
 *	the region
 * @minor: out: minor number of the device node that stands for the region
 * @reserved: 0
 * @name: in without BY_ID: the region's name, NUL terminated; compared in full
 *
 * The result is a new file descriptor, a handle of the region.
 *
 * A new region belongs to the caller's file system uid and gid. An existing one is opened by the
 * rules of files: its owner, group and mode decide. fchmod and fchown on the new descriptor change
 * them; on a descriptor of a device node they change the node. A region that was created by opening
 * a device node has that node's owner and mode.
 *
 * ENOENT: There is no such region, and CREATE was not given.
 * EEXIST: The region exists, and EXCL was given.
 * EACCES: The mode forbids it, or a handle without WRITE would give a size to a region that has
 *	none yet.
 * EINVAL: The name is empty; @region_size is larger than the existing region; EXEC or SEGMENT
 *	without PLAIN; MUTEX with PLAIN; DIRECT with PLAIN or MUTEX; SEGMENT with EXEC or
 *	EPHEMERAL; or CREATE with a name that begins with "minor:", which is reserved for regions
 *	that device nodes create.
 * ENAMETOOLONG: @name contains no NUL.
 * EFBIG: @region_size is larger than max_region_bytes.
 * ENOSPC: A limit on the number or the bytes of regions is reached, for all or for this user.
 * ESTALE: The region of @id is gone, or has lost its name.
 * EMFILE, ENFILE: Too many files are open.
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
 * struct stm_set_size - STM_IOC_SET_SIZE: give the region of this handle its size, once
 * @size: sizeof(struct stm_set_size)
 * @flags: 0
 * @region_size: in: bytes, rounded up to pages; out: the region's size in bytes
 *
 * Two kinds of region begin without a size: those created by opening a device node, and `default`.
 * The first of the following settles the size, and it never changes again:
 *   this request;
 *   STM_IOC_OPEN with a @region_size that is not 0;
 *   a read, write, lseek, mmap or STM_IOC_START, which settles it as the module's default_size. The
 *   size stays settled even if that call then fails.
 * A later request for no more than the region has succeeds and changes nothing.
 *
 * EBUSY: The region already has a smaller size.
 * EINVAL: @region_size is 0.
 * EFBIG, ENOSPC: As for STM_IOC_OPEN.
 * EBADF: The handle is not open for writing.
 * EACCES: The handle is of device minor 0, it is not yet a user of `default`, and the mode of
 *	`default` forbids the caller to write.
 */
struct stm_set_size {
	__u32 size;
	__u32 flags;
	__aligned_u64 region_size;
};

/* How the structures below name a region: exactly one of these. */
#define STM_BY_HANDLE 0x1 /* the region of this file descriptor */
#define STM_BY_ID 0x2     /* @id */
#define STM_BY_NAME 0x4   /* @name */
#define STM_BY_NEXT 0x8   /* STM_IOC_INFO only: the first region with a minor of at least @minor */
/*
 * STM_IOC_INFO only: the region with the smallest id that is at least @id, among those that have a
 * name or are in use. So a listing also finds regions that have lost their names. Since version
 * 1.3.
 */
#define STM_BY_NEXT_ID 0x20
#define STM_BY_FLAGS 0x2f

/*
 * The region was destroyed with DEFERRED: it has lost its name, but still has users. Another region
 * may have its minor by now, unless it is a segment.
 */
#define STM_STATE_UNLINKED 0x1
#define STM_STATE_SIZED 0x2  /* the size is settled */
#define STM_STATE_LOCKED 0x4 /* a segment with the mark SHM_LOCK */

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
 * @creator_pid: out: process id of the creator in the caller's pid namespace; 0: it has none there
 * @reserved: 0
 * @created_ns: out: time of creation, nanoseconds since 1970 (CLOCK_REALTIME)
 * @reads, @writes: out: read and write calls served
 * @faults: out: page faults served
 * @name: in with BY_NAME; out: the name
 * @segment_bytes: out: the size that the creator of a segment asked for, before it was rounded up
 * @attached_ns, @detached_ns: out: when a mapping of a segment last came and went, as @created_ns;
 *	0: never
 * @changed_ns: out: when a segment was created, or last changed by STM_IOC_CHANGE_SEGMENT
 * @last_pid: out: process that last mapped or unmapped a segment, in the caller's pid namespace; 0:
 *	none, or it has none there
 * @creator_uid, @creator_gid: out: effective user and group of a segment's creator, as seen in the
 *	caller's user namespace
 * @reserved_too: 0
 *
 * The members from @segment_bytes on are 0 for a region that is no segment.
 *
 * BY_ID also finds a region that has lost its name, as long as it is in use. The same holds for
 * STM_IOC_ATTACHMENTS and STM_IOC_STATISTICS. Any caller may ask.
 *
 * ENOENT: There is no such region; with BY_NEXT and BY_NEXT_ID, none is left.
 * ESTALE: The region of @id is gone.
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
	/* The structure of version 1.0 ended here. */
	__aligned_u64 segment_bytes;
	__aligned_u64 attached_ns;
	__aligned_u64 detached_ns;
	__aligned_u64 changed_ns;
	__s32 last_pid;
	__u32 creator_uid;
	__u32 creator_gid;
	__u32 reserved_too;
};

#define STM_ATTACHMENT_HANDLE 1  /* an open file; @pid opened it */
#define STM_ATTACHMENT_MAPPING 2 /* a mapping in the address space of @pid */

/**
 * struct stm_attachment - one user of a region
 * @kind: STM_ATTACHMENT_*
 * @pid: process id in the caller's pid namespace; 0: it has none there
 * @address: start of the mapping. 0 for a handle. For a caller without privilege also 0 for a
 *	mapping of another user's process, or of one that has no id in the caller's pid namespace
 * @length: bytes mapped
 * @offset: offset in the region of the first byte mapped
 * @protection: PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4; of a handle: what it may do
 * @reserved: 0
 * @command: the process's name, NUL terminated; empty if the process is gone, or has no id in the
 *	caller's pid namespace
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
 * struct stm_attachments - STM_IOC_ATTACHMENTS: list the current users of a region
 * @size: sizeof(struct stm_attachments)
 * @flags: STM_BY_HANDLE, STM_BY_ID or STM_BY_NAME
 * @id: in with BY_ID; out: the region's id
 * @buffer: address of an array of struct stm_attachment
 * @capacity: number of elements in the array, at most 65536
 * @count: out: number of users; only the first @capacity were stored
 * @name: in with BY_NAME
 *
 * ENOENT, ESTALE: As for STM_IOC_INFO.
 * EINVAL: @capacity is too large.
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

#define STM_PLACE_NAME_SIZE 40 /* with the terminating NUL */
#define STM_MAX_PLACES 256     /* of one region */

/**
 * struct stm_place - STM_IOC_NAME_PLACE: give a name to a part of the handle's region
 * @size: sizeof(struct stm_place)
 * @flags: 0
 * @offset: of its first byte in the region
 * @length: its bytes, at least 1
 * @name: NUL terminated and padded; empty: the name of this offset and length is taken away
 *
 * Names are for people: tools show them beside conflicts. They change nothing else. A part has one
 * name, and the last one counts. Parts may overlap; a byte is called as the shortest part is that
 * it lies in. The names live as long as the region, and their memory is charged to the caller's
 * memory cgroup. The handle has to be open for writing.
 *
 * EBADF: the handle is not open for writing.
 * EINVAL: the part is empty or not all in the region; something follows the name's NUL.
 * ENAMETOOLONG: @name has no NUL.
 * ENOSPC: the region has STM_MAX_PLACES names.
 * ENOENT: @name is empty, and the part has none.
 */
struct stm_place {
	__u32 size;
	__u32 flags;
	__aligned_u64 offset;
	__aligned_u64 length;
	char name[STM_PLACE_NAME_SIZE];
};

/**
 * struct stm_places - STM_IOC_PLACES: list the names of the parts of a region
 * @size: sizeof(struct stm_places)
 * @flags: STM_BY_HANDLE, STM_BY_ID or STM_BY_NAME
 * @id: in with BY_ID; out: the region's id
 * @buffer: address of an array of struct stm_place; the oldest name comes first
 * @capacity: number of elements in the array, at most STM_MAX_PLACES
 * @count: out: number of names; only the first @capacity were stored
 * @name: in with BY_NAME
 *
 * ENOENT, ESTALE: As for STM_IOC_INFO.
 * EINVAL: @capacity is too large.
 */
struct stm_places {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	__aligned_u64 buffer;
	__u32 capacity;
	__u32 count;
	char name[STM_NAME_SIZE];
};

/*
 * STM_IOC_DUMP: whether core files have the mappings of this handle
 *
 * The argument is a number: 1: they do; 0: they do not, which is the default. It holds for all
 * mappings of the open file, also those that exist already, in every process that has it.
 * /proc/PID/coredump_filter and MADV_DONTDUMP do not count then. Since version 1.9.
 *
 * A core file has the pages of the region that were ever touched, and zeros for the others: to
 * write it allocates nothing in the region. In the mappings of a transaction that runs, a page that
 * the transaction has touched is as its thread saw it. All other pages are as they were committed
 * when the file was written. Other processes may commit meanwhile, so the pages need not be of one
 * moment.
 *
 * EINVAL: The argument is another number.
 */

#define STM_DESTROY_DEFERRED 0x10 /* in use: loses its name now, its memory with its last user */
#define STM_DESTROY_FLAGS (STM_BY_ID | STM_BY_NAME | STM_BY_HANDLE | STM_DESTROY_DEFERRED)

/**
 * struct stm_destroy - STM_IOC_DESTROY: destroy a region
 * @size: sizeof(struct stm_destroy)
 * @flags: STM_BY_HANDLE, STM_BY_ID or STM_BY_NAME; STM_DESTROY_DEFERRED
 * @id: in with BY_ID
 * @name: in with BY_NAME
 *
 * With BY_HANDLE the handle itself does not count as a user. The region goes when the handle is
 * closed.
 *
 * ENOENT, ESTALE: There is no such region, or it has already lost its name.
 * EPERM: The caller is not the owner and has no CAP_FOWNER.
 * EBUSY: The region is in use and DEFERRED was not given, or it is the region `default`.
 */
struct stm_destroy {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	char name[STM_NAME_SIZE];
};

/*
 * -- Segments --
 *
 * A region with STM_REGION_SEGMENT is what <stm/sysv.h> makes System V shared memory of. It is a
 * plain region that differs from others in what System V asks for:
 *
 * Rights. Those of System V, for the caller's effective user and groups: the creator has the rights
 * of the owner, and the creator's group those of the group. CAP_IPC_OWNER overrides them. The
 * owner, the creator, and a caller with CAP_SYS_ADMIN may change and destroy it. (For other regions
 * they are the rules of files.) The mode of a new segment is @mode, whatever the umask.
 *
 * Attaches. @mappings counts them. The module notes when one last came and went, and which process
 * it was: by mmap, fork, munmap, exec, the end of a process however it ends, and when a part of a
 * mapping is unmapped or moved.
 *
 * Removal. A segment that was destroyed with DEFERRED can still be opened by its id as long as it
 * is in use, and no other region has its minor. Opening a device node of that minor for writing
 * fails with ENOSPC meanwhile.
 */
#define STM_SEGMENT_OWNER 0x1  /* sets @uid, @gid and @mode */
#define STM_SEGMENT_LOCK 0x2   /* sets STM_STATE_LOCKED; the memory stays resident anyway */
#define STM_SEGMENT_UNLOCK 0x4 /* takes it away */
#define STM_SEGMENT_FLAGS 0x7

/**
 * struct stm_change_segment - STM_IOC_CHANGE_SEGMENT: IPC_SET, SHM_LOCK and SHM_UNLOCK
 * @size: sizeof(struct stm_change_segment)
 * @flags: exactly one of STM_SEGMENT_*
 * @id: the region's id; it may have lost its name
 * @uid, @gid: in with OWNER: the new owner and group, in the caller's user namespace
 * @mode: in with OWNER: the new permission bits
 * @reserved: 0
 *
 * Since version 1.4.
 *
 * ESTALE: The region of @id is gone.
 * EINVAL: The region is no segment, an id stands for nobody, or @mode has other bits.
 * EPERM: The caller is neither its owner nor its creator, and has no CAP_SYS_ADMIN; for LOCK and
 *	UNLOCK CAP_IPC_LOCK does as well.
 */
struct stm_change_segment {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__u32 reserved;
};

/**
 * struct stm_detach_segment - STM_IOC_DETACH_SEGMENT: shmdt
 * @size: sizeof(struct stm_detach_segment)
 * @flags: 0
 * @address: where the mapping of a segment began
 *
 * Unmaps what is left of it in the calling process: the mappings of the same open file that lie
 * where that mapping of the segment put them. Others are left alone. Since version 1.4.
 *
 * EINVAL: No mapping of a segment began at @address.
 */
struct stm_detach_segment {
	__u32 size;
	__u32 flags;
	__aligned_u64 address;
};

/*
 * -- Transactions --
 *
 * A transaction belongs to the thread that started it, and to the open file on which it did so.
 * Threads of one process, and a parent and a child that share a descriptor, have one each, and
 * these never mix.
 *
 * End. A transaction ends when it is committed or cancelled. It is discarded when its thread ends
 * or calls exec; what it stored in mappings leaves those of its process within watchdog_ms.
 *
 * Closing. Closing a duplicate of the descriptor changes nothing. When a process closes its last
 * descriptor of the open file, the transactions of its threads there are over and have no effect.
 * A thread may get the file again. Then everything that it does with the file fails with ECANCELED
 * until one of three requests has told it: COMMIT (which fails with ECANCELED), CANCEL, or START
 * with RESTART. So what it goes on to write never takes effect one call at a time. What the
 * transaction stored in mappings is gone. If the thread closed the descriptor itself, the mappings
 * are as they are without a transaction. If another thread closed it, each load and store in them
 * gives SIGBUS. Until the thread has been told, no other thread of the process can begin a
 * transaction on the mapped file (EBUSY).
 *
 * Calls. read and write calls on the handle by that thread are part of the transaction. A read
 * returns the transaction's snapshot with its own writes laid over it. A write becomes visible to
 * others at the commit. In a thread without a transaction, each read and each write call is a
 * transaction of its own; a call of more than 16 MiB is one for each 16 MiB. So is each request of
 * io_uring and Linux AIO, whichever thread executes it; a thread that has a transaction on the
 * handle cannot execute one (EBUSY).
 *
 * Appending. A region has a fixed size, so nothing can be appended. A write at its end or beyond
 * fails with ENOSPC. A write that begins before the end and reaches beyond it has a short count.
 * With O_APPEND, set at open or by fcntl, and with RWF_APPEND, every write is one at the end,
 * whatever its position: it fails with ENOSPC and changes nothing. Within a transaction this fails
 * the transaction.
 *
 * Failure. A call that fails for want of memory (ENOMEM), by max_stripes (E2BIG) or because it
 * begins behind the end of the region (ENOSPC) fails the transaction. Nothing of the call is done.
 * All that follows fails with the same error, COMMIT included, and nothing of the transaction takes
 * effect. Only a fault of the caller's own buffer leaves the transaction as it is: the call fails
 * with EFAULT, or has a short count if the buffer ends in the middle.
 *
 * Doom. EAGAIN from read, write or VALIDATE means that the transaction is doomed: something that it
 * read has changed. Nothing that it does has an effect any more. Cancel it and start again.
 */

/*
 * STM_IOC_START: begin a transaction, or a part nested in the running one
 *
 * The argument is a number: STM_START_* or'ed with STM_START_SIGNAL(signal) and
 * STM_START_SITE(site). The result is the nesting depth: 1 for a transaction, 2 and more for a
 * nested part.
 *
 * RESTART ends the running transaction, all depths of it, and begins again at depth 1. If the
 * transaction is doomed or its reads are no longer valid it counts as a conflict, otherwise as a
 * cancel.
 *
 * Back-off. After conflicts in a row the call waits for a random, growing time before it begins.
 * After 16 (module parameter serial_after) the transaction holds the region's serial token: no
 * other transaction commits until it ends, so it cannot conflict. In a region of STM_REGION_MUTEX
 * every transaction holds the token.
 *
 * Starvation. No transaction starves. A holder that keeps a commit waiting for longer than its
 * lease loses the token and may conflict again (not in a region of STM_REGION_MUTEX). The first
 * lease is one second (module parameter serial_lease_ms). Each time that it does not suffice, the
 * thread's next lease is twice as long, up to a minute (serial_lease_max_ms). So a transaction
 * shorter than that commits, whatever others do, and a commit waits for one lease at most. After a
 * lease, others commit for as long as that lease was; the call waits meanwhile.
 *
 * Signals. With a signal, the thread is sent that signal when its running transaction is found to
 * be doomed. A failing read or write call finds it, and the signal comes before that call returns
 * to the program. If the thread makes no calls, a watchdog finds it (module parameter watchdog_ms).
 * The signal's siginfo has si_code SI_QUEUE, si_pid 0 and si_value.sival_int STM_SIGNAL_COOKIE.
 *
 * Mappings. In mappings of the handle, in the calling address space, ordinary loads and stores are
 * part of the transaction. Loads see the snapshot with the transaction's stores laid over it.
 * Stores become visible to others at the commit. A load that cannot be given the snapshot gets
 * SIGSEGV, and the signal that was asked for: the transaction is doomed. Page tables belong to a
 * process, so only one of its threads at a time can have a transaction on a mapped handle (EBUSY).
 * Threads that work at the same time open a handle each. Without a transaction, a load sees what
 * was committed last and a store gets SIGSEGV. A load or store gets SIGBUS if it can be given no
 * page, because the transaction touched more than max_stripes allows or because there is no memory.
 * From then on VALIDATE and COMMIT fail with E2BIG or ENOMEM.
 *
 * Prediction. A site is a number of 32 bits, not 0, that the program chooses for a place where it
 * begins transactions. The pages that the thread's last transactions from that site touched in
 * mappings are mapped when the next one begins, after a conflict too. So a transaction that touches
 * the same pages each time has no page fault, except where mapping costs more than that. The module
 * parameter predicted_pages limits how many are mapped. What was mapped so counts as read, touched
 * or not. With NO_PREDICTION, or without a site, nothing is mapped and nothing is learnt.
 *
 * SERIAL: The transaction holds the serial token from the beginning, as it would after many
 * conflicts. At the start of a nested part it means nothing. Since version 1.4.
 *
 * Long readers. A transaction that has read 64 pages, or as many bytes by calls, and has written
 * nothing fixes its snapshot: from then on commits keep what they overwrite and it needs, so that
 * it cannot conflict any more as long as it writes nothing. If the thread's transaction before was
 * such a one, the next fixes its snapshot at its first read. What is kept is bounded (module
 * parameters max_old_bytes and max_user_old_bytes). At the bound the oldest of these transactions
 * ends, by STM_REASON_SNAPSHOT_TOO_OLD, when it needs what is not there any more. This is not so in
 * a region of STM_REGION_DIRECT, nor for a transaction that holds the serial token. Since version
 * 1.10.
 *
 * FIXED: The snapshot is fixed at the start, if that is possible within some ms: @fixed of
 * struct stm_transaction tells. At the start of a nested part, and with SERIAL, it means nothing.
 * Since version 1.10.
 *
 * EOPNOTSUPP: The region is plain.
 * EINTR: A signal arrived while the call waited; nothing has begun.
 * E2BIG: Transactions are nested too deeply.
 * EBUSY: Another thread of the process has a transaction on the mapped handle; see above.
 * ECANCELED: The process closed its last descriptor while the call waited; nothing has begun.
 * EAGAIN, ECANCELED, E2BIG, ENOMEM, ENOSPC: The transaction around the part cannot commit.
 * ENOSPC: Too many threads have used this handle.
 * EDEADLK: The thread holds the region's serial token by a transaction on another handle. COMMIT,
 *	read and write fail with EDEADLK for the same reason.
 */
#define STM_START_RESTART 0x1
#define STM_START_NO_PREDICTION 0x2
#define STM_START_SERIAL 0x4
#define STM_START_FIXED 0x8
#define STM_START_FLAGS 0xf
#define STM_START_SIGNAL(number) ((number) << 8) /* 1 to 64 */
#define STM_START_SITE(number) ((__u64)(number) << 32)
#define STM_SIGNAL_COOKIE 0x53544d21

/**
 * struct stm_start_cell - two words of the program's memory for starts without a system call
 * @offer: written by the module. 0: the module does not know the cell, or no longer does.
 *	STM_CELL_ATTACHED: it does, and offers nothing. STM_CELL_OFFER(site): the next
 *	STM_IOC_START of that site (0: without a site) would have nothing to do
 * @begun: written by the program: 0, or the offer that it takes
 *
 * To begin at depth 0 the thread does the following, in one order for all processors:
 *   1. It checks that @offer is the offer of its site.
 *   2. It stores the offer to @begun.
 *   3. It reads @offer again. If the offer is still there, the transaction has begun.
 *   4. Otherwise it exchanges @begun for 0. If @begun was 0 already, the module has taken the offer
 *      back and found it taken: the transaction has begun. If not, STM_IOC_START is needed.
 * Such a transaction has the signal of struct stm_cell, and a snapshot that is not older than the
 * moment at which it began.
 *
 * The module learns of the transaction at the thread's next request or read or write call on the
 * handle, or at a page fault in its mappings. From then on the transaction is there as if
 * STM_IOC_START had begun it, it is counted, @begun is 0, and for poll the handle has looked. If
 * the thread ends before that, no transaction has begun.
 *
 * The module makes the offer at the end of a transaction that was committed, or cancelled by
 * STM_IOC_CANCEL. It takes the offer back when a start would have something to do after all: after
 * a load outside of transactions in the mappings, when another thread of the process begins a
 * transaction on the mapped handle, and at any request or call of this thread.
 */
struct stm_start_cell {
	__aligned_u64 offer;
	__aligned_u64 begun;
};
#define STM_CELL_ATTACHED (1ull << 32)
#define STM_CELL_OFFER(site) (3ull << 32 | (site))

/**
 * struct stm_warm_cell - the same, for a thread whose mappings stay warm
 * @offer, @begun: as in struct stm_start_cell
 * @snapshot: written by the module before @offer: of the pages that are in the mappings, or
 *	STM_NO_SNAPSHOT if there are none
 * @ended: written by the program: how many transactions it has ended without a system call
 *
 * In a warm mapping the pages that a transaction has loaded stay in the page table when it ends,
 * and show the snapshot that it had until the thread's next transaction begins. (So a load outside
 * of transactions finds in these pages what was committed up to then; in any other page it finds
 * what was committed last. Stores outside are refused as ever.) STM_IOC_START brings those pages up
 * to date that have changed.
 *
 * Between steps 1 and 2 of struct stm_start_cell the thread compares @snapshot with the region's
 * clock (struct stm_clock), unless it is STM_NO_SNAPSHOT. If they differ, STM_IOC_START is needed.
 *
 * A transaction that began by an offer, and of which the module has not learned until its end, has
 * stored nothing, and everything that it has loaded was valid when it began. To end it, the thread
 * exchanges @begun for 0 if it is still the offer, in one step, and then adds 1 to @ended. If it is
 * 0 already, STM_IOC_COMMIT is needed. Such a transaction is counted in the statistics later, by
 * @ended. It is not traced, and for poll the handle has not looked.
 *
 * STM_IOC_START may take an offer in place of the thread, if it has nothing to do but to bring
 * pages up to date: then @begun is that offer when it returns. The transaction can be ended as any
 * other, or in that way.
 *
 * The pages leave the mappings, and the mappings are as if they were not warm: when another thread
 * of the process begins a transaction on the mapped handle; when the thread calls read or write on
 * the handle outside of a transaction, or waits by STM_IOC_WAIT; when it begins again after a
 * conflict, so that pages which it does not need any more cause no other; when its starts have
 * copied pages anew that were not used since, more often than there are pages, and eight times,
 * because it may need few of them; when the process closes its last descriptor of the file; at the
 * end of the thread, and at exec; after some ten times watchdog_ms without a transaction; and when
 * there are more than 128.
 */
struct stm_warm_cell {
	__aligned_u64 offer;
	__aligned_u64 begun;
	__aligned_u64 snapshot;
	__aligned_u64 ended;
};
#define STM_NO_SNAPSHOT 0xffffffffffffffffull

#define STM_CELL_WARM 0x1 /* since version 1.7 */

/**
 * struct stm_cell - STM_IOC_CELL: set the calling thread's cell for this handle
 * @size: sizeof(struct stm_cell)
 * @flags: 0, or STM_CELL_WARM: the cell is a struct stm_warm_cell, and the mappings stay warm for
 *	this thread, until the request is made without the flag
 * @address: of a struct stm_start_cell, a multiple of its size, in private anonymous memory; 0: the
 *	thread has no cell
 * @signal: for the transactions that begin through the cell, as in STM_START_SIGNAL; 0: none
 * @reserved: 0
 *
 * The page of the cell is pinned. It should be one that fork does not copy (MADV_WIPEONFORK).
 *
 * When any process closes a descriptor of the handle, the module forgets the cell and stores 0 to
 * @offer, because the descriptor's number may be another file's from then on. The module hears of
 * the close when the number is free already. So a program of several threads must make sure that no
 * thread takes an offer for a number that it got while another thread's close of it was in
 * progress.
 *
 * EINVAL: @address is no multiple of the cell's size, is memory of another kind, or lies in a huge
 *	page; or the thread has had no transaction on this handle.
 * EFAULT: The cell cannot be written.
 */
struct stm_cell {
	__u32 size;
	__u32 flags;
	__aligned_u64 address;
	__u32 signal;
	__u32 reserved;
};

/*
 * STM_IOC_COMMIT: end the innermost part
 *
 * The argument is 0. At depth 1 the result tells whether the transaction took effect; in any case
 * the transaction is over. At a greater depth the part becomes part of what is around it.
 *
 * 0: Committed.
 * EAGAIN: Rolled back after a conflict.
 * EINVAL: There is no transaction.
 * EINTR: Rolled back: a fatal signal arrived.
 * E2BIG: Rolled back: the transaction touched more than max_stripes allows.
 * ENOMEM, ENOSPC, ECANCELED: Rolled back; see above.
 * EDEADLK: Rolled back; see STM_IOC_START.
 *
 * At a greater depth only E2BIG, ENOMEM, ENOSPC and ECANCELED are possible. The part is over then,
 * and the transaction around it cannot commit.
 */

#define STM_PIECE_WRITE 0x1 /* to the region; without it, from the region */
#define STM_PIECE_FLAGS 0x1

/**
 * struct stm_vector_piece - a read or a write, one of several in a call
 * @offset: of its first byte in the region
 * @address: of the caller's memory that it fills, or whose bytes it writes
 * @bytes: number of bytes; 0: the piece does nothing
 * @flags: STM_PIECE_*
 */
struct stm_vector_piece {
	__aligned_u64 offset;
	__aligned_u64 address;
	__u32 bytes;
	__u32 flags;
};

#define STM_VECTOR_COMMIT 0x1 /* ends the innermost part after the pieces */
#define STM_VECTOR_BEGIN 0x2  /* begins a transaction before the pieces; not with COMMIT */
#define STM_VECTOR_FLAGS 0x3
#define STM_MAX_PIECES 1024

/**
 * struct stm_vector - STM_IOC_VECTOR: read and write at several offsets
 * @size: sizeof(struct stm_vector)
 * @flags: STM_VECTOR_*
 * @pieces: address of an array of struct stm_vector_piece
 * @count: number of elements, at most STM_MAX_PIECES
 * @reserved: 0
 *
 * The pieces are done one after the other, as by read and write calls: a piece that reads finds
 * what the pieces before it wrote. They belong to the calling thread's transaction on the handle.
 * If there is none, all of them together are a transaction of their own, which is tried again after
 * each conflict. Memory of a piece that reads must not overlap that of another piece. Otherwise it
 * is not specified what is there in the end, or is written. Since version 1.6.
 *
 * There is no short result. If a piece fails, the transaction fails with it, and the memory of all
 * pieces that read may have been changed.
 *
 * COMMIT: The call ends the innermost part of the transaction as well, as STM_IOC_COMMIT does. If a
 * piece fails, the call returns its error, and the transaction is over and has no effect. A nested
 * part is over then, and the transaction around it cannot commit.
 *
 * BEGIN: The call begins a transaction, as STM_IOC_START does without a signal and a site, for the
 * pieces and what follows. As long as the pieces conflict it begins again. If the call fails, no
 * transaction has begun. Since version 1.7.
 *
 * 0: All was done, and with COMMIT committed.
 * EAGAIN: Within a transaction: a conflict; it is doomed, or over with COMMIT.
 * EFAULT: Memory of a piece cannot be read or written.
 * ENOSPC: A piece is not all in the region.
 * ENOMEM, E2BIG, EDEADLK, ECANCELED, EINTR: As for read, write and STM_IOC_COMMIT.
 *
 * These have changed nothing, also not the transaction:
 *   EINVAL: COMMIT, and there is no transaction; BEGIN with COMMIT; or an unknown flag.
 *   EBUSY: BEGIN, and there is a transaction; or as for STM_IOC_START.
 *   EFAULT: The array cannot be read.
 *   EBADF: The handle is not open for reading, or not for writing, which a piece needs.
 *   EOPNOTSUPP: The region is plain.
 *   E2BIG: @count is too large.
 */
struct stm_vector {
	__u32 size;
	__u32 flags;
	__aligned_u64 pieces;
	__u32 count;
	__u32 reserved;
};

/*
 * STM_IOC_CANCEL: undo the innermost part, or with STM_CANCEL_ALL the whole transaction
 *
 * The argument is a number: STM_CANCEL_*.
 *
 * EINVAL: There is no transaction.
 */
#define STM_CANCEL_ALL 0x1
#define STM_CANCEL_KEEP 0x2 /* with ALL: the program does not know yet; see STM_WAIT_KEEP */
#define STM_CANCEL_FLAGS 0x3

/*
 * STM_IOC_VALIDATE: check that everything that the transaction has read is still valid
 *
 * The argument is a number: 0, or STM_VALIDATE_GO_ON.
 *
 * 0: It is.
 * EAGAIN: It is not; the transaction is doomed.
 * EINVAL: There is no transaction.
 * E2BIG, ENOMEM, ENOSPC, ECANCELED: The transaction has failed and cannot commit; see above.
 *
 * GO_ON is for code that cannot be left in the middle. With it, a doomed transaction (EAGAIN) gets
 * a page for each load and store in mappings, until it ends. The page has what was committed last,
 * which need not fit what the transaction read before. None of it will be committed. EINVAL: the
 * module does not know the flag (interface 1.2 and before).
 */
#define STM_VALIDATE_GO_ON 0x1

/**
 * struct stm_wait - STM_IOC_WAIT: end the transaction without effect, sleep until its reads change
 * @size: sizeof(struct stm_wait)
 * @flags: STM_WAIT_*; a module before interface 1.3 knows none (EINVAL)
 * @timeout_ns: nanoseconds, or STM_WAIT_FOREVER
 *
 * The call sleeps until something that the transaction has read changes. When it returns the
 * transaction is over, except after EINVAL, EFAULT and EDEADLK.
 *
 * 0: Something changed, or had changed before.
 * ETIMEDOUT: Nothing changed for that long.
 * EINTR: A signal arrived.
 * EINVAL: There is no transaction.
 * EDEADLK: The transaction has read nothing, so nothing could end the wait.
 * E2BIG, ENOMEM, ENOSPC, ECANCELED: The transaction had failed before; see above.
 *
 * With KEEP the transaction has no effect after ETIMEDOUT, but is still there. What the thread does
 * with the handle fails with ECANCELED until COMMIT, CANCEL or START with RESTART has told it.
 * Signals act on the call as on the interruptible calls of Linux. If no handler ran, or one with
 * SA_RESTART, the call goes on, with UNTIL to the same end. Otherwise it fails with EINTR; then
 * STM_CANCEL_ALL with STM_CANCEL_KEEP makes the transaction as it is after ETIMEDOUT. Without that
 * COMMIT fails with ECANCELED, too.
 */
#define STM_WAIT_KEEP 0x1  /* the thread must learn of the end before it goes on */
#define STM_WAIT_UNTIL 0x2 /* @timeout_ns is a time of CLOCK_MONOTONIC */
#define STM_WAIT_FLAGS 0x3
#define STM_WAIT_FOREVER 0xffffffffffffffffull
struct stm_wait {
	__u32 size;
	__u32 flags;
	__aligned_u64 timeout_ns;
};

/*
 * -- Transactions that a program runs by itself --
 *
 * A program may read in its own address space, without a system call, and hand over what it has
 * read and wants to write: one request commits it, or tells that it cannot be. Everything is as for
 * any other transaction: it is atomic, isolated from all others, and appears at one moment in the
 * one serial order. The module trusts nothing of what it is told. A false read set harms only what
 * that transaction itself writes, and its caller may write there anyway. Since version 1.4.
 *
 * Mappings. Beside the region's bytes, at offset 0, a handle that may read can map three other
 * things, with MAP_SHARED and PROT_READ alone, at offsets from these on. They stay what they are
 * while a transaction runs on the handle. A plain region has none of them (EINVAL). Offset and
 * length are multiples of 4096; what lies behind the end of the region cannot be mapped (EINVAL).
 *
 *   STM_OFFSET_COMMITTED  The region's bytes as they were committed, at the same offsets.
 *   STM_OFFSET_RECORDS    The ownership records, 8 bytes for each stripe of 64 bytes: the record of
 *			   stripe N is at 8 * N. Their pages appear at the first touch.
 *   STM_OFFSET_CLOCK      One page, struct stm_clock.
 *
 * A record is VERSION << 1 when the stripe is unlocked. While a commit has locked it, it is odd,
 * and as an unsigned number above all records that are not. To read a stripe: load its record
 * (acquire), load the bytes (relaxed), an acquire fence, and load the record again. The bytes are
 * those of the snapshot if both loads of the record gave the same even number, and its version is
 * not above the snapshot. The snapshot is the clock, loaded (acquire) before. If the version is
 * above it, a later snapshot may be taken: load the clock, then check that each stripe read so far
 * is still unlocked and not newer than the old snapshot. A program that reads in several regions,
 * each with a clock of its own, loads the clocks of all of them whenever it needs one, and then
 * checks what it has read in all of them. (A process of 32 bits cannot map at such offsets.)
 */
#define STM_OFFSET_COMMITTED (1ull << 56)
#define STM_OFFSET_RECORDS (2ull << 56)
#define STM_OFFSET_CLOCK (3ull << 56)

/**
 * struct stm_clock - the page at STM_OFFSET_CLOCK
 * @now: the region's version clock. Each commit that writes something advances it
 * @reserved: 0
 * @region_size: bytes
 * @stripe_size: bytes of a stripe
 * @record_size: bytes of an ownership record
 * @closed: not 0: commits have to be made by the module; see "Direct regions". Since version 1.8
 * @sleepers: not 0: threads want to be told of commits; see STM_IOC_WAKE. Since version 1.8
 */
struct stm_clock {
	__aligned_u64 now;
	__aligned_u64 reserved[7];
	__aligned_u64 region_size;
	__u32 stripe_size;
	__u32 record_size;
	__u32 closed;
	__u32 sleepers;
};

/**
 * struct stm_stripe_write - what is to be written to one stripe
 * @stripe: its number: its offset in bytes / 64
 * @mask: bit N: byte N is to be written. Not 0
 * @bytes: the new bytes; those without a bit are ignored
 */
struct stm_stripe_write {
	__aligned_u64 stripe;
	__aligned_u64 mask;
	__u8 bytes[64];
};

/*
 * -- Direct regions --
 *
 * The windows of a region with STM_REGION_DIRECT may be mapped for stores as well, by a handle that
 * may write. So its programs can commit without a request. They trust each other: one that stores
 * what it should not harms the bytes of this region, and nothing else. The module relies on nothing
 * that it finds there. All other ways to use a transactional region stay what they are.
 *
 * The first store of an address space to a page goes through only for a thread that has a journal
 * (STM_IOC_JOURNAL). A thread writes into its journal what it is about to do. If it dies, or is
 * stopped for long, the module finishes the commit or undoes it. A thread commits like this:
 *
 *  1. It loads from each page of the bytes that it is about to write, so that the page is there. It
 *     stores @writes, @count, and STM_JOURNAL_ACTIVE to @state.
 *  2. A full memory barrier. If @closed of struct stm_clock is not 0 then, it gives up.
 *  3. It locks the record of each stripe that it writes, in ascending order: it compares the
 *     record, which must be even, and exchanges it for STM_RECORD_LOCKED(owner).
 *  4. It adds 1 to the clock. The result is the commit's version.
 *  5. Unless that is the snapshot plus 1: each stripe that it has read must still be unlocked, or
 *     locked by itself, and not newer than the snapshot. Otherwise it gives up.
 *  6. It stores STM_JOURNAL_COMMITTED(version) to @state (release). From here on the commit has
 *     happened, whatever becomes of the thread.
 *  7. A release fence, and it stores the bytes.
 *  8. It stores VERSION << 1 to the records (release).
 *  9. If @sleepers is not 0: STM_IOC_WAKE.
 * 10. It stores STM_JOURNAL_IDLE to @state (release).
 *
 * To give up, it stores the records that it has exchanged, and then STM_JOURNAL_IDLE. A commit that
 * gives up for step 2, or that does not fit into the journal, is made by STM_IOC_COMMIT_SETS.
 *
 *   STM_OFFSET_JOURNALS  The journals, STM_JOURNAL_BYTES each. The first is that of slot 0.
 */
#define STM_OFFSET_JOURNALS (4ull << 56)
#define STM_JOURNAL_BYTES 8192
#define STM_JOURNAL_WRITES 101
#define STM_MOST_JOURNALS 4096 /* of one region */

#define STM_RECORD_LOCKED(owner) (1ull << 63 | (__u64)(owner) << 1 | 1)

#define STM_JOURNAL_IDLE 0
#define STM_JOURNAL_ACTIVE 1
#define STM_JOURNAL_COMMITTED(version) ((__u64)(version) << 2 | 2)

/**
 * struct stm_journal - what a thread is about to commit to a direct region
 * @state: STM_JOURNAL_*
 * @count: number of elements of @writes
 * @commits: counts the thread's commits; for statistics
 * @conflicts: counts those that gave up, but not for step 2; for statistics
 * @locked: counts those of them that found a record locked by another; for statistics
 * @reserved: 0
 * @writes: in ascending order of the stripes
 */
struct stm_journal {
	__aligned_u64 state;
	__aligned_u64 count;
	__aligned_u64 commits;
	__aligned_u64 conflicts;
	__aligned_u64 locked;
	__aligned_u64 reserved[7];
	struct stm_stripe_write writes[STM_JOURNAL_WRITES];
};

/*
 * The thread was stopped, or slow, and the module has ended the commit of its journal. It was
 * undone, unless it had happened already.
 */
#define STM_JOURNAL_TAKEN 0x1
#define STM_JOURNAL_FINISHED 0x2 /* it had happened */

/**
 * struct stm_claim_journal - STM_IOC_JOURNAL: get the calling thread's journal
 * @size: sizeof(struct stm_claim_journal)
 * @flags: 0
 * @owner: out: the owner in the records that the thread locks
 * @offset: out: of the journal; add it to the address of a mapping of STM_OFFSET_JOURNALS
 * @outcome: out: STM_JOURNAL_TAKEN, STM_JOURNAL_FINISHED
 * @resume: where the thread goes on, with its registers as they are, if a store of it is refused
 *	because its journal was TAKEN. 0: it gets SIGSEGV
 * @reserved: 0
 *
 * A thread has one journal for each handle. It is the thread's until its end, its process's exec,
 * the last close of the handle, or a commit that was TAKEN. After that no store of the thread goes
 * through, in the region, until it has made this request again. A child of fork has none of its
 * parent's.
 *
 * EOPNOTSUPP: The region is not direct.
 * EBADF: The handle is not open for writing.
 * EINVAL: @resume is no address of a program.
 * ENOSPC: All STM_MOST_JOURNALS of the region are in use.
 */
struct stm_claim_journal {
	__u32 size;
	__u32 flags;
	__aligned_u64 owner;
	__aligned_u64 offset;
	__aligned_u64 resume;
	__u32 outcome;
	__u32 reserved;
};

/*
 * STM_IOC_SETTLE: the argument is the number of a stripe of a direct region whose record a thread
 * has found locked for long. If the owner has ended, or has been stopped, its commit is finished or
 * undone. A record that no commit has stored is put in order, at once or by the next transaction
 * with STM_START_SERIAL. 0: the record may be looked at again.
 *
 * EAGAIN: The owner goes on with its commit. Try again later.
 * EINVAL: The region has no such stripe.
 * EOPNOTSUPP: The region is not direct.
 *
 * STM_IOC_WAKE: the argument is the OR of STM_WAKE_KEY() of the stripes that a thread has just
 * written in a direct region. Those who wait for one of them look again.
 *
 * EBADF: The handle is not open for writing.
 * EOPNOTSUPP: The region is not direct.
 */
#define STM_WAKE_KEY(stripe) (1ull << ((__u64)(stripe) * 0x9e3779b97f4a7c15ull >> 58))

/*
 * Stripes that were read: @count of them (1 to 65536), one behind the other, from @first on. In no
 * order, and a stripe may be among them several times.
 */
#define STM_READ_RUN(first, count) ((__u64)(first) | (__u64)((count) - 1) << 48)

/**
 * struct stm_sets - what a transaction has read and wants to write in one region
 * @handle: of @others: the descriptor of a handle of the region. Otherwise -1: the handle is that
 *	of the request
 * @reserved: 0
 * @snapshot: the value of the region's clock at which the reads are valid
 * @reads: address of an array of __u64, STM_READ_RUN()
 * @writes: address of an array of struct stm_stripe_write, in ascending order of @stripe
 * @read_count, @write_count: number of elements
 */
struct stm_sets {
	__s32 handle;
	__u32 reserved;
	__aligned_u64 snapshot;
	__aligned_u64 reads;
	__aligned_u64 writes;
	__u32 read_count;
	__u32 write_count;
};

#define STM_COMMIT_SERIAL 0x1 /* ends the transactions by STM_START_SERIAL on the handles */
#define STM_COMMIT_FLAGS 0x1
#define STM_MAX_OTHERS 15

/**
 * struct stm_commit_sets - STM_IOC_COMMIT_SETS: commit what the program has read and wants to write
 * @size: sizeof(struct stm_commit_sets)
 * @flags: STM_COMMIT_*
 * @sets: those of the handle of the request
 * @others: address of an array of struct stm_sets, of other regions
 * @other_count: number of elements, at most STM_MAX_OTHERS
 * @reserved: 0
 * @version: out after 0: of this commit, in the region of the handle of the request; 0: it has
 *	written nothing there
 * @stripe: out after EAGAIN: the stripe that was in the way
 * @reason: out after EAGAIN: STM_REASON_*
 * @region: out after EAGAIN: the number of the region that was in the way: 0 for @sets, 1 for the
 *	first of @others
 *
 * All sets take effect at one moment, or none does. A region may be there once only, whatever its
 * handles. A commit that writes nothing checks that everything read is still valid.
 *
 * With SERIAL the calling thread has begun a transaction with STM_START_SERIAL on each of the
 * handles, and done nothing else in it, neither by calls nor in mappings. As long as it holds the
 * serial tokens, no other transaction commits, so one that has begun to read after that cannot
 * conflict. If one of the tokens has been taken away (see the parameter serial_lease_ms), the
 * others are given back, and the commit is one like any other. After 0, EAGAIN, EINTR and EDEADLK
 * these transactions are over; after any other error they are still there. Each of them is counted
 * in its region's statistics, and ends there as the commit does, which is not counted beside it.
 *
 * 0: Committed.
 * EAGAIN: Something that was read has changed, or a stripe stayed locked; or SERIAL, and another
 *	thread of the process has stored to a mapping meanwhile. Nothing was written.
 * EINVAL: A stripe lies outside of the region, the writes are not in ascending order, a mask is 0,
 *	a region is there twice; or SERIAL, and a transaction is missing, or has written something
 *	by a call or by a store to a mapping.
 * EBADF: One of @others is no handle, or a handle that has to write may not.
 * EACCES: A handle may not read, and @read_count is not 0.
 * EOPNOTSUPP: A region is plain.
 * E2BIG: More than max_stripes stripes, or too many others.
 * ENOSPC, ENOMEM, EINTR: Nothing was written.
 * EDEADLK: See STM_IOC_START.
 * ECANCELED: SERIAL, and a transaction has lost its file: see STM_IOC_COMMIT.
 */
struct stm_commit_sets {
	__u32 size;
	__u32 flags;
	struct stm_sets sets;
	__aligned_u64 others;
	__u32 other_count;
	__u32 reserved;
	__aligned_u64 version;
	__aligned_u64 stripe;
	__u32 reason;
	__u32 region;
};

/**
 * struct stm_wait_sets - STM_IOC_WAIT_SETS: sleep until something that was read changes
 * @size: sizeof(struct stm_wait_sets)
 * @flags: 0, or STM_WAIT_UNTIL
 * @sets: those of the handle of the request, without writes
 * @others: address of an array of struct stm_sets, of other regions, without writes
 * @other_count: number of elements, at most STM_MAX_OTHERS
 * @reserved: 0
 * @timeout_ns: as in struct stm_wait
 *
 * A commit that writes to a stripe ends the wait, also if it writes the bytes that were there.
 *
 * 0: Something has changed since the snapshot, or is about to.
 * ETIMEDOUT: Nothing changed for that long.
 * EINTR: A signal arrived.
 * EDEADLK: Nothing was read, so nothing could end the wait.
 * EINVAL, EBADF, EACCES, EOPNOTSUPP, E2BIG, ENOMEM: As for STM_IOC_COMMIT_SETS.
 */
struct stm_wait_sets {
	__u32 size;
	__u32 flags;
	struct stm_sets sets;
	__aligned_u64 others;
	__u32 other_count;
	__u32 reserved;
	__aligned_u64 timeout_ns;
};

/* Why a transaction ended, or is doomed. */
#define STM_REASON_NONE 0              /* it did not end, or it was committed */
#define STM_REASON_READ_LOCKED 1       /* a commit kept a stripe locked that was to be read */
#define STM_REASON_READ_VALIDATION 2   /* a read noticed that earlier reads have changed */
#define STM_REASON_COMMIT_LOCKED 3     /* another commit kept a stripe locked that was written */
#define STM_REASON_COMMIT_VALIDATION 4 /* the commit noticed that reads have changed */
#define STM_REASON_TOO_BIG 5           /* more than the module's limits allow */
#define STM_REASON_NO_MEMORY 6
#define STM_REASON_CANCEL 7        /* the program cancelled */
#define STM_REASON_RETRY 8         /* STM_IOC_WAIT, or RESTART of a valid transaction */
#define STM_REASON_SIGNAL 9        /* a signal interrupted a wait within the commit */
#define STM_REASON_KILLED 10       /* the thread ended, or called exec */
#define STM_REASON_SERIAL_WAIT 11  /* the thread holds the token itself, by another handle */
#define STM_REASON_OUT_OF_RANGE 12 /* behind the end of the region */
#define STM_REASON_FAULT 13        /* the caller's own memory cannot be read or written */
#define STM_REASON_CLOSED 14       /* the process closed its last descriptor of the file */
/*
 * It has read for so long that its snapshot was fixed, and what it needs of that is not kept any
 * more: the bound max_old_bytes was reached, or there was no memory. Since version 1.10.
 */
#define STM_REASON_SNAPSHOT_TOO_OLD 15
#define STM_REASONS 16

/**
 * struct stm_transaction - STM_IOC_TRANSACTION: the calling thread's transaction on this handle
 * @size: sizeof(struct stm_transaction)
 * @flags: 0
 * @depth: out: nesting depth; 0: none runs
 * @doom: out: STM_REASON_* why it cannot commit any more; NONE: it may
 * @last_reason: out: STM_REASON_* of the last one that ended
 * @serial: out: 1 if it holds the serial token
 * @stripes_read, @stripes_written: out: size of the read and the write set, in stripes of 64 bytes
 * @conflicts: out: conflicts in a row of the attempts so far
 * @longest_streak: out: most conflicts in a row of any transaction of this thread on this handle
 * @has_place: out: 1 if @place is known
 * @reserved: 0
 * @place: out: the stripe that was in the way of the last conflict, as an offset in bytes
 * @snapshot: out: of the one that runs: what the region's clock said
 * @fixed: out: 1 if that snapshot is fixed: see "Long readers" of STM_IOC_START
 * @reserved2: 0
 *
 * The members from @has_place on are there since version 1.9, those from @snapshot on since 1.10.
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
	/* The structure of version 1.0 ended here. */
	__u32 has_place;
	__u32 reserved;
	__aligned_u64 place;
	__aligned_u64 snapshot;
	__u32 fixed;
	__u32 reserved2;
};

#define STM_STATISTICS_OF_HANDLE 0x10 /* only of this open file; with BY_HANDLE */

/**
 * struct stm_statistics - STM_IOC_STATISTICS: transactions of a region since its creation
 * @size: sizeof(struct stm_statistics)
 * @flags: STM_BY_HANDLE, STM_BY_ID or STM_BY_NAME; STM_STATISTICS_OF_HANDLE
 * @id: in with BY_ID; out: the region's id
 * @starts: out: transactions begun; single read and write calls do not count
 * @commits: out: transactions committed; those that programs commit by themselves (see "Direct
 *	regions") as they have counted them
 * @read_only: out: of these, transactions that wrote nothing
 * @calls: out: single read and write calls that were a transaction of their own
 * @aborts: out: number of transactions that ended by each STM_REASON_*
 * @restarts: out: STM_START_RESTART of a running transaction
 * @serial: out: transactions that held the serial token
 * @waits: out: STM_IOC_WAIT calls that slept
 * @signals: out: signals sent to doomed transactions
 * @extensions: out: times that a snapshot was moved forward
 * @longest_streak: out: most conflicts in a row of one transaction
 * @last_committer_pid: out: in the caller's pid namespace; 0: none. Only of commits by the module
 * @waiting: out: threads that sleep in STM_IOC_WAIT now
 * @name: in with BY_NAME
 * @load_faults, @store_faults: out: page faults of loads and of stores, of transactions in mappings
 * @predicted_used, @predicted_unused: out: pages that were mapped at the start of a transaction,
 *	and then were touched, or were not
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
	/* The structure of version 1.0 ended here. */
	__aligned_u64 load_faults;
	__aligned_u64 store_faults;
	__aligned_u64 predicted_used;
	__aligned_u64 predicted_unused;
};

/*
 * poll, select and epoll on a handle: It is readable (POLLIN) when something was committed to the
 * region, by a transaction or a write call, since this handle last looked. A handle looks when it
 * is opened, at STM_IOC_START, and at a read call outside of a transaction. It is always writable.
 *
 * lseek with SEEK_DATA and SEEK_HOLE: A hole is what nobody has touched. It reads as zeros and
 * occupies no memory. Older modules, with an interface up to 1.9, may not know them (EINVAL).
 */

#endif /* STM_IOCTL_H */
