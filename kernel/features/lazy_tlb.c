// SPDX-License-Identifier: GPL-2.0
/* The header shows it to Linux itself alone, though Linux exports it. */
#undef MODULE
#include <linux/percpu.h>

#include <asm/tlbflush.h>

bool probe(int cpu);

static_assert(sizeof(struct tlb_state_shared) == sizeof(bool));

bool probe(int cpu)
{
	return per_cpu(cpu_tlbstate_shared, cpu).is_lazy;
}
