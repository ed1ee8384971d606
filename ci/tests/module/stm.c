// SPDX-License-Identifier: GPL-2.0
/* Stands in for the real module in the tests of ci/vm: misbehaves as it is told. */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/slab.h>

static char *how = "";
module_param(how, charp, 0444);
MODULE_PARM_DESC(how, "good, refuse, warn, oops, hold, leak or dead");

static noinline void lost(void *object)
{
	OPTIMIZER_HIDE_VAR(object);
}

static int __init start(void)
{
	if (!strcmp(how, "refuse"))
		return -EINVAL;
	if (!strcmp(how, "warn"))
		WARN(1, "planted warning");
	if (!strcmp(how, "oops"))
		*(volatile int *)8 = 1;
	if (!strcmp(how, "hold"))
		__module_get(THIS_MODULE);
	if (!strcmp(how, "leak")) {
		/* Three, since one stale pointer on a stack can hide one. */
		for (int i = 0; i < 3; i++)
			lost(kmalloc(100, GFP_KERNEL));
	}
	if (!strcmp(how, "dead")) {
		local_irq_disable();
		for (;;)
			cpu_relax();
	}
	return 0;
}

static void __exit stop(void)
{
}

module_init(start);
module_exit(stop);
MODULE_DESCRIPTION("stand-in for the tests of ci/vm");
MODULE_LICENSE("GPL");
