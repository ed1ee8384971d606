/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Transactions that programs run by themselves, over two regions, for SPIN: the reads of
 * runtime/protocol/typed_transaction.hpp and the commit of runtime/protocol/set_commit.hpp. Each
 * region has a clock. Each of TRANSACTIONS makes one attempt. Every access to shared memory is one
 * step; the memory is sequentially consistent.
 *
 *   -DTRANSACTIONS=n   any reads and any writes of one stripe in each region; or
 *   -DROLES            three transactions over two stripes in each region, each with a part of its
 *                      own, which need the order of clocks and validation
 *   -DDEATHS=n         so many processes die, between their reads or before their commit (which
 *                      runs in the kernel, to its end)
 *   -DMUTATION=n       plants a defect (the list is in `run`)
 *
 * Checked: there is one serial order, of the moments at which the headers say that transactions
 * take effect. What a transaction has read, also one that aborts or dies, is the state at the
 * moment of its snapshots; and what a committed one has read is the state at the moment of its
 * commit. In the end no stripe is locked, and each has what the last one wrote.
 *
 * The judging rests on history variables that the transactions write and never read.
 */
#ifdef ROLES
#define TRANSACTIONS 3
#define STRIPES 4
#else
#define STRIPES 2
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef MUTATION
#define MUTATION 0
#endif

#define REGIONS 2
#define REGION(s) ((s) % REGIONS)
#define AT(t, s) ((t) * STRIPES + (s))
#define HAS(set, s) (((set) >> (s)) & 1)
#define NOT_READ 15

/* Shared memory. The version and the owner of a stripe are one word, its record. */
byte clock[REGIONS];
byte version[STRIPES];
byte owner[STRIPES];	/* 0: unlocked; otherwise the transaction + 1 */
byte data[STRIPES];	/* who wrote it + 1 */

/* History. */
byte moment = 0;		    /* counts the moments that have an order */
byte viewed[TRANSACTIONS];	    /* the moment of the snapshots */
byte effective[TRANSACTIONS];	    /* the moment at which a commit takes effect */
byte written[TRANSACTIONS];	    /* what a transaction has committed */
byte read[TRANSACTIONS * STRIPES];  /* whose bytes it has read */
byte ended = 0;
byte deaths = 0;

/* expected = who has written stripe s last before the moment. */
inline look_up(s, before) {
	expected = 0;
	best = 0;
	k = 0;
	do
	:: k < TRANSACTIONS ->
		if
		:: HAS(written[k], s) && effective[k] < (before) && effective[k] > best ->
			best = effective[k];
			expected = k + 1
		:: else
		fi;
		k++
	:: else -> break
	od
}

inline may_die() {
	if
	:: deaths < DEATHS -> deaths++; goto over
	:: true
	fi
}

/* ok = whether a stripe is what was read at the snapshot. */
inline check(s) {
	if
	:: owner[s] != 0 && owner[s] != t + 1 ->
#if MUTATION == 7
		ok = true
#else
		ok = false
#endif
	:: else -> ok = (version[s] <= snapshot[REGION(s)])
	fi
}

/* All clocks, and then all that was read; only then the new snapshots count. */
inline extend() {
	r = 0;
	do
	:: r < REGIONS ->
		atomic {
			if
			:: HAS(joined, r) -> now[r] = clock[r]; moment++; seen_at = moment
			:: else
			fi;
			r++
		}
	:: else -> break
	od;
	i = 0;
	do
	:: i < STRIPES ->
		atomic {
#if MUTATION != 5
			if
#if MUTATION == 6
			:: read[AT(t, i)] != NOT_READ && !joins ->
#else
			:: read[AT(t, i)] != NOT_READ ->
#endif
				check(i);
				if
				:: !ok -> goto over
				:: else
				fi
			:: else
			fi;
#endif
			i++
		}
	:: else -> break
	od;
	atomic {
		snapshot[0] = now[0];
		snapshot[1] = now[1];
		viewed[t] = seen_at;
		i = 0; r = 0; seen_at = 0; joins = false
	}
}

/* What was read in one region, or in all (REGIONS). */
inline validate(where) {
	i = 0;
	do
	:: i < STRIPES ->
		atomic {
			if
			:: read[AT(t, i)] != NOT_READ &&
			   ((where) == REGIONS || REGION(i) == (where)) ->
				check(i);
				if
				:: !ok -> goto give_up
				:: else
				fi
			:: else
			fi;
			i++
		}
	:: else -> break
	od
}

/* The moment is that of the last one. */
inline advance(r) {
	atomic {
		clock[r]++;
		mine[r] = clock[r];
		moment++;
		effect = moment
	}
}

proctype transaction(byte t) {
	byte reads, writes;	/* what is to be read and written */
	byte joined = 0;	/* the regions that belong to it */
	byte snapshot[REGIONS], now[REGIONS], mine[REGIONS];
	byte s = 0, i = 0, r = 0, last = 0, seen = 0, bytes = 0, seen_at = 0, effect = 0;
	bool ok = false, joins = false, alone = false;

	atomic {
#ifdef ROLES
		/* Stripes 0 and 2 are in the first region, 1 and 3 in the second one. */
		if
		:: t == 0 -> reads = 1; writes = 4 + 2	/* reads 0, writes 2 and 1 */
		:: t == 1 -> reads = 8; writes = 1	/* reads 3, writes 0 */
		:: t == 2 -> reads = 2; writes = 8	/* reads 1, writes 3: in one region */
		fi
#else
		if
		:: reads = 0
		:: reads = 1
		:: reads = 2
		:: reads = 3
		fi;
		if
		:: writes = 0
		:: writes = 1
		:: writes = 2
		:: writes = 3
		fi;
		if
		:: (reads | writes) == 0 -> reads = 3
		:: else
		fi
#endif
	}

next:
	may_die();
	atomic {
		/* In any order: both come first in some transaction. */
		if
		:: reads == 0 -> goto commit
		:: HAS(reads, 0) -> s = 0
		:: HAS(reads, 1) -> s = 1
#ifdef ROLES
		:: HAS(reads, 3) -> s = 3
#endif
		fi;
		if
		:: !HAS(joined, REGION(s)) -> joined = joined | (1 << REGION(s)); joins = true
		:: else -> goto sample
		fi
	}
take_snapshot:
	extend();
sample:
	atomic {
		seen = version[s];
		if
		:: owner[s] != 0 -> goto over
		:: owner[s] == 0 && seen > snapshot[REGION(s)] -> goto take_snapshot
		:: else
		fi
	}
	bytes = data[s];
	atomic {
#if MUTATION != 2
		if
		:: owner[s] != 0 || version[s] != seen -> goto sample
		:: else
		fi;
#endif
		read[AT(t, s)] = bytes;
		reads = reads & ~(1 << s);
		bytes = 0; seen = 0
	}
	goto next;

commit:
	if
	:: writes == 0 -> goto over
	:: else
	fi;
	/* Regions that are only written to belong to it as well. */
	atomic {
		i = 0;
		do
		:: i < STRIPES ->
			if
			:: HAS(writes, i) && !HAS(joined, REGION(i)) ->
				joined = joined | (1 << REGION(i));
				joins = true
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0
	}
	if
	:: joins -> extend()
	:: else
	fi;
	/* L */
	i = 0;
	do
	:: i < STRIPES ->
		atomic {
			if
			:: HAS(writes, i) && owner[i] != 0 -> goto give_up
			:: HAS(writes, i) && owner[i] == 0 -> owner[i] = t + 1
			:: else
			fi;
			i++
		}
	:: else -> break
	od;
	/* C, in all regions that are written to, and again in all but the last one. */
	last = REGIONS;
	r = 0;
	do
	:: r < REGIONS ->
		if
		:: (r == 0 && (writes & 5) != 0) || (r == 1 && (writes & 10) != 0) ->
			advance(r);
			last = r
#if MUTATION == 3
			;
			validate(r)
#endif
		:: else
		fi;
		r++
	:: else -> break
	od;
#if MUTATION != 4
	if
	:: joined == 3 && last == 1 && (writes & 5) != 0 ->
		atomic { clock[0]++; mine[0] = clock[0] }
	:: else
	fi;
#endif
	/* V */
	alone = (joined != 3 && mine[last] == snapshot[last] + 1);
#if MUTATION == 8
	alone = (mine[last] == snapshot[last] + 1);
#endif
#if MUTATION != 1 && MUTATION != 3
	if
	:: !alone -> validate(REGIONS)
	:: else
	fi;
#endif
	/* It goes through. */
	atomic {
		effective[t] = effect;
		written[t] = writes;
		effect = 0
	}
	/* A, and then R. */
	i = 0;
	do
	:: i < STRIPES ->
		if
		:: HAS(writes, i) -> data[i] = t + 1
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < STRIPES ->
		atomic {
			if
			:: HAS(writes, i) -> owner[i] = 0; version[i] = mine[REGION(i)]
			:: else
			fi;
			i++
		}
	:: else -> break
	od;
	goto over;

give_up:
	/* The words that were locked over, unchanged. */
	i = 0;
	do
	:: i < STRIPES ->
		if
		:: owner[i] == t + 1 -> owner[i] = 0
		:: else
		fi;
		i++
	:: else -> break
	od;

over:
	/* Forget, so that ends which differ in nothing else are one state. */
	atomic {
		reads = 0; writes = 0; joined = 0; s = 0; i = 0; r = 0; last = 0; seen = 0;
		bytes = 0; seen_at = 0; effect = 0; ok = false; joins = false; alone = false;
		snapshot[0] = 0; snapshot[1] = 0; now[0] = 0; now[1] = 0; mine[0] = 0; mine[1] = 0;
		ended++
	}
}

init {
	byte t, s, k, expected, best;

	atomic {
		t = 0;
		do
		:: t < TRANSACTIONS * STRIPES -> read[t] = NOT_READ; t++
		:: else -> break
		od;
		t = 0;
		do
		:: t < TRANSACTIONS -> run transaction(t); t++
		:: else -> break
		od
	}

	ended == TRANSACTIONS;
	d_step {
		t = 0;
		do
		:: t < TRANSACTIONS ->
			s = 0;
			do
			:: s < STRIPES ->
				if
				:: read[AT(t, s)] != NOT_READ ->
					look_up(s, viewed[t]);
					assert(read[AT(t, s)] == expected);
					if
					:: written[t] != 0 ->
						look_up(s, effective[t]);
						assert(read[AT(t, s)] == expected)
					:: else
					fi
				:: else
				fi;
				s++
			:: else -> break
			od;
			t++
		:: else -> break
		od;
		s = 0;
		do
		:: s < STRIPES ->
			look_up(s, moment + 1);
			assert(owner[s] == 0);
			assert(data[s] == expected);
			s++
		:: else -> break
		od
	}
}
