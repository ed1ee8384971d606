/* SPDX-License-Identifier: GPL-2.0 */
/* Requests to /dev/stm-company, of the process that is meant: see company.c. */
#ifndef STM_TESTS_COMPANY_H
#define STM_TESTS_COMPANY_H

#include <linux/ioctl.h>

/*
 * A kernel thread stores one number after the other at the address of the argument, from the first
 * success on, for which the call waits. A store that would fault is left out.
 */
#define COMPANY_STORE _IO('y', 1)
/* The thread has ended. */
#define COMPANY_STOP _IO('y', 2)
/* Registers a mmu notifier. */
#define COMPANY_WATCH _IO('y', 3)
/* How often that was told of the page at the address of the argument since. */
#define COMPANY_TOLD _IO('y', 4)

#endif
