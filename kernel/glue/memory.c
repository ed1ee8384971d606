// SPDX-License-Identifier: GPL-2.0
/* Memory for the core: objects and region pages, both charged to the caller's memory cgroup. */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "kernel/glue/glue.h"
#include "kernel/interface/services.h"
#include "kernel/interface/settings.h"
#include "runtime/support/host.h"

static_assert(STM_PAGE_BYTES == PAGE_SIZE);

/*
 * An allocation that a user causes fails at the limit of the memory cgroup. Without RETRY_MAYFAIL
 * it would make Linux kill a process.
 */
#define STM_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

void *stm_allocate(size_t bytes)
{
	stm_linux_death_point();
	return kvmalloc(bytes, STM_GFP);
}

void *stm_linux_allocate_now(unsigned long bytes)
{
	stm_linux_death_point();
	return kmalloc(bytes, GFP_NOWAIT | __GFP_ACCOUNT | __GFP_NOWARN);
}

void stm_free(void *memory)
{
	kvfree(memory);
}

void stm_panic(const char *message)
{
	pr_emerg("%s\n", message);
	BUG();
}

struct stm_page *stm_linux_page_allocate(struct stm_identity *identity, __u64 index)
{
	struct page *page = alloc_page(STM_GFP | __GFP_ZERO);

	stm_linux_death_point();
	if (!page)
		return NULL;
	/* The futex code identifies a shared page by its inode and index, and finds both here. */
	page_folio(page)->index = index;
	page_folio(page)->mapping = stm_identity_inode(identity)->i_mapping;
	return (struct stm_page *)page;
}

struct stm_page *stm_linux_page_allocate_private(void)
{
	stm_linux_death_point();
	return (struct stm_page *)alloc_page(STM_GFP);
}

void stm_linux_page_get(struct stm_page *page)
{
	get_page((struct page *)page);
}

int stm_linux_page_is_alone(struct stm_page *page)
{
	return page_count((struct page *)page) == 1;
}

__u32 stm_linux_page_holders(struct stm_page *page)
{
	struct page *own = (struct page *)page;

	return page_count(own) - (atomic_read(&own->_mapcount) + 1);
}

void stm_linux_page_release(struct stm_page *handle)
{
	struct page *page = (struct page *)handle;

	stm_linux_death_point();
	/*
	 * A page that is freed with a mapping is a "bad page", and a pin may outlive the inode.
	 * Code that marks a pinned page dirty holds the page's lock while it uses the mapping.
	 */
	lock_page(page);
	page_folio(page)->mapping = NULL;
	unlock_page(page);
	put_page(page);
}

void *stm_linux_page_memory(struct stm_page *page)
{
	/*
	 * Without a virtual memory map, a page's flags tell in which section of memory it lies.
	 * These bits never change; Linux changes others at any time, as when a process ends.
	 */
	return data_race(page_address((struct page *)page));
}

void stm_linux_breathe(void)
{
	cond_resched();
}

void stm_linux_random(void *to, unsigned long bytes)
{
	get_random_bytes(to, bytes);
}
