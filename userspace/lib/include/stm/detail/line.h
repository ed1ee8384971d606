/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What programs know of a transaction of <stm/tx.h>, so that they can load and store words by
 * themselves. This is a part of the library's binary interface, and for these headers alone.
 */
#ifndef STM_DETAIL_LINE_H
#define STM_DETAIL_LINE_H

#include <stdint.h>
#include <stm/tx.h>

typedef uint64_t __attribute__((__may_alias__)) stm_tx_word;

/* What is to be written to a stripe of 64 bytes: the bytes that have a bit in the mask. */
struct stm_tx_write {
	uint64_t stripe;
	uint64_t mask;
	unsigned char bytes[64];
} __attribute__((__may_alias__));

/* The first few stripes that a transaction stores to need no index. */
#define STM_TX_FEW_WRITES 8

struct stm_tx_line {
	stm_region *region; /* the first one, to which all of this belongs */
	stm_region *others[15];
	/* What a load needs, in one cache line. */
	const uint64_t *records;   /* of ownership, one for each stripe of 64 bytes */
	const unsigned char *data; /* the committed bytes */
	const uint64_t *clock;
	uint64_t size;
	uint64_t bound;	   /* words below it can be loaded so; 0: none, or see filter */
	uint64_t limit;	   /* of records; a locked one is above any limit */
	uint64_t *log_end; /* of the numbers of stripes that were loaded; NULL: no log */
	uint64_t *log_limit;
	uint64_t *log_begin;
	uint64_t log_room[64];
	/* What a store needs. */
	uint64_t filter;      /* bit n: a stripe was stored to whose number is n modulo 64 */
	uint64_t store_bound; /* words below it can be stored so; 0: none */
	struct stm_tx_write *writes;
	uint32_t write_count;
	uint32_t write_room;
} __attribute__((__may_alias__));

/* Whether the transaction can store to that word by itself, and has not stored to its stripe. */
__attribute__((__always_inline__)) static inline int
stm_tx_is_beside_stores(const struct stm_tx_line *line, uint64_t offset)
{
	return offset < line->store_bound && (line->filter >> (offset / 64 & 63) & 1) == 0;
}

#endif /* STM_DETAIL_LINE_H */
