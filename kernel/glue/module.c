// SPDX-License-Identifier: GPL-2.0
/* Loading and unloading. */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/init.h>
#include <linux/module.h>

#include "kernel/glue/glue.h"
#include "kernel/interface/entry.h"

/*
 * The steps of the same names undo these in the opposite order. Files exist only from the last step
 * on.
 */
static int __init stm_init(void)
{
	struct stm_settings *settings = stm_parameters();
	int error;

	if (!settings)
		return -EINVAL;
	error = stm_identity_init();
	if (error)
		return error;
	error = stm_core_init(settings);
	if (error)
		goto exit_identity;
	error = stm_device_register(settings);
	if (error)
		goto exit_core;
	pr_info("Hello world! %s: driver stm, major %u\n", THIS_MODULE->version,
		settings->device_major);
	return 0;

exit_core:
	stm_core_exit();
exit_identity:
	stm_identity_exit();
	return error;
}

static void __exit stm_exit(void)
{
	stm_device_unregister();
	stm_core_exit();
	stm_identity_exit();
	pr_info("Bye, cruel world\n");
}

module_init(stm_init);
module_exit(stm_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The stm authors");
MODULE_DESCRIPTION("Transactional memory shared between processes");
MODULE_VERSION("0.1.0");
