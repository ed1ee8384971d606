// SPDX-License-Identifier: GPL-2.0
/* User memory. The checks of copy_*_user and FORTIFY are in C headers, so they are active here. */
#include <linux/bitops.h>
#include <linux/compiler.h>
#include <linux/fault-inject-usercopy.h>
#include <linux/mm.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include <stm/ioctl.h>

#include "kernel/interface/services.h"

int stm_linux_copy_in(void *to, __u64 from, unsigned long bytes)
{
	stm_linux_death_point();
	return copy_from_user(to, u64_to_user_ptr(from), bytes) ? -EFAULT : 0;
}

/* Goes to @fault if one cannot be read. */
#define unsafe_get_user_words(to, words, count, fault)                                             \
	do {                                                                                       \
		unsigned int i_;                                                                   \
                                                                                                   \
		for (i_ = (count) / 4; i_; i_--, (to) += 4, (words) += 4) {                        \
			unsafe_get_user((to)[0], (words), fault);                                  \
			unsafe_get_user((to)[1], (words) + 1, fault);                              \
			unsafe_get_user((to)[2], (words) + 2, fault);                              \
			unsafe_get_user((to)[3], (words) + 3, fault);                              \
		}                                                                                  \
		for (i_ = (count) % 4; i_; i_--)                                                   \
			unsafe_get_user(*(to)++, (words)++, fault);                                \
	} while (0)

/* At most 4096 bytes, so the caller's room is known to suffice, and the loop is short. */
int stm_linux_copy_words_in(__u64 *to, __u64 from, unsigned int count)
{
	const __u64 __user *words = u64_to_user_ptr(from);

	stm_linux_death_point();
	if (should_fail_usercopy() || count > STM_MOST_WORDS ||
	    !user_read_access_begin(words, count * sizeof(*words)))
		return -EFAULT;
	unsafe_get_user_words(to, words, count, fault);
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}

int stm_linux_copy_sized_in(__u64 *to, __u64 from, unsigned int count, __u32 size, __u32 *given)
{
	const __u64 __user *words = u64_to_user_ptr(from);

	stm_linux_death_point();
	if (should_fail_usercopy() || count > STM_MOST_WORDS ||
	    !user_read_access_begin(words, count * sizeof(*words)))
		return -EFAULT;
	unsafe_get_user(*given, (const __u32 __user *)words, fault);
	if (*given == size)
		unsafe_get_user_words(to, words, count, fault);
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}

/* Most writes are of one word: nothing else of their bytes is read. */
int stm_linux_copy_sets_in(__u64 *reads, struct stm_stripe_write *writes,
			   const struct stm_sets *sets)
{
	unsigned int read_count = sets->read_count, left = sets->write_count;
	const __u64 __user *read = u64_to_user_ptr(read_count ? sets->reads : 0);
	const struct stm_stripe_write __user *write = u64_to_user_ptr(left ? sets->writes : 0);

	stm_linux_death_point();
	if (should_fail_usercopy() || !access_ok(read, read_count * sizeof(*read)) ||
	    !user_read_access_begin(write, left * sizeof(*write)))
		return -EFAULT;
	for (; read_count; read_count--)
		unsafe_get_user(*reads++, read++, fault);
	for (; left; left--, writes++, write++) {
		const __u64 __user *words = (const __u64 __user *)write->bytes;
		__u64 *to = (__u64 *)writes->bytes;
		unsigned int first;

		unsafe_get_user(writes->stripe, &write->stripe, fault);
		unsafe_get_user(writes->mask, &write->mask, fault);
		first = writes->mask ? __ffs64(writes->mask) / 8 : 0;
		if (writes->mask >> (first * 8) <= 0xff)
			unsafe_get_user(to[first], words + first, fault);
		else
			unsafe_get_user_words(to, words, sizeof(writes->bytes) / 8, fault);
	}
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}

/* Whether the words of all pieces with that direction are in user memory. */
static bool are_user_words(const struct stm_vector_piece *pieces, unsigned int count, __u32 flags)
{
	for (; count; count--, pieces++) {
		if ((pieces->flags & STM_PIECE_WRITE) == flags &&
		    !access_ok(u64_to_user_ptr(pieces->address), sizeof(__u64)))
			return false;
	}
	return true;
}

int stm_linux_copy_words_of(const struct stm_vector_piece *pieces, unsigned int count, __u64 *to)
{
	stm_linux_death_point();
	if (should_fail_usercopy() || !are_user_words(pieces, count, STM_PIECE_WRITE) ||
	    !user_read_access_begin(NULL, 0))
		return -EFAULT;
	for (; count; count--, pieces++, to++) {
		if (pieces->flags & STM_PIECE_WRITE)
			unsafe_get_user(*to, (const __u64 __user *)u64_to_user_ptr(pieces->address),
					fault);
	}
	user_read_access_end();
	return 0;
fault:
	user_read_access_end();
	return -EFAULT;
}

int stm_linux_put_words_of(const struct stm_vector_piece *pieces, unsigned int count,
			   const __u64 *from)
{
	stm_linux_death_point();
	if (should_fail_usercopy() || !are_user_words(pieces, count, 0) ||
	    !user_write_access_begin(NULL, 0))
		return -EFAULT;
	for (; count; count--, pieces++, from++) {
		if (!(pieces->flags & STM_PIECE_WRITE))
			unsafe_put_user(*from, (__u64 __user *)u64_to_user_ptr(pieces->address),
					fault);
	}
	user_write_access_end();
	return 0;
fault:
	user_write_access_end();
	return -EFAULT;
}

int stm_linux_put_u64(__u64 to, __u64 value)
{
	stm_linux_death_point();
	if (should_fail_usercopy())
		return -EFAULT;
	return put_user(value, (__u64 __user *)u64_to_user_ptr(to));
}

int stm_linux_copy_out(__u64 to, const void *from, unsigned long bytes)
{
	stm_linux_death_point();
	return copy_to_user(u64_to_user_ptr(to), from, bytes) ? -EFAULT : 0;
}

int stm_linux_copy_struct_in(void *to, unsigned long known, __u64 from, unsigned long given)
{
	stm_linux_death_point();
	return copy_struct_from_user(to, known, u64_to_user_ptr(from), given);
}

unsigned long stm_linux_buffer_left(struct stm_user_buffer *buffer)
{
	return iov_iter_count((struct iov_iter *)buffer);
}

unsigned long stm_linux_buffer_put(struct stm_user_buffer *buffer, const void *from,
				   unsigned long bytes)
{
	stm_linux_death_point();
	return copy_to_iter(from, bytes, (struct iov_iter *)buffer);
}

unsigned long stm_linux_buffer_get(struct stm_user_buffer *buffer, void *to, unsigned long bytes)
{
	stm_linux_death_point();
	return copy_from_iter(to, bytes, (struct iov_iter *)buffer);
}

void stm_linux_buffer_revert(struct stm_user_buffer *buffer, unsigned long bytes)
{
	iov_iter_revert((struct iov_iter *)buffer, bytes);
}

/*
 * Only anonymous memory: a file's pages need to be told when they are written, and nothing would do
 * that. No huge page: all of it would be kept for a few bytes. So each pin keeps one page, charged
 * to the program as before.
 */
int stm_linux_pin(__u64 address, unsigned long bytes, struct stm_pin **pin, void **memory)
{
	struct page *page;
	int pinned;

	stm_linux_death_point();
	if (!bytes || address % bytes || offset_in_page(address) + bytes > PAGE_SIZE)
		return -EINVAL;
	pinned = pin_user_pages_fast(address, 1, FOLL_WRITE | FOLL_LONGTERM, &page);
	if (pinned != 1)
		return pinned == -ENOMEM ? -ENOMEM : -EFAULT;
	if (!PageAnon(page) || PageCompound(page)) {
		unpin_user_page(page);
		return -EINVAL;
	}
	/*
	 * We write to the page without the page table, whose dirty bit may be clear. Linux does not
	 * clean a page while it is pinned.
	 */
	set_page_dirty_lock(page);
	*pin = (struct stm_pin *)page;
	*memory = stm_linux_page_memory((struct stm_page *)page) + offset_in_page(address);
	return 0;
}

void stm_linux_unpin(struct stm_pin *pin)
{
	stm_linux_death_point();
	unpin_user_page((struct page *)pin);
}

int stm_linux_is_program_address(__u64 address)
{
	return address < TASK_SIZE;
}
