// SPDX-License-Identifier: GPL-2.0
/*
 * mmap of a handle and the page faults in it.
 *
 * There is no open or close operation and nothing is counted: a mapping holds its file, the file
 * its handle, the handle its region, and Linux keeps the list of the mappings (identity.c). fork, a
 * partial munmap and mremap are right without a line of ours.
 */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/entry.h"

/*
 * vm_insert_pages() takes the page table lock once for a whole batch, and installs what the core
 * found without taking a page's lock, so faults on one page do not wait for each other.
 */
static vm_fault_t insert_pages(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct stm_fault fault = {
		.index = vmf->pgoff,
		.last = vmf->pgoff + ((vma->vm_end - vmf->address) >> PAGE_SHIFT) - 1,
		.write = !!(vmf->flags & FAULT_FLAG_WRITE),
	};
	unsigned long left;
	int error;

	switch (stm_core_fault(vma->vm_file->private_data, &fault)) {
	case STM_FAULT_MAP:
		break;
	case STM_FAULT_NO_MEMORY:
		return VM_FAULT_OOM;
	case STM_FAULT_FORBIDDEN:
		return VM_FAULT_SIGSEGV;
	case STM_FAULT_OUTSIDE:
	default:
		return VM_FAULT_SIGBUS;
	}
	stm_trace("fault at page %llu: %u pages\n", fault.index, fault.count);
	left = fault.count;
	error = vm_insert_pages(vma, vmf->address, (struct page **)fault.pages, &left);
	/* EBUSY: another thread mapped a page of the batch first. If it was the missing one, all is
	 * well. */
	if (left < fault.count || error == -EBUSY)
		return VM_FAULT_NOPAGE;
	return vmf_error(error);
}

/* A store to a page of a transactional region that is mapped read-only: outside a transaction. */
static vm_fault_t stm_page_mkwrite(struct vm_fault *vmf)
{
	return VM_FAULT_SIGSEGV;
}

/* A page is charged to the cgroup of whose address space it is, also when another process, or the
 * kernel, touches it. */
static vm_fault_t stm_fault(struct vm_fault *vmf)
{
	struct mem_cgroup *group, *before;
	vm_fault_t result;

	if (likely(vmf->vma->vm_mm == current->mm))
		return insert_pages(vmf);
	group = get_mem_cgroup_from_mm(vmf->vma->vm_mm);
	before = set_active_memcg(group);
	result = insert_pages(vmf);
	set_active_memcg(before);
	mem_cgroup_put(group);
	return result;
}

static const struct vm_operations_struct stm_plain_vm_operations = {
	.fault = stm_fault,
};

/* Having page_mkwrite is what makes Linux map the pages of a writable mapping read-only. */
static const struct vm_operations_struct stm_transactional_vm_operations = {
	.fault = stm_fault,
	.page_mkwrite = stm_page_mkwrite,
};

int stm_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned int wanted = 0, allowed;
	vm_flags_t clear = 0;
	int error;

	/* A private mapping would shadow the region's bytes by copies of its own. */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_flags & VM_WRITE)
		wanted |= STM_MAP_WRITE;
	if (vma->vm_flags & VM_EXEC)
		wanted |= STM_MAP_EXEC;
	error = stm_core_map(file->private_data, vma->vm_pgoff, vma_pages(vma), wanted, &allowed);
	stm_trace("mmap %#lx-%#lx at page %lu: %d\n", vma->vm_start, vma->vm_end, vma->vm_pgoff,
		  error);
	if (error)
		return error;
	if (!(allowed & STM_MAP_WRITE))
		clear |= VM_MAYWRITE;
	if (!(allowed & STM_MAP_EXEC))
		clear |= VM_MAYEXEC;
	/*
	 * MIXEDMAP: the fault inserts pages itself; it also lets fork copy the page table.
	 * DONTEXPAND: mremap can not grow it; and Linux 6.12 does not merge it with a neighbour
	 * behind our back. DONTDUMP: a core file would be as large as the region, most of it never
	 * touched.
	 */
	stm_vm_flags_change(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP, clear);
	vma->vm_ops = allowed & STM_MAP_PLAIN ? &stm_plain_vm_operations
					      : &stm_transactional_vm_operations;
	return 0;
}
