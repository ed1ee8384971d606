/* SPDX-License-Identifier: GPL-2.0 */
/* Every difference between the supported kernels (6.1 and 6.12) that the glue meets, and only these. */
#ifndef STM_COMPAT_H
#define STM_COMPAT_H

#include <linux/device/class.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/splice.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "stm needs Linux 6.1 or later"
#endif

static inline void stm_vm_flags_change(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* Since Linux 6.4 each mapping has a lock, which may stand for mmap_lock in a program's fault. It is held until mmap_lock is given back. */
#ifdef CONFIG_PER_VMA_LOCK
#define STM_MAPPINGS_HAVE_LOCKS 1
static inline void stm_lock_mapping(struct vm_area_struct *vma)
{
	vma_start_write(vma);
}
#else
#define STM_MAPPINGS_HAVE_LOCKS 0
static inline void stm_lock_mapping(struct vm_area_struct *vma)
{
}
#endif

/* A protection with which a page is entered in a page table as not accessed yet: x86's bit for that. */
static inline pgprot_t stm_never_accessed(pgprot_t protection)
{
	return __pgprot(pgprot_val(protection) & ~_PAGE_ACCESSED);
}

static inline struct class *stm_class_create(const char *name)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	return class_create(name);
#else
	return class_create(THIS_MODULE, name);
#endif
}

/* The callback of struct class that names a node's mode. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define STM_DEVNODE_DEVICE const struct device
#else
#define STM_DEVNODE_DEVICE struct device
#endif

/* The file system's id mapping: a namespace until 6.2. Anonymous inodes are never mapped. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define STM_IDMAP struct mnt_idmap
#define stm_no_idmap (&nop_mnt_idmap)
#else
#define STM_IDMAP struct user_namespace
#define stm_no_idmap (&init_user_ns)
#endif

static inline ssize_t stm_splice_read(struct file *in, loff_t *position, struct pipe_inode_info *pipe,
				      size_t length, unsigned int flags)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	return copy_splice_read(in, position, pipe, length, flags);
#else
	return generic_file_splice_read(in, position, pipe, length, flags);
#endif
}

#endif
