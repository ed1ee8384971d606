/* SPDX-License-Identifier: GPL-2.0 */
/* The module's parameters as the core reads them, and the range of each. */
#ifndef STM_INTERFACE_SETTINGS_H
#define STM_INTERFACE_SETTINGS_H

#include "kernel/interface/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parameters marked * may change at any time. The core reads them when it needs them. */
struct stm_settings {
	unsigned int device_major;
	unsigned int max_regions;	  /* number of device minors, 1 to STM_MAX_REGIONS */
	unsigned int max_user_regions;	  /* * */
	unsigned long default_size;	  /* * bytes */
	unsigned long max_region_bytes;	  /* * */
	unsigned long max_bytes;	  /* * */
	unsigned long max_user_bytes;	  /* * */
	unsigned int default_mode;	  /* permission bits of the region `default` */
	unsigned int max_stripes;	  /* * stripes that one transaction may touch */
	unsigned int max_contexts;	  /* * threads that may have used one handle */
	unsigned int serial_after;	  /* * conflicts in a row */
	unsigned int serial_lease_ms;	  /* * first wait for a serial transaction */
	unsigned int serial_lease_max_ms; /* * longest one, after several that did not suffice */
	unsigned int watchdog_ms;	  /* * period of checks of transactions; 0: never */
	unsigned int predicted_pages;	  /* * most pages mapped at a start */
	unsigned int warm_pages;	  /* * most pages that a thread keeps in warm mappings */
	unsigned long max_old_bytes;	  /* * of old versions, for long readers of one region */
	unsigned long max_user_old_bytes; /* * the same for all regions of one user */
};
#define STM_MAX_REGIONS 65536
#define STM_PAGE_BYTES 4096

/* The values that a setting may have. */
struct stm_setting_range {
	__u64 least;
	__u64 most;
};
/*
 * The range of the setting at byte @offset of struct stm_settings. Some ranges depend on the other
 * settings in @settings. Without these (NULL) the result is the largest possible range. Any
 * context, also before stm_core_init().
 */
struct stm_setting_range stm_core_setting_range(const struct stm_settings *settings,
						unsigned long offset);

#ifdef __cplusplus
}
#endif

#endif
