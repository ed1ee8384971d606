/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The fixed-width types of the two interface headers and of the UAPI: Linux's own in the glue, the same ones by hand
 * in the core, which cannot include a Linux header.
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
/* The encoding of <linux/ioctl.h> for a request without a size: the direction and size fields are 0. */
#ifndef _IO
#define _IO(type, number) (((unsigned int)(type) << 8) | (unsigned int)(number))
#endif
#else
#include <linux/types.h>
#endif

#endif
