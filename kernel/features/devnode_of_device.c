// SPDX-License-Identifier: GPL-2.0
#include <linux/device/class.h>

char *devnode(struct device *device, umode_t *mode);
void probe(struct class *class);

void probe(struct class *class)
{
	class->devnode = devnode;
}
