/* SPDX-License-Identifier: GPL-2.0 */
/* The module's parameters, as the core reads them, and what each of them may be. */
#ifndef STM_INTERFACE_SETTINGS_H
#define STM_INTERFACE_SETTINGS_H

#include "kernel/interface/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Those marked * may change at any time and are read when they are needed. */
struct stm_settings {
	unsigned int device_major;
	unsigned int max_regions;	 /* number of device minors, 1 to STM_MAX_REGIONS */
	unsigned int max_user_regions;	 /* * */
	unsigned long default_size;	 /* * bytes */
	unsigned long max_region_bytes;	 /* * */
	unsigned long max_bytes;	 /* * */
	unsigned long max_user_bytes;	 /* * */
	unsigned int default_mode;	 /* permission bits of the region `default` */
	unsigned int max_stripes;	 /* * stripes that one transaction may touch */
	unsigned int max_contexts;	 /* * threads that may have used one handle for transactions */
	unsigned int serial_after;	 /* * conflicts in a row */
	unsigned int serial_lease_ms;	 /* * how long others wait for a serial transaction at first */
	unsigned int serial_lease_max_ms; /* * and at most, when it did not suffice several times */
	unsigned int watchdog_ms;	 /* * how often a long transaction is looked at; 0: never */
	unsigned int predicted_pages;	 /* * mapped at most at the begin of a transaction */
};
#define STM_MAX_REGIONS 65536
#define STM_PAGE_BYTES 4096

/* What a setting may be. */
struct stm_setting_range {
	__u64 least;
	__u64 most;
};
/*
 * The range of the setting at byte @offset of struct stm_settings. Some depend on the other settings, which are @settings;
 * without them (NULL) the range is what it can be at most. Any context, also before stm_core_init().
 */
struct stm_setting_range stm_core_setting_range(const struct stm_settings *settings, unsigned long offset);

#ifdef __cplusplus
}
#endif

#endif
