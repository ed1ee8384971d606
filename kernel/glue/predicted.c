// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that are mapped before they are touched. The caller holds its mmap_lock for writing, so no
 * mapping changes, and no fault in a mapping of the view is in progress in this address space.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/userfaultfd_k.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/services.h"

/* The mapping that has page @index of the view at @address, or NULL. */
static struct vm_area_struct *mapping_at(struct stm_view *view, __u64 index, __u64 address)
{
	struct vm_area_struct *vma = vma_lookup(current->mm, address);

	if (!vma || !vma->vm_file || vma->vm_file->f_mapping != stm_view_mapping(view) ||
	    vma->vm_pgoff + ((address - vma->vm_start) >> PAGE_SHIFT) != index)
		return NULL;
	/* A process that watches the mapping through its faults must go on seeing them. */
	return (vma->vm_flags & VM_READ) && !userfaultfd_armed(vma) ? vma : NULL;
}

__u64 stm_linux_view_extent(struct stm_view *view, __u64 index, __u64 address,
			    struct stm_area **area, int *writable)
{
	struct vm_area_struct *vma = mapping_at(view, index, address);

	*area = (struct stm_area *)vma;
	*writable = vma && (vma->vm_flags & VM_WRITE);
	return vma ? (vma->vm_end - address) >> PAGE_SHIFT : 0;
}

/*
 * vm_insert_pages() gives pages the mapping's own protection, which allows loads alone because the
 * mapping has page_mkwrite. It also wants VM_MIXEDMAP, with which fork would copy the page table.
 * So both are changed temporarily. No other thread sees that: they are read under mmap_lock, or
 * (since Linux 6.4) the mapping's own lock, which a change of the flags takes. Pages are entered as
 * not accessed and clean; the processor then notes each access.
 */
void stm_linux_view_map(struct stm_area *area, __u64 address, struct stm_page *const *pages,
			__u32 count, int writable)
{
	struct vm_area_struct *vma = (struct vm_area_struct *)area;
	pgprot_t protection, before;
	__u32 done = 0;

	count = min_t(__u64, count, (vma->vm_end - address) >> PAGE_SHIFT);
	stm_vm_flags_change(vma, VM_MIXEDMAP, 0);
	before = vma->vm_page_prot;
	protection =
		writable && (vma->vm_flags & VM_WRITE) ? vm_get_page_prot(vma->vm_flags) : before;
	WRITE_ONCE(vma->vm_page_prot, stm_never_accessed(protection));
	while (done < count) {
		unsigned long left = count - done;
		int error = vm_insert_pages(vma, address + done * PAGE_SIZE,
					    (struct page **)&pages[done], &left);

		done = count - left;
		if (!error)
			break;
		/* Another thread's fault mapped a page there before the view was closed. */
		if (error != -EBUSY)
			break;
		done++;
	}
	WRITE_ONCE(vma->vm_page_prot, before);
	stm_vm_flags_change(vma, 0, VM_MIXEDMAP);
}

/*
 * The table with the entry of @address, or NULL. Linux exports no walk that makes no tables (since
 * 7.2). The table stays: whoever takes it out holds mmap_lock, or is done with a file's huge pages,
 * of which this mapping has none.
 */
static pte_t *entry_of(struct mm_struct *mm, unsigned long address)
{
	pgd_t *pgd = pgd_offset(mm, address);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, address);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return NULL;
	pud = pud_offset(p4d, address);
	if (pud_none(*pud) || pud_bad(*pud))
		return NULL;
	pmd = pmd_offset(pud, address);
	if (pmd_none(*pmd) || pmd_bad(*pmd))
		return NULL;
	return pte_offset_kernel(pmd, address);
}

static __u8 touches_of(pte_t value)
{
	if (!pte_present(value))
		return 0;
	return (pte_young(value) ? STM_TOUCHED_LOAD : 0) |
	       (pte_dirty(value) ? STM_TOUCHED_STORE : 0);
}

void stm_linux_view_examine(struct stm_view *view, __u64 index, __u64 address, __u32 count,
			    __u8 *touched)
{
	struct vm_area_struct *vma = mapping_at(view, index, address);
	pte_t *entry = NULL;
	__u32 i;

	/* A page that is not mapped was touched only by a fault, and the core knows of those. */
	memset(touched, 0, count);
	if (!vma)
		return;
	count = min_t(__u64, count, (vma->vm_end - address) >> PAGE_SHIFT);
	for (i = 0; i < count; i++, address += PAGE_SIZE) {
		/* Entries that follow each other are in one table up to a border of it. */
		if (entry && (address & ~PMD_MASK))
			entry++;
		else
			entry = entry_of(current->mm, address);
		if (entry)
			touched[i] = touches_of(ptep_get(entry));
	}
}
