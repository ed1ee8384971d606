/* SPDX-License-Identifier: GPL-2.0 */
/* What the planted bugs need of Linux, and their names. */
#ifndef PLANTED_H
#define PLANTED_H

#ifdef __cplusplus
extern "C" {
#endif

/* glue.c */
void* planted_allocate(unsigned long bytes);
void planted_free(void* memory);
void planted_lock(int which); /* mutex 0 or 1 */
void planted_unlock(int which);
void planted_spin_lock(void);
void planted_spin_unlock(void);
void planted_may_sleep(void);

/* planted.cc */
void planted_nothing(void);
void planted_out_of_bounds(void);
void planted_use_after_free(void);
void planted_shift(void);
void planted_lock_order(void);
void planted_sleep_under_spin_lock(void);
void planted_leak(void);
void planted_race(void); /* in two threads at once */

#ifdef __cplusplus
}
#endif

#endif
