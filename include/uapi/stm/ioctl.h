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
 *   EFAULT  the structure, or memory that it points to, can not be read or written
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
#define STM_ABI_MINOR 0

/* Size in bytes of a region's name with its terminating NUL. A name is any non-empty string that fits. */
#define STM_NAME_SIZE 256

#define STM_IOC_TYPE 0xB5

#define STM_IOC_VERSION _IO(STM_IOC_TYPE, 0x00)
#define STM_IOC_OPEN _IO(STM_IOC_TYPE, 0x01)
#define STM_IOC_SET_SIZE _IO(STM_IOC_TYPE, 0x02)
#define STM_IOC_INFO _IO(STM_IOC_TYPE, 0x03)
#define STM_IOC_ATTACHMENTS _IO(STM_IOC_TYPE, 0x04)
#define STM_IOC_DESTROY _IO(STM_IOC_TYPE, 0x05)

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
#define STM_OPEN_WRITE 0x2   /* the handle may write; implies STM_OPEN_READ for mapping */
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
 * its owner, group and mode decide (and may be changed by fchmod and fchown on a handle).
 *
 * ENOENT: no such region and no CREATE. EEXIST: with EXCL. EACCES: the mode forbids it. EINVAL: empty name, more bytes
 * than the existing region has, EXEC without PLAIN, MUTEX with PLAIN. ENAMETOOLONG: no NUL within @name. EFBIG: larger
 * than max_region_bytes. ENOSPC: a limit on the number or bytes of regions, of all or of this user, is reached.
 * ESTALE: @id is of a region that is gone. EMFILE, ENFILE: too many open files.
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
 * default_size at its first read, write or mmap. Asking again for no more than it has is no error and changes nothing.
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
#define STM_BY_FLAGS 0xf

#define STM_STATE_UNLINKED 0x1 /* destroyed with DEFERRED: the name is gone, the last user still has it */
#define STM_STATE_SIZED 0x2    /* the size is settled */

/**
 * struct stm_info - STM_IOC_INFO: what a region is and how it is used
 * @size: sizeof(struct stm_info)
 * @flags: STM_BY_*
 * @id: in with BY_ID; out: generation in the upper 32 bits, minor in the lower
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
 * ENOENT: no such region, or with BY_NEXT none left. ESTALE: @id is of a region that is gone. Anyone may ask; it is
 * what ipcs shows.
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
 * @address: start of the mapping; 0 for a handle, and for a mapping of another user's process (unless privileged)
 * @length: bytes mapped
 * @offset: offset in the region of the first byte mapped
 * @protection: PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4 (a handle: what it may do)
 * @reserved: 0
 * @command: the process's name, NUL terminated
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
 * ENOENT, ESTALE: as STM_IOC_INFO. EPERM: the caller is not the owner and has no CAP_FOWNER. EBUSY: it is in use and
 * DEFERRED was not given, or it is the region `default`.
 */
struct stm_destroy {
	__u32 size;
	__u32 flags;
	__aligned_u64 id;
	char name[STM_NAME_SIZE];
};

#endif /* STM_IOCTL_H */
