/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System V shared memory on regions of the module stm
 *
 * The functions do what shmget(2), shmat(2), shmdt(2) and shmctl(2) do, with the same arguments,
 * results and errors. But the segments are plain regions of the module instead of the kernel's own
 * segments, and have ids of their own. libstm-sysv.so also has them under the names shmget, shmat,
 * shmdt and shmctl, so an unchanged program uses them when the library is preloaded:
 *
 *     LD_PRELOAD=libstm-sysv.so ipcmk -M 4096
 *
 * or when it is linked before the C library (-lstm-sysv). A preloaded program that opens
 * /proc/sysvipc/shm by fopen() reads the list of these segments.
 *
 * The library keeps nothing: what it needs of a segment is in the module. So a process may be
 * killed at any instruction, and no lock, count or list is left wrong. It opens the control device
 * for each call and closes it again. Attaches are counted, and their times and processes are noted,
 * by the module: for mappings that fork copies, and for those that end by exec or with their
 * process, too.
 *
 * What differs from the kernel's own segments:
 *   Names. There is one set of keys for the whole machine, which IPC namespaces do not divide.
 *   Memory. It is never swapped. So SHM_LOCK only leaves its mark (SHM_LOCKED), by the same rules:
 *     the owner, or CAP_IPC_LOCK; not with RLIMIT_MEMLOCK 0 (EPERM), nor for a segment that is
 *     larger than RLIMIT_MEMLOCK (ENOMEM). The attached memory is not in core files, and mremap()
 *     cannot grow it.
 *   SHM_HUGETLB is refused with EINVAL, and SHM_EXEC with EACCES.
 *   Limits are those of the module, for all users and for each: SHMMAX is max_region_bytes, SHMALL
 *     max_bytes, SHMMNI max_regions (IPC_INFO, 'stmctl limits'). /proc/sys/kernel/shm* has no
 *     meaning for them, although 'ipcs -l' shows it.
 *   Privileges are asked in the initial user namespace. The root of a container is a user.
 *   Descriptors. Each call uses up to two while it runs, so it can also fail with EMFILE or ENFILE.
 *     A child that another thread forks in the middle of shmat() keeps the segment in use until it
 *     calls exec or ends.
 *   Pointers. A bad address for the argument @buf of shmctl, other than NULL, is a fault of the
 *     program instead of EFAULT.
 *   Without a module that knows segments (version 1.4), or without access to /dev/stm, all calls
 *     fail with ENOSYS. A program that closes itself in by chroot() needs the node there.
 *   A program that makes the system calls itself is not reached, nor is one with the set-user-ID
 * bit by LD_PRELOAD.
 *
 * Any thread may call these functions, and so may a signal handler. They are no cancellation
 * points.
 */
#ifndef STM_SYSV_H
#define STM_SYSV_H

#include <stddef.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

/**
 * stm_shmget - find or create a segment
 * @key: its key, or IPC_PRIVATE for a new one without
 * @size: bytes; of a new one at least 1. It is kept as it is, and rounded up for the mapping
 * @flags: permission bits of a new segment, whatever the umask; IPC_CREAT, IPC_EXCL
 *
 * Returns its id, or -1 with errno:
 *   ENOENT  there is none, and IPC_CREAT is not given
 *   EEXIST  there is one, and IPC_CREAT and IPC_EXCL are given
 *   EACCES  the permission bits in @flags ask for more than its mode gives to the caller
 *   EINVAL  @size is larger than an existing segment, or no size for a new one
 *   ENOSPC  a limit on the number or the bytes of all regions, or of the caller's, is reached
 *   ENOMEM  there is no memory
 */
int stm_shmget(key_t key, size_t size, int flags);

/**
 * stm_shmat - attach a segment
 * @id: the segment; one that was removed can be attached as long as it is attached elsewhere
 * @address: where; NULL: anywhere
 * @flags: SHM_RDONLY: for reading only; SHM_RND: @address is rounded down to SHMLBA; SHM_REMAP:
 *	replaces what is mapped there
 *
 * Returns the address, or (void *)-1 with errno:
 *   EINVAL  there is no such segment; @address is not a multiple of SHMLBA; something is mapped
 *           there; or SHM_REMAP without an address
 *   EIDRM   the segment was removed, and another one has its place
 *   EACCES  the mode forbids it, or SHM_EXEC is given
 *   ENOMEM  there is no room in the address space, or no memory
 */
void* stm_shmat(int id, const void* address, int flags);

/**
 * stm_shmdt - detach a segment
 * @address: where it was attached
 *
 * Returns 0, or -1 with errno EINVAL: nothing was attached there.
 */
int stm_shmdt(const void* address);

/**
 * stm_shmctl - tell, change and remove
 * @id: a segment; for SHM_STAT and SHM_STAT_ANY an index from 0 to what SHM_INFO returns; ignored
 *by IPC_INFO and SHM_INFO if it is not negative
 * @command: IPC_STAT, IPC_SET, IPC_RMID, SHM_LOCK, SHM_UNLOCK, SHM_STAT, SHM_STAT_ANY, IPC_INFO or
 *	SHM_INFO
 * @buf: of the type that belongs to the command
 *
 * Returns for SHM_STAT and SHM_STAT_ANY the id, for IPC_INFO and SHM_INFO the highest index in use,
 * else 0; or -1 with errno:
 *   EINVAL  there is no such segment, index or command, or IPC_SET names nobody as the owner
 *   EIDRM   the segment was removed, and another one has its place
 *   EACCES  IPC_STAT, SHM_STAT: the caller may not read it
 *   EPERM   the caller is neither its owner nor its creator and has no CAP_SYS_ADMIN
 *   EFAULT  @buf is NULL and is needed
 *   ENOMEM  SHM_LOCK: the segment is larger than RLIMIT_MEMLOCK
 */
int stm_shmctl(int id, int command, struct shmid_ds* buf);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop

#endif /* STM_SYSV_H */
