/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Named regions of memory that processes share through the kernel module stm.ko
 *
 * A region has a name, a fixed size in bytes, and an owner, a group and permission bits like a
 * file. It holds zeros at first. It lives until it is destroyed (stm_unlink), or with STM_EPHEMERAL
 * until its last user is gone.
 *
 * A descriptor that one of these functions returns is a handle of the region. It works with the
 * system calls of a file: read, write, pread, pwrite, readv, writev, lseek, mmap (MAP_SHARED),
 * fstat, fchmod, fchown, close. A mapping keeps the region in use after the handle is closed. A
 * child made by fork inherits descriptors, and so does exec, unless they have STM_CLOEXEC.
 *
 * Any thread may call these functions at any time. No signal handler may call them, except
 * stm_version. A function that fails returns -1, sets errno, and has changed nothing. With
 * STM_DEBUG=1 in the environment the library says on standard error why a call failed.
 *
 * The environment variable STM_DEVICE names the control device if it is not /dev/stm. It is ignored
 * in set-user-id programs.
 *
 * Errors of every function that talks to the module:
 *   ENODEV  There is no control device: the module is not loaded ("modprobe stm"), or STM_DEVICE
 *           names something else.
 *   EPROTO  The loaded module speaks another major version of the interface than this library.
 *   EACCES  This user cannot open the control device.
 *   EMFILE, ENFILE  Too many files are open.
 *   ENOMEM  No memory is left.
 */
#ifndef STM_STM_H
#define STM_STM_H

#include <stddef.h>
#include <stm/transaction.h> /* IWYU pragma: export */
#include <sys/types.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
/* Two functions have the names of structures of stm/ioctl.h. As with stat that is legal, but
 * -Wshadow warns. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/* The version of these headers. stm_version() returns that of the library in use. */
#define STM_VERSION_MAJOR 0
#define STM_VERSION_MINOR 1
#define STM_VERSION_PATCH 0
#define STM_VERSION_STRING "0.1.0"

/*
 * Flags of stm_open(). They share no bit with the flags of open(2) or of the ioctl interface. So
 * O_CREAT in the place of STM_CREATE fails with EINVAL and is not misunderstood.
 */
#define STM_CREATE 0x01000000	 /* create the region if there is none of this name */
#define STM_EXCL 0x02000000	 /* with STM_CREATE: fail with EEXIST if there is one */
#define STM_PLAIN 0x04000000	 /* ordinary shared memory, mapped read-write: no transactions */
#define STM_MUTEX 0x08000000	 /* transactions take the region's lock; not with STM_PLAIN */
#define STM_EPHEMERAL 0x10000000 /* a new region is destroyed with its last handle or mapping */
#define STM_RDONLY 0x20000000	 /* the handle may only read; without it, read and write */
#define STM_EXEC 0x40000000	 /* may be mapped PROT_EXEC, but never writable; needs STM_PLAIN */
#define STM_CLOEXEC 0x00800000	 /* exec closes the descriptor */
#define STM_DIRECT (-0x7fffffff - 1) /* 1 << 31: programs commit by themselves; see below */

/**
 * stm_create - make a device node that stands for a region, and open it
 * @filename: path of the node. The region's name is this path, absolute and without symbolic links,
 *	"." and ".."
 * @size: bytes of the region, at least 1; rounded up to whole pages
 *
 * Makes the transactional region of that name if there is none. Makes the node (mode 0666 less the
 * umask) if there is none. Opens the node for reading and writing. Every process that calls it with
 * the same file gets the same region.
 *
 * A file may exist already:
 *   - A node of this driver is reused if its region has this path as its name, has no name because
 *     it was made by opening a node, or is the region `default`.
 *   - A node of this driver whose minor number stands for nothing, or for a region of another name,
 *     is left over from an earlier life of the module. It is replaced, in one step, by a node of
 *     this path's own region. So no process gets the memory of another region through an old file.
 *   - Anything else: EEXIST.
 *
 * If the node cannot be made, replaced or used (no CAP_MKNOD, a read-only or nodev file system),
 * the region is attached by its name through the control device. The result is the same but for the
 * missing node. fchmod and fchown on a descriptor of a node change the node; on a descriptor from
 * stm_open() they change the region.
 *
 * Returns a descriptor, or -1 with errno:
 *   EINVAL        @filename is NULL, @size is not positive, or the region exists and is smaller
 *                 than @size
 *   EEXIST        @filename is a file of another kind
 *   ENOENT, ENOTDIR, ELOOP  the folder of @filename cannot be found
 *   ENAMETOOLONG  the absolute path has more than 255 bytes
 *   EACCES        the permissions of the node or of the region forbid it
 *   EFBIG, ENOSPC a limit of the module is reached: bytes of one region, or number or bytes of
 *                 regions, of all or of this user's
 *   ESTALE        others kept replacing the file meanwhile
 */
int stm_create(char *filename, int size);

/**
 * stm_open - open a named region, or create it
 * @name: its name, any string of 1 to 255 bytes, compared in full. Names that begin with "minor:"
 *	belong to regions made by opening a device node. Those can be opened but not created
 * @size: bytes wanted, rounded up to whole pages. 0 accepts the size of an existing region, and
 *	means the module's default size for a new one. An existing region keeps its size
 * @flags: STM_* above, or 0
 * @mode: permission bits (0777) of a new region, less the umask; ignored if none is created
 *
 * The descriptor can be used with mmap (MAP_SHARED), with transactions (<stm/transaction.h>), and
 * with the calls of a file of fixed size: read, write, pread, pwrite, lseek and their relatives. A
 * write at the end gets ENOSPC, since nothing can be appended. So does every write with O_APPEND,
 * set by fcntl or by opening a node with it, as the shell's >> does.
 *
 * STM_PLAIN, STM_MUTEX, STM_EXEC and STM_DIRECT tell what a new region is. An existing region must
 * be what is asked for: with STM_CREATE exactly that, without STM_CREATE at least that. So 0
 * accepts a region of any kind.
 *
 * STM_DIRECT: the typed transactions of <stm/tx.h> and <stm/stm.hpp> commit without a system call,
 * by stores of the program itself, in every process that may write to the region. So these
 * processes trust each other: a stray store of one of them may change the region's bytes, and
 * nothing else. A process may still be killed at any instruction: the kernel finishes or undoes its
 * commit. All other ways to use the region are the same. Not with STM_PLAIN or STM_MUTEX.
 *
 * Returns a descriptor, or -1 with errno:
 *   ENOENT        there is no such region, and STM_CREATE was not given
 *   EEXIST        there is one, and STM_EXCL was given
 *   EACCES        its mode forbids what is asked
 *   EINVAL        @name is NULL or empty, or begins with "minor:" and is to be created; the flags
 *                 are an impossible combination; @mode has bits that are not permissions; the
 *                 existing region is smaller than @size, or of another kind
 *   ENAMETOOLONG  @name has more than 255 bytes
 *   EFBIG, ENOSPC a limit of the module is reached: bytes of one region, or number or bytes of
 *                 regions, of all or of this user's
 */
int stm_open(const char *name, size_t size, int flags, mode_t mode);

/**
 * stm_unlink - destroy a region that is not in use
 * @name: its name. The name of a region that stm_create() made is its path; unlink(2) removes the
 *	node
 *
 * Returns 0, or -1 with errno:
 *   EBUSY         some process has a handle or a mapping of it, or it is the region `default`
 *   ENOENT        there is no such region
 *   EPERM         the caller does not own it
 *   EINVAL, ENAMETOOLONG  as for stm_open()
 */
int stm_unlink(const char *name);

/**
 * stm_name - give a name to a part of a region, for people
 * @fd: a handle that is open for writing
 * @offset: of the part's first byte in the region
 * @size: its bytes, at least 1
 * @name: at most 39 bytes; NULL or empty takes the name of this offset and size away
 *
 * Tools show the name beside conflicts: stmctl top, trace and heatmap. It changes nothing else. A
 * part has one name, the last one that it was given. Parts may overlap; a byte is called as the
 * shortest part is that it lies in. A region keeps up to 256 names as long as it lives.
 *
 * Returns 0, or -1 with errno:
 *   EINVAL        the part is empty, or not all of it lies in the region
 *   ENAMETOOLONG  @name is too long
 *   ENOSPC        the region has 256 names
 *   ENOENT        there is no name to be taken away
 *   EBADF         the handle is not open for writing
 *   ENOTTY        @fd is no handle, or the module is older than the library
 */
int stm_name(int fd, size_t offset, size_t size, const char *name);

/**
 * stm_set_dump - have the region in core files, for a debugger
 * @fd: a handle
 * @dump: 1: core files have the mappings of @fd; 0: they do not, which is the default
 *
 * A core file is what a process leaves that is killed by SIGSEGV, SIGABRT and their like (core(5)).
 * It leaves regions out, because they may be large, and a debugger then shows zeros in their place.
 * (Linux refuses MADV_DODUMP for such mappings.) This function changes that for all mappings of the
 * handle, those that exist and those to come, also in other processes that have the same open file.
 * The handle of stm_region_open() and of stm::region has the mapping of their variables. Settings
 * of coredump_filter do not matter.
 *
 * What is in the file: pages that nobody has ever touched are holes, which take no place on disk
 * and read as zeros. Within a transaction, pages that it has touched in mappings are as it saw
 * them. Other pages, and the variables of <stm/tx.h>, are as they were committed when the file was
 * written. Others may go on to commit meanwhile, so two pages need not be of one moment.
 *
 * With STM_DUMP=1 in the environment this holds for every handle that the library opens.
 *
 * Returns 0, or -1 with errno: EBADF, ENOTTY: @fd is no handle, or the module is older than
 * interface 1.9.
 */
int stm_set_dump(int fd, int dump);

/**
 * stm_unlink_deferred - take a region's name away now, and destroy it with its last user
 * @name: its name
 *
 * Its users keep it as it is. The name is free for another region at once. A region that is not in
 * use is destroyed at once.
 *
 * Returns 0, or -1 with errno as stm_unlink(); EBUSY only for the region `default`.
 */
int stm_unlink_deferred(const char *name);

/**
 * stm_size - the size of a handle's region
 * @fd: a handle
 *
 * Returns bytes, or -1 with errno: EBADF: @fd is not open. ENOTTY, EINVAL: @fd is no handle. The
 * result 0 means that the region has no size yet, and takes the default size at its first use.
 */
ssize_t stm_size(int fd);

/**
 * stm_version - the version of the library in use
 *
 * Returns a text like STM_VERSION_STRING. It always succeeds, and a signal handler may call it.
 */
const char *stm_version(void);

#ifdef __cplusplus
#pragma GCC diagnostic pop
}
#endif
#pragma GCC visibility pop

#endif /* STM_STM_H */
