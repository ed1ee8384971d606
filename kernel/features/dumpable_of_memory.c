// SPDX-License-Identifier: GPL-2.0
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>

bool probe(struct mm_struct *mm);

bool probe(struct mm_struct *mm)
{
	return get_dumpable(mm) == SUID_DUMP_USER;
}
