/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All differences between the supported kernels, 6.1 to 7.3, that concern the glue, and only these.
 * STM_HAS_* comes from kernel/features, where each way of Linux is tried. A kernel that has none of
 * them is new to this module.
 */
#ifndef STM_COMPAT_H
#define STM_COMPAT_H

#include <linux/device/class.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/splice.h>
#include <linux/version.h>
#include <linux/workqueue.h>

#include "kernel/features.h"

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "stm needs Linux 6.1 or later"
#endif

static inline void stm_vm_flags_change(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
#if defined(STM_HAS_vm_flags_mod) /* since 6.3 */
	vm_flags_mod(vma, set, clear);
#elif defined(STM_HAS_vm_flags_open)
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#else
#error "stm does not know how this kernel changes a mapping's flags: it has no vm_flags_mod()"
#endif
}

/*
 * Since Linux 6.4 each mapping has a lock. In a fault of the program it may replace mmap_lock. It
 * is held until mmap_lock is given back.
 *
 * Only for mappings with the operation map_pages does Linux serve a program's fault under that lock
 * alone. Without it Linux gives up half-way and begins again with mmap_lock, which all threads of
 * the process share. There is nothing to map that the fault operation would not map.
 */
#ifdef CONFIG_PER_VMA_LOCK
#define STM_MAPPINGS_HAVE_LOCKS 1
static inline vm_fault_t stm_map_nothing_around(struct vm_fault *vmf, pgoff_t first, pgoff_t last)
{
	return 0;
}
#define STM_MAP_PAGES stm_map_nothing_around
static inline void stm_lock_mapping(struct vm_area_struct *vma)
{
	vma_start_write(vma);
}
static inline void stm_release_fault_lock(struct vm_fault *vmf)
{
	release_fault_lock(vmf);
}
#else
#define STM_MAPPINGS_HAVE_LOCKS 0
#define STM_MAP_PAGES NULL
static inline void stm_lock_mapping(struct vm_area_struct *vma)
{
}
static inline void stm_release_fault_lock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}
#endif

/*
 * The leader of the process that an address space belongs to, or null; a kernel that does not
 * account memory by groups does not know it. The caller is in an RCU section.
 */
static inline struct task_struct *stm_mm_owner(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	return rcu_dereference(mm->owner);
#else
	return NULL;
#endif
}

/*
 * A protection with which a page table entry is "not accessed yet". x86 sets the bit by itself; an
 * arm64 processor that does not takes a fault for it, which Linux serves without asking us.
 */
static inline pgprot_t stm_never_accessed(pgprot_t protection)
{
#if defined(_PAGE_ACCESSED)
	return __pgprot(pgprot_val(protection) & ~_PAGE_ACCESSED);
#elif defined(PTE_AF)
	return __pgprot(pgprot_val(protection) & ~PTE_AF);
#else
#error "stm does not know how this processor notes that a page was accessed"
#endif
}

/* A protection with which a page table entry tells those who ask for changed pages of a store. */
static inline pgprot_t stm_noted_as_stored(pgprot_t protection)
{
#if defined(_PAGE_SOFT_DIRTY)
	return __pgprot(pgprot_val(protection) | _PAGE_SOFT_DIRTY);
#else
	return protection;
#endif
}

/*
 * How processors forget an entry of a page table.
 *
 * stm_can_forget_entries(): whether it is known how. Not if all processors remember the address
 * space under one number, nor with the page tables of Xen.
 *
 * stm_forget_entry(): has this processor forget the entry of an address in the caller's page table.
 * The operation is the one that Linux exports for paravirtualized guests; it does the right thing
 * on bare metal as well.
 *
 * stm_others_use_entries(): whether another processor may use what it remembers without a look at
 * the address space's generation first. One that is lazy looks, and one that is not in the mask.
 * Asked on a processor that the caller does not leave, after the generation was raised. The state
 * is shown to Linux itself alone, though it is exported; a feature makes sure that it is as here.
 */
#if defined(CONFIG_X86_64) && defined(CONFIG_PARAVIRT) && defined(STM_HAS_lazy_tlb)
#include <linux/cpumask.h>
#include <linux/percpu.h>

#include <asm/cpufeature.h>
#include <asm/paravirt.h>
struct tlb_state_shared {
	bool is_lazy;
};
DECLARE_PER_CPU_SHARED_ALIGNED(struct tlb_state_shared, cpu_tlbstate_shared);
static inline bool stm_can_forget_entries(const struct mm_struct *mm)
{
#ifdef CONFIG_BROADCAST_TLB_FLUSH
	if (READ_ONCE(mm->context.global_asid))
		return false;
#endif
	return !cpu_feature_enabled(X86_FEATURE_XENPV);
}
static inline void stm_forget_entry(unsigned long address)
{
	__flush_tlb_one_user(address);
}
static inline bool stm_others_use_entries(struct mm_struct *mm)
{
	const int own = smp_processor_id();
	int cpu;

	for_each_cpu(cpu, mm_cpumask(mm))
		if (cpu != own && !READ_ONCE(per_cpu(cpu_tlbstate_shared, cpu).is_lazy))
			return true;
	return false;
}
#else
static inline bool stm_can_forget_entries(const struct mm_struct *mm)
{
	return false;
}
static inline void stm_forget_entry(unsigned long address)
{
}
static inline bool stm_others_use_entries(struct mm_struct *mm)
{
	return true;
}
#endif

static inline struct class *stm_class_create(const char *name)
{
#if defined(STM_HAS_class_create_of_name) /* since 6.4 */
	return class_create(name);
#elif defined(STM_HAS_class_create_of_module)
	return class_create(THIS_MODULE, name);
#else
#error "stm does not know this kernel's class_create()"
#endif
}

/* The callback of struct class that names a node's mode. */
#if defined(STM_HAS_devnode_of_const) /* since 6.2 */
#define STM_DEVNODE_DEVICE const struct device
#elif defined(STM_HAS_devnode_of_device)
#define STM_DEVNODE_DEVICE struct device
#else
#error "stm does not know the devnode() of this kernel's struct class"
#endif

/*
 * The file system's id mapping; until 6.2 a namespace. The ids of anonymous inodes are never
 * mapped.
 */
#if defined(STM_HAS_idmap)
#define stm_no_idmap (&nop_mnt_idmap)
#elif defined(STM_HAS_idmap_of_namespace)
#define stm_no_idmap (&init_user_ns)
#else
#error "stm does not know this inode_permission(): it takes neither an idmap nor a namespace"
#endif

static inline ssize_t stm_splice_read(struct file *in, loff_t *position,
				      struct pipe_inode_info *pipe, size_t length,
				      unsigned int flags)
{
#if defined(STM_HAS_splice_by_copy) /* since 6.5 */
	return copy_splice_read(in, position, pipe, length, flags);
#elif defined(STM_HAS_splice_generic)
	return generic_file_splice_read(in, position, pipe, length, flags);
#else
#error "stm needs copy_splice_read() or generic_file_splice_read(); this kernel has neither"
#endif
}

/*
 * The workers that belong to no processor. At the first use of the old name, 7.x logs that it is
 * deprecated.
 */
static inline struct workqueue_struct *stm_unbound_workqueue(void)
{
#if defined(STM_HAS_workqueue_default) /* 7.x, and 6.12 from some point release on */
	return system_dfl_wq;
#elif defined(STM_HAS_workqueue_unbound)
	return system_unbound_wq;
#else
#error "stm needs system_dfl_wq or system_unbound_wq; this kernel has neither"
#endif
}

/*
 * Whether other processes of the same user may look into a process. The caller is in an RCU
 * section, and the task's address space is @mm. Since 7.2 this is a property of the task, which the
 * section keeps.
 */
#if defined(STM_HAS_dumpable_of_task)
#include <linux/sched/exec_state.h>
#endif
static inline bool stm_may_be_looked_into(struct task_struct *task, struct mm_struct *mm)
{
#if defined(STM_HAS_dumpable_of_task)
	return READ_ONCE(rcu_dereference(task->exec_state)->dumpable) == TASK_DUMPABLE_OWNER;
#elif defined(STM_HAS_dumpable_of_memory)
	return get_dumpable(mm) == SUID_DUMP_USER;
#else
#error "stm does not know how this kernel protects a process: it has no get_dumpable()"
#endif
}

/* With PREEMPT_RT the lock that sending a signal takes sleeps. */
static inline bool stm_can_send_signals(void)
{
	return !IS_ENABLED(CONFIG_PREEMPT_RT) || preemptible();
}

/*
 * An inode that may be mapped PROT_EXEC. Linux 7 marks those of alloc_anon_inode() as ones that
 * never are.
 */
static inline void stm_inode_not_anonymous(struct inode *inode)
{
#ifdef S_ANON_INODE
	inode->i_flags &= ~S_ANON_INODE;
#endif
}

#endif
