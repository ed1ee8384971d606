// SPDX-License-Identifier: GPL-2.0
/* The module's parameters: /sys/module/stm/parameters/, modinfo. The core knows their ranges. */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "kernel/glue/glue.h"
#include "kernel/interface/settings.h"

static struct stm_settings settings = {
	.device_major = 0,
	.max_regions = 4096,
	.max_user_regions = 1024,
	.default_size = 64UL << 10,
	.default_mode = 0666,
	.max_stripes = 1U << 20,
	.max_contexts = 4096,
	.serial_after = 16,
	.serial_lease_ms = 1000,
	.serial_lease_max_ms = 60000,
	.watchdog_ms = 10,
	.predicted_pages = 64,
	.warm_pages = 128,
	.max_old_bytes = 16UL << 20,
	.max_user_old_bytes = 64UL << 20,
};

/* Set when the module is loaded. From then on every parameter has a value. */
static bool loaded;

/* A parameter's place in the settings; it has four or eight bytes there. */
struct stm_parameter {
	unsigned long offset;
	unsigned long bytes;
	unsigned int base; /* for reading and showing; 0: shown as decimal, read as in C */
};

static u64 value_of(const struct stm_parameter *parameter)
{
	const void *place = (const char *)&settings + parameter->offset;

	return parameter->bytes == sizeof(u64) ? READ_ONCE(*(const u64 *)place)
					       : READ_ONCE(*(const u32 *)place);
}

static void store(const struct stm_parameter *parameter, u64 value)
{
	void *place = (char *)&settings + parameter->offset;

	if (parameter->bytes == sizeof(u64))
		WRITE_ONCE(*(u64 *)place, value);
	else
		WRITE_ONCE(*(u32 *)place, value);
}

/* Whether 0 stands for a default that depends on the machine. */
static bool has_default(const struct stm_parameter *parameter)
{
	return parameter->offset == offsetof(struct stm_settings, max_bytes) ||
	       parameter->offset == offsetof(struct stm_settings, max_user_bytes) ||
	       parameter->offset == offsetof(struct stm_settings, max_region_bytes);
}

/* Region pages cannot be swapped, so the default depends on the size of the memory. */
static u64 default_of(const struct stm_parameter *parameter)
{
	const u64 memory = (u64)totalram_pages() << PAGE_SHIFT;

	switch (parameter->offset) {
	case offsetof(struct stm_settings, max_bytes):
		return memory / 2;
	case offsetof(struct stm_settings, max_user_bytes):
		return memory / 4;
	default:
		return READ_ONCE(settings.max_bytes);
	}
}

static struct stm_setting_range range_of(const struct stm_parameter *parameter)
{
	/* While they are set one after the other, the values of the others are not known yet. */
	return stm_core_setting_range(loaded ? &settings : NULL, parameter->offset);
}

static void complain(const char *name, const char *text, const struct stm_parameter *parameter)
{
	const struct stm_setting_range range = range_of(parameter);
	const int length = min_t(size_t, strcspn(text, "\n"), 40);

	if (parameter->base == 8)
		pr_err("%s=%.*s: must be an octal number from %#llo to %#llo\n", name, length, text,
		       range.least, range.most);
	else
		pr_err("%s=%.*s: must be a number from %llu to %llu%s\n", name, length, text,
		       range.least, range.most,
		       has_default(parameter) ? ", or 0 for the default" : "");
}

/* Called at load, and at a write to the parameter's file; never twice at a time. */
static int set_parameter(const char *text, const struct kernel_param *file)
{
	const struct stm_parameter *parameter = file->arg;
	const struct stm_setting_range range = range_of(parameter);
	bool is_default;
	u64 value;

	if (kstrtou64(text, parameter->base, &value))
		goto refused;
	is_default = !value && has_default(parameter);
	/*
	 * At load max_bytes may come after the parameters that depend on it: see stm_parameters().
	 */
	if (is_default && loaded)
		value = default_of(parameter);
	if (!is_default && (value < range.least || value > range.most))
		goto refused;
	store(parameter, value);
	return 0;

refused:
	complain(file->name, text, parameter);
	return -EINVAL;
}

static int show_parameter(char *text, const struct kernel_param *file)
{
	const struct stm_parameter *parameter = file->arg;

	return sysfs_emit(text, parameter->base == 8 ? "%#llo\n" : "%llu\n", value_of(parameter));
}

static const struct kernel_param_ops parameter_operations = {
	.set = set_parameter,
	.get = show_parameter,
};

#define STM_PARAMETER(name, field, type, base, permissions)                                        \
	static struct stm_parameter parameter_##name = {offsetof(struct stm_settings, field),      \
							sizeof(settings.field), base};             \
	module_param_cb(name, &parameter_operations, &parameter_##name, permissions);              \
	__MODULE_PARM_TYPE(name, type)

STM_PARAMETER(major, device_major, "uint", 0, 0444);
MODULE_PARM_DESC(major, "Major number of the device nodes, to 4095; 0 (default) takes a free one");
STM_PARAMETER(max_regions, max_regions, "uint", 0, 0444);
MODULE_PARM_DESC(max_regions, "Largest number of regions, 1 to 65536 (default 4096)");
STM_PARAMETER(max_user_regions, max_user_regions, "uint", 0, 0644);
MODULE_PARM_DESC(max_user_regions, "Largest number of regions of one user (default 1024)");
STM_PARAMETER(default_size, default_size, "ulong", 0, 0644);
MODULE_PARM_DESC(
	default_size,
	"Bytes of a region that was given no size, at most max_region_bytes (default 65536)");
STM_PARAMETER(max_region_bytes, max_region_bytes, "ulong", 0, 0644);
MODULE_PARM_DESC(max_region_bytes, "Largest size of one region in bytes (default: max_bytes)");
STM_PARAMETER(max_bytes, max_bytes, "ulong", 0, 0644);
MODULE_PARM_DESC(max_bytes, "Largest sum of all sizes in bytes (default: half of the memory)");
STM_PARAMETER(max_user_bytes, max_user_bytes, "ulong", 0, 0644);
MODULE_PARM_DESC(max_user_bytes, "Largest sum of the sizes of one user's regions in bytes "
				 "(default: a quarter of the memory)");
STM_PARAMETER(default_mode, default_mode, "uint", 8, 0444);
MODULE_PARM_DESC(default_mode,
		 "Permission bits of the region `default`, an octal number (default 0666)");
STM_PARAMETER(max_stripes, max_stripes, "uint", 0, 0644);
MODULE_PARM_DESC(max_stripes, "Most stripes of 64 bytes that one transaction may touch, 1 to "
			      "268435456 (default 1048576)");
STM_PARAMETER(max_contexts, max_contexts, "uint", 0, 0644);
MODULE_PARM_DESC(max_contexts,
		 "Most threads that may use one open file for transactions (default 4096)");
STM_PARAMETER(serial_after, serial_after, "uint", 0, 0644);
MODULE_PARM_DESC(serial_after,
		 "Conflicts in a row after which a transaction runs alone (default 16)");
STM_PARAMETER(serial_lease_ms, serial_lease_ms, "uint", 0, 0644);
MODULE_PARM_DESC(serial_lease_ms,
		 "How long others let a transaction run alone at first, in ms; doubled each time "
		 "that it did not suffice (default 1000; 0: forever)");
STM_PARAMETER(serial_lease_max_ms, serial_lease_max_ms, "uint", 0, 0644);
MODULE_PARM_DESC(serial_lease_max_ms,
		 "How long others let a transaction run alone at most, in ms; longer ones may "
		 "starve (default 60000; less than serial_lease_ms: as long as that)");
STM_PARAMETER(watchdog_ms, watchdog_ms, "uint", 0, 0644);
MODULE_PARM_DESC(
	watchdog_ms,
	"How often a running transaction is checked for doom, in ms (default 10; 0: never)");
STM_PARAMETER(predicted_pages, predicted_pages, "uint", 0, 0644);
MODULE_PARM_DESC(predicted_pages,
		 "Pages that are mapped at the start of a transaction because the one before it "
		 "touched them, at most 256 (default 64; 0: none)");
STM_PARAMETER(warm_pages, warm_pages, "uint", 0, 0644);
MODULE_PARM_DESC(warm_pages,
		 "Pages that a thread keeps in each warm mapping between two transactions, at most "
		 "128 (default 128; 0: none, so that no mapping is warm)");

STM_PARAMETER(max_old_bytes, max_old_bytes, "ulong", 0, 0644);
MODULE_PARM_DESC(max_old_bytes,
		 "Bytes of old versions that commits keep for long readers of one region (default "
		 "16777216; 0: none, so that a long reader can conflict)");
STM_PARAMETER(max_user_old_bytes, max_user_old_bytes, "ulong", 0, 0644);
MODULE_PARM_DESC(max_user_old_bytes,
		 "The same for all regions of one user together (default 67108864)");

/* Called once, when all parameters given at load are set. NULL: they do not fit together. */
struct stm_settings *stm_parameters(void)
{
	const struct stm_parameter *const sizes[] = {
		&parameter_max_bytes, &parameter_max_user_bytes, &parameter_max_region_bytes};
	struct stm_setting_range range;
	char text[24];
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (!value_of(sizes[i]))
			store(sizes[i], default_of(sizes[i]));
	}
	loaded = true;
	range = range_of(&parameter_default_size);
	if (settings.default_size >= range.least && settings.default_size <= range.most)
		return &settings;
	snprintf(text, sizeof(text), "%lu", settings.default_size);
	complain("default_size", text, &parameter_default_size);
	return NULL;
}
