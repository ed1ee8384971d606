/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stm_tx_load_word() of <stm/tx.h>: a load of a word that nothing is in the way of
 *
 * The word is taken if the record of its stripe is unlocked and not newer than the transaction's
 * snapshot, before and after. stm_tx_load() does the rest: other regions, what the transaction has
 * stored itself, newer snapshots, conflicts, mistakes.
 */
#ifndef STM_DETAIL_LOAD_WORD_H
#define STM_DETAIL_LOAD_WORD_H

#include <stddef.h>
#include <stdint.h>
#include <stm/detail/line.h>
#include <stm/tx.h>

/* Both compilers have ThreadSanitizer, and say so in ways of their own. */
#if defined(__SANITIZE_THREAD__)
#define STM_TX_RACES_ARE_SOUGHT
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define STM_TX_RACES_ARE_SOUGHT
#endif
#endif

/*
 * Loads a word, and tells whether it is what the snapshot has: 1 or 0.
 *
 * The record, the word, and the record again are looked at in this order. x86-64 loads in the order
 * of the program, so it is enough that the compiler keeps the order of these three; it may keep
 * everything else in registers from one load to the next. Race detectors want to see atomic loads.
 */
__attribute__((__always_inline__)) static inline int
stm_tx_sample(const uint64_t *records, const unsigned char *data, uint64_t limit, uint64_t offset,
	      uint64_t *to)
{
	const uint64_t *const record = records + offset / 64;
	const stm_tx_word *const word = (const stm_tx_word *)(data + offset);
	uint64_t before;
	int unchanged;

#if defined(__x86_64__) && !defined(STM_TX_RACES_ARE_SOUGHT)
	__asm__ volatile("movq %[record], %[before]\n\t"
			 "movq %[word], %[value]\n\t"
			 "cmpq %[before], %[record]"
			 : [before] "=&r"(before), [value] "=&r"(*to), "=@cce"(unchanged)
			 : [record] "m"(*record), [word] "m"(*word));
#else
	before = __atomic_load_n(record, __ATOMIC_ACQUIRE);
	*to = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	unchanged = __atomic_load_n(record, __ATOMIC_RELAXED) == before;
#endif
	if (__builtin_expect(!unchanged, 0))
		return 0;
	return before <= limit;
}

#undef STM_TX_RACES_ARE_SOUGHT

/*
 * Whether the word could be loaded so: 1 or 0. What *to has after 0 must not be used. A transaction
 * that has stored something may load so what it has not stored to.
 */
__attribute__((__always_inline__)) static inline int
stm_tx_peek_word(stm_tx *tx, stm_region *region, uint64_t offset, uint64_t *to)
{
	struct stm_tx_line *const line = (struct stm_tx_line *)tx;
	uint64_t *end;

	if (__builtin_expect(line->region != region || offset % 8 != 0, 0))
		return 0;
	if (offset >= line->bound && !stm_tx_is_beside_stores(line, offset))
		return 0;
	if (__builtin_expect(!stm_tx_sample(line->records, line->data, line->limit, offset, to), 0))
		return 0;
	end = line->log_end;
	if (end == NULL || end[-1] == offset / 64)
		return 1;
	if (end == line->log_limit)
		return 0;
	*end = offset / 64;
	line->log_end = end + 1;
	return 1;
}

__attribute__((__always_inline__)) static inline int
stm_tx_view_peek_word(const stm_tx_view *view, uint64_t offset, uint64_t *to)
{
	return __builtin_expect(offset < view->bound && offset % 8 == 0 &&
					stm_tx_sample(view->records, view->data, view->limit,
						      offset, to),
				1);
}

/* With a variable of its own, so that the caller's need not be in memory. */
__attribute__((__always_inline__)) static inline int
stm_tx_call_load(stm_tx *tx, stm_region *region, uint64_t offset, uint64_t *to)
{
	uint64_t word = 0;
	const int result = stm_tx_load(tx, region, offset, &word, sizeof(word));

	*to = word;
	return result;
}

__attribute__((__always_inline__)) static inline int
stm_tx_load_word(stm_tx *tx, stm_region *region, uint64_t offset, uint64_t *to)
{
	if (stm_tx_peek_word(tx, region, offset, to))
		return 0;
	return stm_tx_call_load(tx, region, offset, to);
}

__attribute__((__always_inline__)) static inline stm_tx_view stm_tx_view_of(stm_tx *tx)
{
	const struct stm_tx_line *const line = (const struct stm_tx_line *)tx;
	stm_tx_view view;

	view.tx = tx;
	view.region = line->region;
	view.records = line->records;
	view.data = line->data;
	view.bound = line->log_end == NULL ? line->bound : 0;
	view.limit = line->limit;
	return view;
}

__attribute__((__always_inline__)) static inline int
stm_tx_view_load_word(const stm_tx_view *view, uint64_t offset, uint64_t *to)
{
	if (stm_tx_view_peek_word(view, offset, to))
		return 0;
	return stm_tx_call_load(view->tx, view->region, offset, to);
}

#endif /* STM_DETAIL_LOAD_WORD_H */
