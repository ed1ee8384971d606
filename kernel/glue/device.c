// SPDX-License-Identifier: GPL-2.0
/* The character driver "stm": one minor for each region, and /dev/stm for minor 0. */
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include <linux/module.h>
#include <linux/sysfs.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/counters.h"
#include "kernel/interface/settings.h"

static struct cdev stm_cdev;
static struct class *stm_class;
static dev_t first_device;
static unsigned int device_count;

/*
 * Every user may open the node, as every user may call shmget. A region's own owner and mode decide
 * what a user may do with it, and the per-user limits decide how much a user may create.
 */
static char *stm_devnode(STM_DEVNODE_DEVICE *device, umode_t *mode)
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static ssize_t show_counter(struct device *device, struct device_attribute *attribute, char *text)
{
	const struct dev_ext_attribute *counter =
		container_of(attribute, struct dev_ext_attribute, attr);
	struct stm_counters counters;

	stm_core_counters(&counters);
	return sysfs_emit(text, "%llu\n",
			  *(const u64 *)((const char *)&counters + (unsigned long)counter->var));
}

#define STM_COUNTER(name)                                                                          \
	static struct dev_ext_attribute counter_##name = {                                         \
		__ATTR(name, 0444, show_counter, NULL),                                            \
		(void *)offsetof(struct stm_counters, name)}
STM_COUNTER(regions);
STM_COUNTER(bytes);
STM_COUNTER(resident_bytes);
STM_COUNTER(handles);
STM_COUNTER(starts);
STM_COUNTER(commits);
STM_COUNTER(read_only_commits);
STM_COUNTER(calls);
STM_COUNTER(conflicts);
STM_COUNTER(other_aborts);
STM_COUNTER(serial);
STM_COUNTER(waits);
STM_COUNTER(faults);
STM_COUNTER(reads);
STM_COUNTER(writes);

static struct attribute *counter_attributes[] = {
	&counter_regions.attr.attr,
	&counter_bytes.attr.attr,
	&counter_resident_bytes.attr.attr,
	&counter_handles.attr.attr,
	&counter_starts.attr.attr,
	&counter_commits.attr.attr,
	&counter_read_only_commits.attr.attr,
	&counter_calls.attr.attr,
	&counter_conflicts.attr.attr,
	&counter_other_aborts.attr.attr,
	&counter_serial.attr.attr,
	&counter_waits.attr.attr,
	&counter_faults.attr.attr,
	&counter_reads.attr.attr,
	&counter_writes.attr.attr,
	NULL,
};

/* /sys/class/stm/stm/counters/ */
static const struct attribute_group counter_group = {
	.name = "counters",
	.attrs = counter_attributes,
};

static const struct attribute_group *device_groups[] = {&counter_group, NULL};

int stm_device_register(struct stm_settings *settings)
{
	struct device *device;
	int error;

	device_count = settings->max_regions;
	if (settings->device_major) {
		first_device = MKDEV(settings->device_major, 0);
		error = register_chrdev_region(first_device, device_count, "stm");
	} else {
		error = alloc_chrdev_region(&first_device, 0, device_count, "stm");
	}
	if (error)
		return error;
	settings->device_major = MAJOR(first_device);

	cdev_init(&stm_cdev, &stm_device_operations);
	stm_cdev.owner = THIS_MODULE;
	error = cdev_add(&stm_cdev, first_device, device_count);
	if (error)
		goto unregister_region;

	stm_class = stm_class_create("stm");
	if (IS_ERR(stm_class)) {
		error = PTR_ERR(stm_class);
		goto delete_cdev;
	}
	stm_class->devnode = stm_devnode;
	device = device_create_with_groups(stm_class, NULL, first_device, NULL, device_groups,
					   "stm");
	if (IS_ERR(device)) {
		error = PTR_ERR(device);
		goto destroy_class;
	}
	return 0;

destroy_class:
	class_destroy(stm_class);
delete_cdev:
	cdev_del(&stm_cdev);
unregister_region:
	unregister_chrdev_region(first_device, device_count);
	return error;
}

void stm_device_unregister(void)
{
	device_destroy(stm_class, first_device);
	class_destroy(stm_class);
	cdev_del(&stm_cdev);
	unregister_chrdev_region(first_device, device_count);
}
