// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that are mapped before they are touched. The caller holds its mmap_lock for writing, so no
 * mapping changes, and no fault in a mapping of the view is in progress in this address space.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <linux/userfaultfd_k.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/services.h"

/*
 * The mapping of the caller's address space that has @address. Most views have a single mapping, so
 * the first one is tried before all mappings of the process are searched. mmap_lock keeps it.
 */
static struct vm_area_struct *mapping_of(struct stm_view *view, __u64 address)
{
	struct address_space *space = stm_view_mapping(view);
	struct vm_area_struct *found = NULL;
	struct rb_node *node;

	i_mmap_lock_read(space);
	node = rb_first_cached(&space->i_mmap);
	if (node)
		found = rb_entry(node, struct vm_area_struct, shared.rb);
	if (found &&
	    (found->vm_mm != current->mm || address < found->vm_start || address >= found->vm_end))
		found = NULL;
	i_mmap_unlock_read(space);
	return found ? found : vma_lookup(current->mm, address);
}

/* The mapping that has page @index of the view at @address, or NULL. */
static struct vm_area_struct *mapping_at(struct stm_view *view, __u64 index, __u64 address)
{
	struct vm_area_struct *vma = mapping_of(view, address);

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
 * Whoever stores to a page past the page table tells Linux that it is dirty, and what the page
 * table knows is passed on when the page leaves it.
 */
static void forget_stores(struct stm_page *page)
{
	struct folio *folio = page_folio((struct page *)page);

	if (folio_test_dirty(folio))
		folio_clear_dirty(folio);
}

int stm_linux_page_was_stored(struct stm_page *page)
{
	return folio_test_dirty(page_folio((struct page *)page));
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
	__u32 done = 0, i;

	count = min_t(__u64, count, (vma->vm_end - address) >> PAGE_SHIFT);
	for (i = 0; writable && i < count; i++)
		forget_stores(pages[i]);
	stm_vm_flags_change(vma, VM_MIXEDMAP, 0);
	before = vma->vm_page_prot;
	protection = before;
	if (writable && (vma->vm_flags & VM_WRITE))
		protection = stm_noted_as_stored(vm_get_page_prot(vma->vm_flags));
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
static pmd_t *table_of(struct mm_struct *mm, unsigned long address)
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
	return pmd_none(*pmd) || pmd_bad(*pmd) ? NULL : pmd;
}

static pte_t *entry_of(struct mm_struct *mm, unsigned long address)
{
	pmd_t *table = table_of(mm, address);

	return table ? pte_offset_kernel(table, address) : NULL;
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

/*
 * Changes of a page's protection in place.
 *
 * Linux exports no function for this that is cheaper than to take the page out and to enter it
 * again. What other processors remember of the page table is what makes it hard. So it is done only
 * where no other thread uses the address space, and no device or guest follows its page tables.
 * Then another processor may remember an old entry from when this thread ran there; it compares the
 * address space's generation when the thread comes back. Except where the processors share what
 * they remember under one number (a global ASID): there nothing is done.
 *
 * A thread of the kernel may use the address space nevertheless, as drivers do for a request of
 * Linux AIO, without being counted; or it becomes a user at this moment, for which it needs no
 * mmap_lock. Its processor is in the mask of those that have the address space. Whoever forbids
 * stores first changes the entries, raises the generation, and then looks into the mask. One that
 * comes to the address space later sees the new generation, and forgets. If one is there already,
 * the pages cannot stay: Linux takes them out, and has that processor forget them.
 *
 * Whatever is wrong with that, no page is freed before Linux itself has taken it out.
 */
#ifdef __x86_64__

static bool may_protect(struct mm_struct *mm)
{
	return mm == current->mm && atomic_read(&mm->mm_users) == 1 && !mm_has_notifiers(mm) &&
	       stm_can_forget_entries(mm);
}

/* The entries of pages that lie one behind the other, as far as they are in one table. */
struct entries {
	pte_t *first;
	spinlock_t *lock; /* of the table; NULL if there are none */
	__u32 count;
};

static __always_inline struct entries entries_at(struct mm_struct *mm, unsigned long address,
						 __u32 most)
{
	pmd_t *table = table_of(mm, address);
	struct entries found = {
		.count = min_t(unsigned long, most,
			       (PMD_SIZE - (address & ~PMD_MASK)) >> PAGE_SHIFT),
	};

	if (!table)
		return found;
	found.first = pte_offset_kernel(table, address);
	found.lock = pte_lockptr(mm, table);
	return found;
}

static __always_inline bool has_page(pte_t entry, const struct stm_page *page)
{
	return pte_present(entry) && pte_pfn(entry) == page_to_pfn((const struct page *)page);
}

/*
 * A processor that remembers that stores are forbidden looks again, or takes a fault, which Linux
 * finds to be none.
 */
void stm_linux_view_allow_stores(struct stm_area *area, __u64 address,
				 struct stm_page *const *pages, __u32 count)
{
	struct vm_area_struct *vma = (struct vm_area_struct *)area;
	struct entries entries;
	pte_t value;
	__u32 i;

	if (!(vma->vm_flags & VM_WRITE) || !may_protect(vma->vm_mm))
		return;
	count = min_t(__u64, count, (vma->vm_end - address) >> PAGE_SHIFT);
	for (; count; count -= entries.count, pages += entries.count) {
		entries = entries_at(vma->vm_mm, address, count);
		address += entries.count * PAGE_SIZE;
		if (!entries.first)
			continue;
		spin_lock(entries.lock);
		for (i = 0; i < entries.count; i++) {
			value = ptep_get(entries.first + i);
			if (!has_page(value, pages[i]))
				continue;
			forget_stores(pages[i]);
			value = pte_mksoft_dirty(pte_mkclean(value));
			set_pte(entries.first + i, pte_set_flags(value, _PAGE_RW));
		}
		spin_unlock(entries.lock);
	}
}

/*
 * Forbids stores in the entries, and tells what was done with the pages. @changed: those that a
 * processor may remember otherwise. From the first step on no processor notes a store in the entry.
 */
static void forbid_stores(struct mm_struct *mm, __u64 address, const struct entries *entries,
			  struct stm_page *const *pages, __u8 *touched, unsigned long *changed)
{
	bool writable;
	pte_t value;
	__u32 i;

	for (i = 0; i < entries->count; i++) {
		value = ptep_get(entries->first + i);
		if (!has_page(value, pages[i]))
			continue;
		writable = pte_write(value);
		if (writable) {
			ptep_set_wrprotect(mm, address + i * PAGE_SIZE, entries->first + i);
			value = ptep_get(entries->first + i);
		}
		touched[i] = STM_TOUCHED_STAYS | touches_of(value);
		if (writable || pte_dirty(value))
			__set_bit(i, changed);
		if (pte_dirty(value))
			set_pte(entries->first + i, pte_mkclean(value));
	}
}

/* For the caller's address space. Returns whether all processors have forgotten them. */
static bool forget_entries(struct mm_struct *mm, unsigned long address, unsigned long which)
{
	bool all;

	/* A full barrier, between the entries and the mask. */
	atomic64_inc_return(&mm->context.tlb_gen);
	preempt_disable();
	for (; which; which &= which - 1)
		stm_forget_entry(address + __ffs(which) * PAGE_SIZE);
	all = !stm_others_use_entries(mm);
	preempt_enable();
	return all;
}

/* A page stays if nobody but an entry and the context has it. */
static void tell(struct stm_page *page, bool may_stay, __u8 *touched)
{
	if (may_stay && page_count((struct page *)page) == 2) {
		if (stm_linux_page_was_stored(page))
			*touched |= STM_TOUCHED_STORE;
		return;
	}
	if (*touched & STM_TOUCHED_STORE)
		folio_set_dirty(page_folio((struct page *)page));
	*touched = 0;
}

/*
 * mmap_lock keeps the tables. The caller has the context's lock, and so cannot wait for it. Another
 * processor that this thread comes to may remember that the page was touched, and then not note it
 * again; what that says is wrong then.
 */
int stm_linux_view_was_touched(__u64 address, struct stm_page *page)
{
	struct mm_struct *mm = current->mm;
	struct entries entries;
	int touched = 0;

	if (!may_protect(mm) || !mmap_read_trylock(mm))
		return 0;
	entries = entries_at(mm, address, 1);
	if (entries.first) {
		spin_lock(entries.lock);
		if (has_page(ptep_get(entries.first), page) &&
		    test_and_clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)&entries.first->pte)) {
			preempt_disable();
			stm_forget_entry(address);
			preempt_enable();
			touched = 1;
		}
		spin_unlock(entries.lock);
	}
	mmap_read_unlock(mm);
	return touched;
}

/*
 * An entry that has a private page of the context is in one of its mappings, so there is no need to
 * look for that.
 */
void stm_linux_view_forbid_stores(__u64 address, struct stm_page *const *pages, __u32 count,
				  __u8 *touched)
{
	struct mm_struct *mm = current->mm;
	struct entries entries;
	unsigned long changed;
	bool may_stay;
	__u32 i;

	for (i = 0; i < count; i++)
		touched[i] = 0;
	if (!may_protect(mm))
		return;
	for (; count; count -= entries.count, pages += entries.count, touched += entries.count) {
		entries = entries_at(mm, address, count);
		changed = 0;
		if (entries.first) {
			spin_lock(entries.lock);
			forbid_stores(mm, address, &entries, pages, touched, &changed);
			spin_unlock(entries.lock);
		}
		may_stay = !changed || forget_entries(mm, address, changed);
		for (i = 0; i < entries.count; i++)
			if (touched[i])
				tell(pages[i], may_stay, &touched[i]);
		address += entries.count * PAGE_SIZE;
	}
}

#else

int stm_linux_view_was_touched(__u64 address, struct stm_page *page)
{
	return 0;
}

void stm_linux_view_allow_stores(struct stm_area *area, __u64 address,
				 struct stm_page *const *pages, __u32 count)
{
}

void stm_linux_view_forbid_stores(__u64 address, struct stm_page *const *pages, __u32 count,
				  __u8 *touched)
{
	memset(touched, 0, count);
}

#endif
