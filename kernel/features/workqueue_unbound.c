// SPDX-License-Identifier: GPL-2.0
#include <linux/workqueue.h>

struct workqueue_struct *probe(void);

struct workqueue_struct *probe(void)
{
	return system_unbound_wq;
}
