// SPDX-License-Identifier: GPL-2.0
/*
 * mmap of a handle and the page faults in it.
 *
 * Nothing is counted. A mapping holds its file, the file its handle, and the handle its region.
 * Linux keeps the list of the mappings, in the address_space of the handle's view (view.c). So
 * fork, a partial munmap and mremap are right without code of ours. Only the mappings of segments
 * have the operations open and close, which tell the core the time.
 */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/userfaultfd_k.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/entry.h"

/*
 * Another thread has to end its transaction first. It may be of a lower priority than this one, and
 * on the same processor. So this one sleeps, and not with the lock that the other one needs. The
 * program can be killed in between. The kernel, which touches the page on behalf of a program,
 * could not, and gets an error.
 */
static vm_fault_t wait_for_another_thread(struct vm_fault *vmf)
{
	if (!(vmf->flags & FAULT_FLAG_USER))
		return VM_FAULT_SIGSEGV;
	/* The second attempt keeps the lock. Then the program comes again, with a first one. */
	if (!fault_flag_allow_retry_first(vmf->flags) || (vmf->flags & FAULT_FLAG_RETRY_NOWAIT))
		return VM_FAULT_NOPAGE;
	stm_release_fault_lock(vmf);
	/* From here on the mapping may be gone. */
	schedule_timeout_interruptible(1);
	return VM_FAULT_RETRY;
}

static vm_fault_t fault_code(struct vm_fault *vmf, enum stm_fault_result result)
{
	switch (result) {
	case STM_FAULT_NO_MEMORY:
		/*
		 * Not VM_FAULT_OOM, which tries again forever: the allocation failed because it
		 * stays below a limit and kills no process.
		 */
		return VM_FAULT_SIGBUS;
	case STM_FAULT_FORBIDDEN:
		return VM_FAULT_SIGSEGV;
	case STM_FAULT_AGAIN:
		/*
		 * Also for the kernel, and for page_mkwrite, whose flags do not tell whether the
		 * kernel touches the page. The core returns it at most three times to one
		 * transaction.
		 */
		cond_resched();
		return VM_FAULT_NOPAGE;
	case STM_FAULT_WAIT:
		return wait_for_another_thread(vmf);
	default:
		return VM_FAULT_SIGBUS;
	}
}

/* The thread that writes the core file of its process; the others are at their ends. */
static bool is_dump(void)
{
	return !!(current->flags & PF_DUMPCORE);
}

/*
 * Linux asks for the name of a mapping of a file only when it writes a core file. One that has a
 * name is in the file, whatever VM_DONTDUMP and coredump_filter say.
 */
static const char *stm_name_in_dump(struct vm_area_struct *vma)
{
	return stm_core_is_dumped(vma->vm_file->private_data) ? KBUILD_MODNAME : NULL;
}

#define WINDOW (STM_FAULT_BATCH * PAGE_SIZE)

/*
 * Finds the missing pages before and after the missing page, within the same aligned 64 KiB, which
 * Linux itself maps around a fault. The result is a hint, because the page table's lock is not
 * held. The page table stays while its mapping is locked. Only khugepaged collapses and frees page
 * tables of files nevertheless. It leaves ours alone, and frees them after an RCU grace period.
 */
static void find_missing_around(const struct vm_fault *vmf, struct stm_fault *fault)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long window = ALIGN_DOWN(vmf->address, WINDOW);
	unsigned long before = (vmf->address - max(window, vma->vm_start)) >> PAGE_SHIFT;
	unsigned long after = (min(window + WINDOW, vma->vm_end) - vmf->address) >> PAGE_SHIFT;
	unsigned long first = 0, last = 0;
	pte_t *entry;
	pmd_t table;

	/* A process that watches the mapping through its faults sees them one by one. */
	if (userfaultfd_armed(vma))
		return;
	rcu_read_lock();
	table = READ_ONCE(*vmf->pmd);
	if (pmd_none(table)) {
		first = before;
		last = after - 1;
	} else if (!pmd_bad(table)) {
		entry = pte_offset_kernel(&table, vmf->address);
		while (first < before && pte_none(ptep_get(entry - first - 1)))
			first++;
		while (last + 1 < after && pte_none(ptep_get(entry + last + 1)))
			last++;
	}
	rcu_read_unlock();
	fault->first -= first;
	fault->last += last;
}

/*
 * Maps @count pages from @address on, under one lock of the page table. Stops at an entry that is
 * there already. Returns whether there was none at @address.
 */
static bool insert(struct vm_area_struct *vma, unsigned long address, struct stm_page **pages,
		   unsigned long count)
{
	unsigned long left = count;

	if (count)
		vm_insert_pages(vma, address, (struct page **)pages, &left);
	return left < count;
}

/*
 * The missing page's place in the page table may contain
 *  - nothing: then the page is inserted here, without its lock, so that faults on one page do not
 *    wait for each other, and its neighbours with it;
 *  - the page, which another thread's fault has just mapped;
 *  - an entry that is no page: a marker that userfaultfd has left, to protect a page that is not
 *    there yet (Linux 6.7 to 6.12 take its asynchronous write protection for any mapping), or what
 *    a later Linux invents;
 *  - no table of entries, which another thread took out again, or for which there is no memory.
 * Linux handles all cases but the first. It gets the page as from any file system and knows its own
 * entries. It maps the page, reports that there is no memory, or lets the program try again because
 * something has changed meanwhile. To claim here that the page is mapped, when it may not be, would
 * be an endless loop; within a system call no signal would end it.
 */
static vm_fault_t shared_fault(struct vm_fault *vmf,
			       enum stm_fault_result (*serve)(struct stm_handle *handle,
							      struct stm_fault *fault))
{
	struct stm_fault fault = {
		.index = vmf->pgoff,
		.first = vmf->pgoff,
		.last = vmf->pgoff,
		.write = !!(vmf->flags & FAULT_FLAG_WRITE),
		.dump = is_dump(),
		.address = vmf->address,
	};
	enum stm_fault_result result;
	unsigned int before;

	find_missing_around(vmf, &fault);
	result = serve(vmf->vma->vm_file->private_data, &fault);
	if (result != STM_FAULT_MAP)
		return fault_code(vmf, result);
	stm_trace("fault at page %llu: %u pages\n", fault.index, fault.count);
	before = fault.index - fault.first;
	if (insert(vmf->vma, vmf->address, fault.pages + before, fault.count - before)) {
		insert(vmf->vma, vmf->address - before * PAGE_SIZE, fault.pages, before);
		return VM_FAULT_NOPAGE;
	}
	vmf->page = (struct page *)fault.pages[before];
	get_page(vmf->page);
	return 0;
}

static vm_fault_t plain_fault(struct vm_fault *vmf)
{
	return shared_fault(vmf, stm_core_fault);
}

static vm_fault_t window_fault(struct vm_fault *vmf)
{
	return shared_fault(vmf, stm_core_window_fault);
}

/*
 * Linux locks the page, calls page_mkwrite for a store, and maps it: writable after a store,
 * read-only after a load. The mapping has no MIXEDMAP, because fork must not copy a page table that
 * may hold a transaction's private pages.
 */
static vm_fault_t transactional_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct stm_fault fault = {
		.index = vmf->pgoff,
		.last = vmf->pgoff,
		.write = !!(vmf->flags & FAULT_FLAG_WRITE),
		.dump = is_dump(),
		.memory = (struct stm_memory *)vma->vm_mm,
		.address = vmf->address,
	};
	enum stm_fault_result result =
		stm_core_transactional_fault(vma->vm_file->private_data, &fault);

	stm_trace("transactional %s fault at page %llu: %d\n", fault.write ? "write" : "read",
		  fault.index, result);
	if (result != STM_FAULT_MAP)
		return fault_code(vmf, result);
	vmf->page = (struct page *)fault.pages[0];
	return 0;
}

/*
 * The page must be locked on return. Otherwise a page without a mapping counts as truncated,
 * forever.
 */
static vm_fault_t make_writable(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct stm_fault fault = {
		.index = vmf->pgoff,
		.last = vmf->pgoff,
		.write = 1,
		.memory = (struct stm_memory *)vma->vm_mm,
		.address = vmf->address,
	};
	enum stm_fault_result result = stm_core_make_writable(vma->vm_file->private_data, &fault,
							      (struct stm_page *)vmf->page);

	if (result != STM_FAULT_MAP)
		return fault_code(vmf, result);
	lock_page(vmf->page);
	return VM_FAULT_LOCKED;
}

/*
 * A page is charged to the cgroup of the owner of the address space, even when another process, or
 * the kernel, touches it.
 */
static vm_fault_t fault_charged_to_owner(struct vm_fault *vmf,
					 vm_fault_t (*fault)(struct vm_fault *vmf))
{
	struct mem_cgroup *group, *before;
	vm_fault_t result;

	if (likely(vmf->vma->vm_mm == current->mm))
		return fault(vmf);
	group = get_mem_cgroup_from_mm(vmf->vma->vm_mm);
	before = set_active_memcg(group);
	result = fault(vmf);
	set_active_memcg(before);
	mem_cgroup_put(group);
	return result;
}

static vm_fault_t stm_plain_fault(struct vm_fault *vmf)
{
	return fault_charged_to_owner(vmf, plain_fault);
}

static vm_fault_t stm_window_fault(struct vm_fault *vmf)
{
	return fault_charged_to_owner(vmf, window_fault);
}

static vm_fault_t stm_transactional_fault(struct vm_fault *vmf)
{
	return fault_charged_to_owner(vmf, transactional_fault);
}

static vm_fault_t stm_page_mkwrite(struct vm_fault *vmf)
{
	return fault_charged_to_owner(vmf, make_writable);
}

static const struct vm_operations_struct stm_plain_vm_operations = {
	.fault = stm_plain_fault,
	.map_pages = STM_MAP_PAGES,
	.name = stm_name_in_dump,
};

static const struct vm_operations_struct stm_window_vm_operations = {
	.fault = stm_window_fault,
	.map_pages = STM_MAP_PAGES,
	.name = stm_name_in_dump,
};

/*
 * A window of a direct region. Linux maps the page: a fork must not copy its entry, because the
 * child may not store. A load gets it read-only, so that the first store comes to page_mkwrite.
 */
static vm_fault_t direct_fault(struct vm_fault *vmf)
{
	struct stm_handle *handle = vmf->vma->vm_file->private_data;
	struct stm_fault fault = {
		.index = vmf->pgoff,
		.first = vmf->pgoff,
		.last = vmf->pgoff,
		.dump = is_dump(),
		.memory = (struct stm_memory *)vmf->vma->vm_mm,
		.address = vmf->address,
	};
	enum stm_fault_result result;

	if (vmf->flags & FAULT_FLAG_WRITE) {
		result = stm_core_window_store(handle, &fault);
		if (result == STM_FAULT_AGAIN) {
			if (!(vmf->flags & FAULT_FLAG_USER))
				return VM_FAULT_SIGSEGV;
			/* As at the end of a sequence of rseq: the thread goes on elsewhere. */
			instruction_pointer_set(task_pt_regs(current), fault.resume);
			return VM_FAULT_NOPAGE;
		}
		if (result != STM_FAULT_MAP)
			return fault_code(vmf, result);
	}
	result = stm_core_window_fault(handle, &fault);
	if (result != STM_FAULT_MAP)
		return fault_code(vmf, result);
	vmf->page = (struct page *)fault.pages[0];
	get_page(vmf->page);
	return 0;
}

/*
 * The flags do not tell whether it is the program or the kernel that stores, because Linux has
 * replaced them. So a thread that has to wait, or to go on elsewhere, finds the page gone and comes
 * to direct_fault().
 */
static vm_fault_t direct_store(struct vm_fault *vmf)
{
	struct stm_fault fault = {
		.index = vmf->pgoff,
		.write = 1,
		.memory = (struct stm_memory *)vmf->vma->vm_mm,
		.address = vmf->address,
	};
	enum stm_fault_result result =
		stm_core_make_window_writable(vmf->vma->vm_file->private_data, &fault);

	if (result != STM_FAULT_MAP)
		return fault_code(vmf, result);
	/* As in make_writable(). */
	lock_page(vmf->page);
	return VM_FAULT_LOCKED;
}

static vm_fault_t stm_direct_fault(struct vm_fault *vmf)
{
	return fault_charged_to_owner(vmf, direct_fault);
}

static void stm_direct_close(struct vm_area_struct *vma)
{
	/* Otherwise a part of it was unmapped, by a process that goes on. */
	if (!atomic_read(&vma->vm_mm->mm_users))
		stm_core_memory_gone(vma->vm_file->private_data, (struct stm_memory *)vma->vm_mm);
}

static const struct vm_operations_struct stm_direct_vm_operations = {
	.close = stm_direct_close,
	.fault = stm_direct_fault,
	.page_mkwrite = direct_store,
	.map_pages = STM_MAP_PAGES,
	.name = stm_name_in_dump,
};

static void stm_segment_open(struct vm_area_struct *vma)
{
	stm_core_attached(vma->vm_file->private_data);
}

static void stm_segment_close(struct vm_area_struct *vma)
{
	stm_core_detached(vma->vm_file->private_data);
}

/* Linux merges no mapping that has a close operation, so each attach stays a mapping. */
static const struct vm_operations_struct stm_segment_vm_operations = {
	.open = stm_segment_open,
	.close = stm_segment_close,
	.fault = stm_plain_fault,
	.map_pages = STM_MAP_PAGES,
	.name = stm_name_in_dump,
};

/* page_mkwrite makes Linux map the pages of a writable mapping read-only at first. */
static const struct vm_operations_struct stm_transactional_vm_operations = {
	.fault = stm_transactional_fault,
	.page_mkwrite = stm_page_mkwrite,
	.map_pages = STM_MAP_PAGES,
	.name = stm_name_in_dump,
};

int stm_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned int wanted = 0, allowed;
	vm_flags_t set, clear = 0;
	int error;

	/* A private mapping would hide the region's bytes behind copies of its own. */
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
	 * MIXEDMAP: the fault of a plain region or of a window inserts pages itself; it also lets
	 * fork copy the page table. DONTEXPAND: mremap cannot grow the mapping, and Linux 6.12 does
	 * not merge it with a neighbour behind our back. DONTDUMP: a core file would be as large as
	 * the region, and most of it was never touched. A handle may want that, see
	 * stm_name_in_dump().
	 */
	set = VM_DONTEXPAND | VM_DONTDUMP;
	if ((allowed & (STM_MAP_PLAIN | STM_MAP_WINDOW)) && !(allowed & STM_MAP_DIRECT))
		set |= VM_MIXEDMAP;
	stm_vm_flags_change(vma, set, clear);
	if (allowed & STM_MAP_DIRECT)
		vma->vm_ops = &stm_direct_vm_operations;
	else if (allowed & STM_MAP_WINDOW)
		vma->vm_ops = &stm_window_vm_operations;
	else if (allowed & STM_MAP_SEGMENT)
		vma->vm_ops = &stm_segment_vm_operations;
	else if (allowed & STM_MAP_PLAIN)
		vma->vm_ops = &stm_plain_vm_operations;
	else
		vma->vm_ops = &stm_transactional_vm_operations;
	if (allowed & STM_MAP_SEGMENT)
		stm_core_attached(file->private_data);
	return 0;
}

/* Whether this part of a segment lies where an attach at @address put it. */
static bool is_of_attach(const struct vm_area_struct *vma, unsigned long address)
{
	return vma->vm_ops == &stm_segment_vm_operations && vma->vm_start >= address &&
	       (vma->vm_start - address) >> PAGE_SHIFT == vma->vm_pgoff;
}

/*
 * Finds the first part, from *@start on, of an attach at @address: of any file, or of @file within
 * @size bytes. Its file comes with a reference.
 */
static struct file *find_part(unsigned long address, const struct file *file, unsigned long size,
			      unsigned long *start, unsigned long *length)
{
	struct vm_area_struct *vma = find_vma(current->mm, *start);
	struct file *found;

	while (vma && (!is_of_attach(vma, address) || (file && vma->vm_file != file))) {
		if (file && vma->vm_end - address > size)
			return NULL;
		vma = find_vma(current->mm, vma->vm_end);
	}
	if (!vma || (file && vma->vm_end - address > size))
		return NULL;
	found = vma->vm_file;
	*start = vma->vm_start;
	*length = vma->vm_end - vma->vm_start;
	return get_file(found);
}

/*
 * The lock is released between finding a part and unmapping it, because Linux exports no function
 * that unmaps under it. Another thread that maps something else there meanwhile loses that, as with
 * munmap.
 */
int stm_linux_segment_detach(__u64 address)
{
	unsigned long start = address, length, size = 0;
	struct file *file = NULL, *part;
	int error = -EINVAL;

	if (!PAGE_ALIGNED(address))
		return -EINVAL;
	for (;;) {
		if (mmap_read_lock_killable(current->mm)) {
			error = -EINTR;
			break;
		}
		part = find_part(address, file, size, &start, &length);
		mmap_read_unlock(current->mm);
		if (!part)
			break;
		if (file) {
			fput(part);
		} else {
			file = part;
			size = PAGE_ALIGN(i_size_read(file_inode(file)));
		}
		error = vm_munmap(start, length);
		if (error)
			break;
		start += length;
	}
	if (file)
		fput(file);
	return error;
}
