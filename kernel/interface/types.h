/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixed-width types of the interface headers and of the UAPI. The glue uses Linux's own. The
 * core cannot include a Linux header, so the same types are defined here for it.
 */
#ifndef STM_INTERFACE_TYPES_H
#define STM_INTERFACE_TYPES_H

#ifdef STM_KERNEL_CORE
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
#ifndef __aligned_u64
#define __aligned_u64 __u64 __attribute__((aligned(8)))
#endif
/* As in <linux/ioctl.h>, for a request without a size: the direction and size fields are 0. */
#ifndef _IO
#define _IO(type, number) (((unsigned int)(type) << 8) | (unsigned int)(number))
#endif
#else
#include <linux/types.h>
#endif

#endif
