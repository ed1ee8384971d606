/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The commit protocol of runtime/protocol/transaction.hpp, for SPIN: TRANSACTIONS transactions,
 * each one attempt with any reads and any writes (but see ROLES), over two stripes of two words.
 * Every access to shared memory is one step; the memory is sequentially consistent.
 *
 *   -DTRANSACTIONS=n   2 or 3
 *   -DROLES            one only reads, the others update: for three, who are too many otherwise
 *   -DDEATHS=n         so many processes die, at any step (see below)
 *   -DDIRECT           commits run in the dying process itself, and are repaired by a journal;
 *                      without it they run in the kernel, and a process dies between its calls
 *   -DMUTATION=n       plants a defect (the list is in `run`)
 *
 * Checked: opacity (whatever a transaction has read is, at the end and at each single read, the
 * state at its snapshot; what a committed update has read is the state just below its version),
 * real time (who begins sees what has ended), and that nothing is left behind: no lock, no stripe
 * written in half.
 *
 * The judging rests on history variables (who published which version) that the transactions
 * write and never read.
 */
#ifndef TRANSACTIONS
#define TRANSACTIONS 2
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef MUTATION
#define MUTATION 0
#endif

#define STRIPES 2
#define VERSIONS (TRANSACTIONS + 1)
#define AT(t, s) ((t) * STRIPES + (s))
#define HAS(set, s) (((set) >> (s)) & 1)
#define NOT_READ 15

/* Shared memory. The version and the owner of a stripe are one word, its orec. */
byte clock = 0;
byte version[STRIPES];
byte owner[STRIPES];	/* 0: unlocked; otherwise the transaction + 1 */
byte low[STRIPES];	/* the data: the two words of a stripe hold who wrote them + 1 */
byte high[STRIPES];

/* The journal of a direct region. */
bool journal_committed[TRANSACTIONS];
byte journal_version[TRANSACTIONS];

/* History. */
byte publisher[VERSIONS];	/* the transaction + 1; 0: nobody, or not (yet) committed */
byte published[VERSIONS];	/* the set of stripes */
byte finished = 0;		/* the highest version whose commit has returned */
byte snapshot[TRANSACTIONS];
byte read_version[TRANSACTIONS * STRIPES];
byte commit_version[TRANSACTIONS];
byte ended = 0;
byte deaths = 0;

/* expected = the last version of stripe s that is below the limit. */
inline look_up(s, limit) {
	expected = 0;
	k = 1;
	do
	:: k < (limit) && k < VERSIONS ->
		if
		:: publisher[k] != 0 && HAS(published[k], s) -> expected = k
		:: else
		fi;
		k++
	:: else -> break
	od
}

/* A process may die here. What it holds is repaired below. */
inline may_die() {
	if
	:: deaths < DEATHS -> deaths++; goto dead
	:: true
	fi
}

/* ... if its commit runs in itself. */
inline may_die_in_commit() {
#ifdef DIRECT
	may_die()
#else
	skip
#endif
}

inline check_read(s) {
	if
	:: read_version[AT(t, s)] == NOT_READ -> ok = true
	:: else ->
#if MUTATION == 7
		ok = (owner[s] != 0 || version[s] == read_version[AT(t, s)])
#else
		ok = (owner[s] == 0 && version[s] == read_version[AT(t, s)])
#endif
	fi
}

/* Every read that is not also written: those were compared when they were locked. */
inline validate_for_commit() {
	i = 0;
	do
	:: i < STRIPES ->
		atomic {
			if
			:: !HAS(writes, i) -> check_read(i)
			:: else -> ok = true
			fi;
			if
			:: !ok -> goto give_up
			:: else
			fi;
			i++
		}
	:: else -> break
	od
}

inline advance_clock() {
	atomic { clock++; mine = clock; commit_version[t] = 0 }
}

inline apply() {
	i = 0;
	do
	:: i < STRIPES ->
		if
		:: HAS(writes, i) ->
			may_die_in_commit();
			low[i] = t + 1;
			may_die_in_commit();
			high[i] = t + 1
		:: else
		fi;
		i++
	:: else -> break
	od
}

inline release() {
	i = 0;
	do
	:: i < STRIPES ->
		if
		:: HAS(writes, i) ->
			may_die_in_commit();
			atomic {
				owner[i] = 0;
#if MUTATION != 6
				version[i] = mine
#endif
			}
		:: else
		fi;
		i++
	:: else -> break
	od
}

proctype transaction(byte t) {
	byte reads;	/* the stripes still to be read */
	byte writes;	/* the stripes to be written */
	byte s = 0, i = 0, k = 0, seen = 0, now = 0, mine = 0, expected = 0, first = 0, second = 0;
	bool ok = false;
	bool alone = false;

	atomic {
#ifdef ROLES
		/* One observes, the others update in the ways that matter. */
		if
		:: t == 0 -> reads = 3; writes = 0
		:: t != 0 -> reads = 1; writes = 2
		:: t != 0 -> reads = 2; writes = 1
		:: t != 0 -> reads = 0; writes = 3
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
		/* An attempt that reads nothing, or changes nothing visible, is not interesting. */
		if
		:: (reads | writes) == 0 -> reads = 3
		:: else
		fi
#endif
	}

	atomic {
		snapshot[t] = clock;
		/* Real time. */
		assert(snapshot[t] >= finished)
	}

next_read:
	may_die();
	atomic {
		if
		:: reads == 0 -> goto commit
		:: HAS(reads, 0) -> s = 0
		:: HAS(reads, 1) -> s = 1
		fi
	}
sample:
	atomic {
		seen = version[s];
		if
		:: owner[s] != 0 -> goto aborted
		:: else
		fi;
		if
		:: seen > snapshot[t] -> goto extend
		:: else
		fi
	}
	first = low[s];
	second = high[s];
	atomic {
#if MUTATION != 2
		if
		:: owner[s] != 0 || version[s] != seen -> goto sample
		:: else
		fi;
#endif
		read_version[AT(t, s)] = seen;
		reads = reads & ~(1 << s);
		/* Opacity of this read, also if the transaction is going to abort. */
		look_up(s, snapshot[t] + 1);
		assert(seen == expected);
		assert(first == publisher[expected] && second == publisher[expected]);
		first = 0; second = 0; seen = 0; expected = 0; k = 0
	}
	goto next_read;

extend:
	now = clock;
	i = 0;
#if MUTATION != 5
	do
	:: i < STRIPES ->
		atomic {
			check_read(i);
			if
			:: !ok -> goto aborted
			:: else
			fi;
			i++
		}
	:: else -> break
	od;
#endif
	atomic { snapshot[t] = now; now = 0; i = 0; seen = 0; goto sample }

commit:
	if
	:: writes == 0 -> goto over
	:: else
	fi;
	/* Lock. */
	i = 0;
	do
	:: i < STRIPES ->
		may_die_in_commit();
		atomic {
			if
			:: HAS(writes, i) && owner[i] != 0 -> goto give_up
#if MUTATION != 1
			:: HAS(writes, i) && owner[i] == 0 && read_version[AT(t, i)] != NOT_READ &&
			   version[i] != read_version[AT(t, i)] -> goto give_up
			:: HAS(writes, i) && owner[i] == 0 && (read_version[AT(t, i)] == NOT_READ ||
			   version[i] == read_version[AT(t, i)]) -> owner[i] = t + 1
#else
			:: HAS(writes, i) && owner[i] == 0 -> owner[i] = t + 1
#endif
			:: !HAS(writes, i)
			fi;
			i++
		}
	:: else -> break
	od;
	may_die_in_commit();
#if MUTATION == 4
	alone = (clock == snapshot[t]);
	if
	:: !alone -> validate_for_commit()
	:: else
	fi;
	advance_clock();
#else
	advance_clock();
	may_die_in_commit();
#if MUTATION != 1
	if
	:: mine != snapshot[t] + 1 -> validate_for_commit()
	:: else
	fi;
#endif
#endif
	may_die_in_commit();
	/* Publish: the point of no return. */
	atomic {
		journal_version[t] = mine;
		journal_committed[t] = true;
		publisher[mine] = t + 1;
		published[mine] = writes;
		commit_version[t] = mine
	}
#if MUTATION == 3
	release();
	apply();
#else
	apply();
	release();
#endif
	may_die_in_commit();
	atomic {
		journal_committed[t] = false;
		if
		:: mine > finished -> finished = mine
		:: else
		fi;
		goto over
	}

give_up:
	/* The words that were locked over, unchanged. */
	i = 0;
	do
	:: i < STRIPES ->
		may_die_in_commit();
		if
		:: owner[i] == t + 1 -> owner[i] = 0
		:: else
		fi;
		i++
	:: else -> break
	od;
	goto aborted;

dead:
	/* The kernel, when the handle is released. */
	i = 0;
#ifdef DIRECT
	do
	:: i < STRIPES ->
		if
#if MUTATION == 9
		:: journal_committed[t] && HAS(writes, i) ->
#else
		:: journal_committed[t] && owner[i] == t + 1 ->
#endif
#if MUTATION != 8
			low[i] = t + 1;
			high[i] = t + 1;
#endif
			atomic { owner[i] = 0; version[i] = journal_version[t] }
		:: !journal_committed[t] && owner[i] == t + 1 -> owner[i] = 0
		:: else
		fi;
		i++
	:: else -> break
	od;
#endif

aborted:
over:
	/* Forget, so that ends which differ in nothing else are one state. */
	atomic {
		reads = 0; writes = 0; s = 0; i = 0; k = 0; seen = 0; now = 0; mine = 0;
		expected = 0; first = 0; second = 0; ok = false; alone = false;
		ended++
	}
}

init {
	byte t, s, k, expected;

	atomic {
		t = 0;
		do
		:: t < TRANSACTIONS * STRIPES -> read_version[t] = NOT_READ; t++
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
				:: read_version[AT(t, s)] != NOT_READ ->
					/* One snapshot, and nothing was put below it later. */
					look_up(s, snapshot[t] + 1);
					assert(read_version[AT(t, s)] == expected);
					if
					:: commit_version[t] != 0 ->
						look_up(s, commit_version[t]);
						assert(read_version[AT(t, s)] == expected)
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
			look_up(s, VERSIONS);
			assert(owner[s] == 0);
			assert(version[s] == expected);
			assert(low[s] == publisher[expected] && high[s] == publisher[expected]);
			s++
		:: else -> break
		od
	}
}
