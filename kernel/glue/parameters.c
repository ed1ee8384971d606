// SPDX-License-Identifier: GPL-2.0
/* The module's parameters: /sys/module/stm/parameters/, modinfo. Ranges are checked by the core at
 * load. */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "kernel/glue/glue.h"
#include "kernel/interface/entry.h"

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
};

bool stm_debug;

module_param_named(major, settings.device_major, uint, 0444);
MODULE_PARM_DESC(major, "Major number of the device nodes; 0 (default) takes a free one");
module_param_named(max_regions, settings.max_regions, uint, 0444);
MODULE_PARM_DESC(max_regions, "Largest number of regions, 1 to 65536 (default 4096)");
module_param_named(max_user_regions, settings.max_user_regions, uint, 0644);
MODULE_PARM_DESC(max_user_regions, "Largest number of regions of one user (default 1024)");
module_param_named(default_size, settings.default_size, ulong, 0644);
MODULE_PARM_DESC(default_size, "Bytes of a region that nobody gave a size (default 65536)");
module_param_named(max_region_bytes, settings.max_region_bytes, ulong, 0644);
MODULE_PARM_DESC(max_region_bytes, "Largest size of one region in bytes (default: max_bytes)");
module_param_named(max_bytes, settings.max_bytes, ulong, 0644);
MODULE_PARM_DESC(max_bytes, "Largest sum of all sizes in bytes (default: half of the memory)");
module_param_named(max_user_bytes, settings.max_user_bytes, ulong, 0644);
MODULE_PARM_DESC(max_user_bytes, "Largest sum of the sizes of one user's regions in bytes "
				 "(default: a quarter of the memory)");
module_param_named(default_mode, settings.default_mode, uint, 0444);
MODULE_PARM_DESC(default_mode, "Permission bits of the region `default` (default 0666)");
module_param_named(max_stripes, settings.max_stripes, uint, 0644);
MODULE_PARM_DESC(max_stripes,
		 "Most stripes of 64 bytes that one transaction may touch (default 1048576)");
module_param_named(max_contexts, settings.max_contexts, uint, 0644);
MODULE_PARM_DESC(max_contexts,
		 "Most threads that may use one open file for transactions (default 4096)");
module_param_named(serial_after, settings.serial_after, uint, 0644);
MODULE_PARM_DESC(serial_after,
		 "Conflicts in a row after which a transaction runs alone (default 16)");
module_param_named(serial_lease_ms, settings.serial_lease_ms, uint, 0644);
MODULE_PARM_DESC(serial_lease_ms,
		 "How long others let a transaction run alone at first, in ms; twice as long each "
		 "time that it did not suffice (default 1000; 0: for ever)");
module_param_named(serial_lease_max_ms, settings.serial_lease_max_ms, uint, 0644);
MODULE_PARM_DESC(serial_lease_max_ms,
		 "How long others let a transaction run alone at most, in ms: longer ones may "
		 "starve (default 60000; less than serial_lease_ms: as long as that)");
module_param_named(watchdog_ms, settings.watchdog_ms, uint, 0644);
MODULE_PARM_DESC(
	watchdog_ms,
	"How often a running transaction is checked for doom, in ms (default 10; 0: never)");
module_param_named(predicted_pages, settings.predicted_pages, uint, 0644);
MODULE_PARM_DESC(predicted_pages,
		 "Pages that are mapped at the start of a transaction because the one before it "
		 "touched them, at most 256 (default 64; 0: none)");
module_param_named(debug, stm_debug, bool, 0644);
MODULE_PARM_DESC(debug, "Tell every open, close, read, write, mmap and fault in the kernel log");

/* Region pages can not be swapped, so what nobody set depends on how much memory there is. */
static void set_defaults(void)
{
	const unsigned long memory = totalram_pages() << PAGE_SHIFT;

	if (!settings.max_bytes)
		settings.max_bytes = memory / 2;
	if (!settings.max_user_bytes)
		settings.max_user_bytes = memory / 4;
	if (!settings.max_region_bytes)
		settings.max_region_bytes = settings.max_bytes;
}

struct stm_settings *stm_parameters(void)
{
	set_defaults();
	return &settings;
}
