/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Named regions of memory that processes share through the kernel module stm.ko.
 *
 * A region has a name, a fixed size in bytes, an owner, a group and permission bits like a file, and holds zeros at
 * first. It lives until it is destroyed (stm_unlink) or, with STM_EPHEMERAL, until its last user is gone. A descriptor
 * that one of these functions returns is a handle of the region and works with the system calls of a file: read,
 * write, pread, pwrite, readv, writev, lseek, mmap (MAP_SHARED), fstat, fchmod, fchown, close. A mapping keeps the
 * region in use after the handle is closed. Descriptors are inherited by fork, and by exec unless STM_CLOEXEC.
 *
 * Every function here may be called by any thread at any time. None may be called by a signal handler, except
 * stm_version. Functions that fail return -1 and set errno, and have changed nothing. With STM_DEBUG=1 in the
 * environment the library says on standard error why a call failed.
 *
 * The environment variable STM_DEVICE names the control device when it is not /dev/stm (ignored in set-user-id
 * programs).
 *
 * Errors that every function that talks to the module can give:
 *   ENODEV  there is no control device: the module is not loaded ("modprobe stm"), or STM_DEVICE is something else
 *   EPROTO  the loaded module speaks another major version of the interface than this library
 *   EACCES  the control device cannot be opened by this user
 *   EMFILE, ENFILE  too many open files; ENOMEM  no memory left
 */
#ifndef STM_STM_H
#define STM_STM_H

#include <stddef.h>
#include <stm/transaction.h>
#include <sys/types.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
/* As with stat, stm/ioctl.h has structures of the same names as two functions: legal, but -Wshadow minds. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/* The version of these headers; stm_version() tells that of the library in use. */
#define STM_VERSION_MAJOR 0
#define STM_VERSION_MINOR 1
#define STM_VERSION_PATCH 0
#define STM_VERSION_STRING "0.1.0"

/*
 * Flags of stm_open(). Their values share no bit with those of open(2) or of the ioctl interface, so that O_CREAT in
 * the place of STM_CREATE is refused with EINVAL and not misunderstood.
 */
#define STM_CREATE 0x01000000	 /* create the region when there is none of this name */
#define STM_EXCL 0x02000000	 /* with STM_CREATE: fail with EEXIST when there is one */
#define STM_PLAIN 0x04000000	 /* ordinary shared memory, mapped read-write, without transactions */
#define STM_MUTEX 0x08000000	 /* transactions take the region's lock instead of being optimistic; not with PLAIN */
#define STM_EPHEMERAL 0x10000000 /* a new region is destroyed with its last user (handle or mapping) */
#define STM_RDONLY 0x20000000	 /* the handle may only read; without it, it may read and write */
#define STM_EXEC 0x40000000	 /* may be mapped PROT_EXEC, though never together with PROT_WRITE; needs PLAIN */
#define STM_CLOEXEC 0x00800000	 /* the descriptor is closed by exec */

/**
 * stm_create - make a device node that stands for a region, and open it
 * @filename: path of the node. The region's name is this path, absolute and without symbolic links, "." and ".."
 * @size: bytes of the region, at least 1; rounded up to whole pages
 *
 * Makes the transactional region of that name when there is none, makes the node (mode 0666 less the umask) when
 * there is none, and opens the node for reading and writing. Every process that calls it with the same file gets the
 * same region. What happens to a file that exists already:
 *
 *   a node of this driver whose region has this path as its name, or has no name because it was made by opening a
 *   node, or is the region `default`: it is reused;
 *   a node of this driver whose minor number stands for nothing or for a region of another name: it is left over from
 *   an earlier life of the module. It is replaced, in one step, by a node of this path's own region, so that nobody
 *   ever gets another's memory through an old file;
 *   anything else: EEXIST.
 *
 * When the node cannot be made, replaced or used (no CAP_MKNOD, a read-only or nodev file system) the region is
 * attached by its name through the control device, and the result is the same but for the missing node. fchmod and
 * fchown on a descriptor of a node change the node; on one from stm_open() they change the region.
 *
 * Returns a descriptor, or -1 with errno:
 *   EINVAL        @filename is NULL, @size is not positive, or the region exists and is smaller than @size
 *   EEXIST        @filename is a file of another kind
 *   ENOENT, ENOTDIR, ELOOP  the folder of @filename cannot be found
 *   ENAMETOOLONG  the absolute path has more than 255 bytes
 *   EACCES        the permissions of the node or of the region forbid it
 *   EFBIG, ENOSPC a limit of the module: bytes of one region; number or bytes of all regions, or of this user's
 *   ESTALE        others kept replacing the file meanwhile
 */
int stm_create(char *filename, int size);

/**
 * stm_open - open a named region, or create it
 * @name: its name: any string of 1 to 255 bytes, compared in full. Names that begin with "minor:" are those of regions
 *	made by opening a device node, and can be opened but not created
 * @size: bytes wanted, rounded up to whole pages; 0 takes what an existing region has, or the module's default size
 *	for a new one. An existing region keeps its size
 * @flags: STM_* above, or 0
 * @mode: permission bits (0777) of a new region, less the umask; ignored when none is created
 *
 * What can be done with the descriptor: mmap() it MAP_SHARED, transactions (<stm/transaction.h>), and calls as on a file of
 * fixed size: read, write, pread, pwrite, lseek and their relatives. A write at the end gets ENOSPC; so does each one with
 * O_APPEND (set by fcntl, or by opening a node with it, as the shell's >> does), since there is nothing to append to.
 *
 * STM_PLAIN, STM_MUTEX and STM_EXEC say what a new region is. An existing region must be what is asked for: with
 * STM_CREATE exactly that, without STM_CREATE at least that, so that 0 takes a region of any kind.
 *
 * Returns a descriptor, or -1 with errno:
 *   ENOENT        there is no such region, and no STM_CREATE
 *   EEXIST        there is one, with STM_EXCL
 *   EACCES        its mode forbids what is asked
 *   EINVAL        @name is NULL, empty or (to create) begins with "minor:"; an impossible combination of flags; bits in @mode that are not
 *		   permissions; the existing region is smaller than @size or of another kind
 *   ENAMETOOLONG  @name has more than 255 bytes
 *   EFBIG, ENOSPC a limit of the module: bytes of one region; number or bytes of all regions, or of this user's
 */
int stm_open(const char *name, size_t size, int flags, mode_t mode);

/**
 * stm_unlink - destroy a region that nobody uses
 * @name: its name. A region that stm_create() made has its path as its name; the node is removed with unlink(2)
 *
 * Returns 0, or -1 with errno: EBUSY: someone has a handle or a mapping of it, or it is the region `default`.
 * ENOENT: there is none. EPERM: the caller does not own it. EINVAL, ENAMETOOLONG: as stm_open().
 */
int stm_unlink(const char *name);

/**
 * stm_unlink_deferred - take a region's name away now, and destroy it with its last user
 * @name: its name
 *
 * Those who use it keep it as it is; the name is free for another region at once. A region that nobody uses is
 * destroyed at once. Returns 0, or -1 with errno as stm_unlink(); EBUSY only for the region `default`.
 */
int stm_unlink_deferred(const char *name);

/**
 * stm_size - the size of a handle's region
 * @fd: a handle
 *
 * Returns bytes (0: the region has none yet and takes the default at its first use), or -1 with errno: EBADF: no open
 * descriptor. ENOTTY or EINVAL: not a handle.
 */
ssize_t stm_size(int fd);

/** stm_version - the version of the library in use, as in STM_VERSION_STRING. Always succeeds. */
const char *stm_version(void);

#ifdef __cplusplus
#pragma GCC diagnostic pop
}
#endif
#pragma GCC visibility pop

#endif /* STM_STM_H */
