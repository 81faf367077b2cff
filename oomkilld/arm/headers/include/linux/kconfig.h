/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bcc includes this before everything else. It replaces the kernel's own headers, none of which are needed: it has
 * the types and the macros that bcc's headers use.
 */
#ifndef OOMKILLD_KCONFIG_H
#define OOMKILLD_KCONFIG_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u8 u8;
typedef __s8 s8;
typedef __u16 u16;
typedef __s16 s16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;
typedef __s64 s64;
typedef __u16 __le16, __be16, __sum16;
typedef __u32 __le32, __be32, __wsum;
typedef __u64 __le64, __be64;
#define __aligned_u64 __u64 __attribute__((aligned(8)))

typedef unsigned long size_t;
typedef unsigned long uintptr_t;
typedef int pid_t;
typedef _Bool bool;

#define NULL ((void *)0)
#define TASK_COMM_LEN 16
#define __always_inline inline __attribute__((always_inline))
#define CONFIG_BPF_SYSCALL 1
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))

/* PAGE_SIZE, LINUX_VERSION_CODE and struct pt_regs of this machine. */
#include <oomkilld/machine.h>

#endif
