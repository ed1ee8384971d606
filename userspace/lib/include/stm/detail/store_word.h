/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stm_tx_store_word() of <stm/tx.h>: a store of a word to one of few stripes, to which the
 * transaction has not stored yet
 *
 * stm_tx_store() does the rest: stripes that were stored to before, and more than a few, other
 * regions, nested parts, mistakes.
 */
#ifndef STM_DETAIL_STORE_WORD_H
#define STM_DETAIL_STORE_WORD_H

#include <stdint.h>
#include <stm/detail/line.h>
#include <stm/tx.h>

/* With a variable of its own, so that the caller's need not be in memory. */
__attribute__((__always_inline__)) static inline int
stm_tx_call_store(stm_tx *tx, stm_region *region, uint64_t offset, uint64_t word)
{
	const uint64_t copy = word;

	return stm_tx_store(tx, region, offset, &copy, sizeof(copy));
}

__attribute__((__always_inline__)) static inline int
stm_tx_store_word(stm_tx *tx, stm_region *region, uint64_t offset, uint64_t word)
{
	struct stm_tx_line *const line = (struct stm_tx_line *)tx;

	if (__builtin_expect(line->region == region && offset % 8 == 0 &&
				     stm_tx_is_beside_stores(line, offset) &&
				     line->write_count < STM_TX_FEW_WRITES,
			     1)) {
		struct stm_tx_write *const write = &line->writes[line->write_count];

		write->stripe = offset / 64;
		write->mask = (uint64_t)0xff << (offset & 63);
		*(stm_tx_word *)(write->bytes + (offset & 63)) = word;
		line->filter |= (uint64_t)1 << (offset / 64 & 63);
		line->bound = 0;
		/*
		 * A signal handler may leave this by a jump, and the transaction goes on. So the
		 * count comes last, and before all that the program does then.
		 */
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		line->write_count++;
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		return 0;
	}
	return stm_tx_call_store(tx, region, offset, word);
}

#endif /* STM_DETAIL_STORE_WORD_H */
