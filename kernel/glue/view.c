// SPDX-License-Identifier: GPL-2.0
/*
 * A view holds the mappings of one handle. It is an address_space of its own for each open file, so
 * a handle's transaction can take pages out of its own mappings and no others.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include <stm/ioctl.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/services.h"

struct address_space *stm_view_mapping(struct stm_view *view)
{
	return (struct address_space *)view;
}

struct stm_view *stm_linux_view_create(struct stm_identity *identity)
{
	struct inode *inode = stm_identity_inode(identity);
	struct address_space *space = kzalloc(sizeof(*space), GFP_KERNEL_ACCOUNT);

	stm_linux_death_point();
	if (!space)
		return NULL;
	address_space_init_once(space);
	space->host = inode;
	/*
	 * Linux uses the operations of a file's address_space without checking that there are any.
	 */
	space->a_ops = inode->i_mapping->a_ops;
	mapping_set_gfp_mask(space, GFP_KERNEL);
	mapping_set_unevictable(space);
	return (struct stm_view *)space;
}

void stm_linux_view_destroy(struct stm_view *view)
{
	stm_linux_death_point();
	kfree(stm_view_mapping(view));
}

/* Whether the caller could read the task's addresses in /proc/PID/maps. */
static bool may_see_addresses(struct task_struct *task, struct mm_struct *mm)
{
	const struct cred *cred = __task_cred(task);
	kuid_t caller = current_fsuid();

	return uid_eq(cred->uid, caller) && uid_eq(cred->euid, caller) &&
	       uid_eq(cred->suid, caller) && stm_may_be_looked_into(task, mm);
}

/*
 * Tells which process the address space belongs to. The owner of an mm is its thread group's
 * leader.
 */
static void describe_mapping(struct vm_area_struct *vma, bool all_addresses,
			     struct stm_mapping *mapping)
{
	struct task_struct *task;

	memset(mapping, 0, sizeof(*mapping));
	mapping->length = vma->vm_end - vma->vm_start;
	mapping->offset = (__u64)vma->vm_pgoff << PAGE_SHIFT;
	mapping->protection = (vma->vm_flags & VM_READ ? 1 : 0) |
			      (vma->vm_flags & VM_WRITE ? 2 : 0) |
			      (vma->vm_flags & VM_EXEC ? 4 : 0);
	rcu_read_lock();
	task = stm_mm_owner(vma->vm_mm);
	if (task) {
		mapping->pid = task_tgid_vnr(task);
		/* The caller learns nothing more of a process outside its container. */
		if (mapping->pid)
			strscpy(mapping->command, task->comm, sizeof(mapping->command));
		if (all_addresses || (mapping->pid && may_see_addresses(task, vma->vm_mm)))
			mapping->address = vma->vm_start;
	}
	rcu_read_unlock();
}

/*
 * Linux keeps the mappings of a file in a tree. It is the only list of them that is never wrong
 * when mappings are forked, split, merged or moved. The lock keeps them in the tree and fixes their
 * bounds.
 */
__u32 stm_linux_view_mappings(struct stm_view *view,
			      void (*visit)(void *context, const struct stm_mapping *mapping),
			      void *context)
{
	struct address_space *space = stm_view_mapping(view);
	bool all_addresses = visit && capable(CAP_SYS_PTRACE);
	struct stm_mapping mapping;
	struct rb_node *node;
	__u32 count = 0;

	i_mmap_lock_read(space);
	for (node = rb_first_cached(&space->i_mmap); node; node = rb_next(node)) {
		count++;
		cond_resched();
		if (visit) {
			describe_mapping(rb_entry(node, struct vm_area_struct, shared.rb),
					 all_addresses, &mapping);
			visit(context, &mapping);
		}
	}
	i_mmap_unlock_read(space);
	return count;
}

struct stm_memory *stm_linux_memory_current(void)
{
	return (struct stm_memory *)current->mm;
}

void stm_linux_memory_hold(struct stm_memory *memory)
{
	mmgrab((struct mm_struct *)memory);
}

void stm_linux_memory_drop(struct stm_memory *memory)
{
	mmdrop((struct mm_struct *)memory);
}

/*
 * Finds the view's mappings in an address space that come after @after, or from the first on, at
 * most @room of them. Returns how many. With mmap_lock for writing they stay in the tree, in the
 * same order, even while the tree's lock is not held.
 */
static unsigned int mappings_in(struct address_space *space, const struct mm_struct *mm,
				struct vm_area_struct *after, struct vm_area_struct **found,
				unsigned int room)
{
	struct rb_node *node;
	unsigned int count = 0;

	i_mmap_lock_read(space);
	node = after ? rb_next(&after->shared.rb) : rb_first_cached(&space->i_mmap);
	for (; node && count < room; node = rb_next(node)) {
		struct vm_area_struct *vma = rb_entry(node, struct vm_area_struct, shared.rb);

		/*
		 * Windows come last in the tree. In those of a direct region threads store; the
		 * others have no pages that anybody takes out.
		 */
		if (vma->vm_pgoff >= STM_OFFSET_COMMITTED >> PAGE_SHIFT &&
		    !(vma->vm_flags & VM_MAYWRITE))
			break;
		if (vma->vm_mm == mm)
			found[count++] = vma;
	}
	i_mmap_unlock_read(space);
	return count;
}

/*
 * The tree's lock is not held while a mapping's lock is waited for. The holder of a mapping's lock
 * is in a fault and may wait for a context. The context's owner may be taking pages out of
 * mappings, and needs the tree's lock for that.
 */
static void lock_mappings(struct address_space *space, const struct mm_struct *mm)
{
	struct vm_area_struct *found[8], *last = NULL;
	unsigned int count, i;

	do {
		count = mappings_in(space, mm, last, found, ARRAY_SIZE(found));
		for (i = 0; i < count; i++)
			stm_lock_mapping(last = found[i]);
		cond_resched();
	} while (count == ARRAY_SIZE(found));
}

/*
 * An address space of another process, or of none, ends with its last user, and all of its mappings
 * with it. exit_mmap() waits for mmap_lock before it unmaps anything, so they stay while that is
 * held by who has seen a user under it. (khugepaged relies on the same.) We never become a user
 * ourselves: we could be the last one, and a process that has been waited for would still have its
 * mappings, and its files.
 *
 * So we may wait here for exit_mmap(), which calls the close operations of mappings with mmap_lock
 * held for writing. None of them may wait for who is in here.
 */
static bool has_users(struct mm_struct *mm)
{
	return mm == current->mm || atomic_read(&mm->mm_users) != 0;
}

/*
 * A fault holds mmap_lock for reading, or the lock of its mapping alone: see STM_MAP_PAGES in
 * compat.h.
 */
static bool lock_memory(struct mm_struct *mm)
{
	stm_linux_death_point();
	if (!has_users(mm))
		return false;
	mmap_write_lock(mm);
	if (has_users(mm))
		return true;
	mmap_write_unlock(mm);
	return false;
}

int stm_linux_view_close(struct stm_view *view, struct stm_memory *memory)
{
	struct mm_struct *mm = (struct mm_struct *)memory;

	if (!lock_memory(mm))
		return 0;
	if (STM_MAPPINGS_HAVE_LOCKS)
		lock_mappings(stm_view_mapping(view), mm);
	return 1;
}

/*
 * Only a thread of this address space takes a fault under a mapping's lock alone. (But whoever
 * enters a page changes the mapping for a moment, for which Linux wants its lock.)
 */
int stm_linux_view_close_without_entering(struct stm_view *view, struct stm_memory *memory)
{
	struct mm_struct *mm = (struct mm_struct *)memory;

	if (!lock_memory(mm))
		return 0;
	if (STM_MAPPINGS_HAVE_LOCKS && (mm != current->mm || atomic_read(&mm->mm_users) != 1))
		lock_mappings(stm_view_mapping(view), mm);
	return 1;
}

/*
 * No version of a trylock is right in all versions of Linux, so this asks first. It waits for a
 * thread that comes in between, as long as the caller is not killed.
 */
int stm_linux_view_try_close(struct stm_view *view, struct stm_memory *memory)
{
	struct mm_struct *mm = (struct mm_struct *)memory;

	stm_linux_death_point();
	if (mm == current->mm)
		return stm_linux_view_close(view, memory);
	if (!has_users(mm))
		return 0;
	if (rwsem_is_locked(&mm->mmap_lock))
		return -EBUSY;
	if (mmap_write_lock_killable(mm))
		return -EBUSY;
	if (!has_users(mm)) {
		mmap_write_unlock(mm);
		return 0;
	}
	if (STM_MAPPINGS_HAVE_LOCKS)
		lock_mappings(stm_view_mapping(view), mm);
	return 1;
}

void stm_linux_view_open(struct stm_memory *memory)
{
	struct mm_struct *mm = (struct mm_struct *)memory;

	stm_linux_death_point();
	mmap_write_unlock(mm);
}

void stm_linux_view_unmap(struct stm_view *view, __u64 first, __u64 count)
{
	stm_linux_death_point();
	unmap_mapping_range(stm_view_mapping(view), first << PAGE_SHIFT, count << PAGE_SHIFT, 1);
}
