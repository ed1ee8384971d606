/* SPDX-License-Identifier: GPL-2.0 */
/* Declarations that the files of the glue share. */
#ifndef STM_GLUE_H
#define STM_GLUE_H

#include <linux/fs.h>

struct stm_handle;
struct stm_settings;
struct stm_identity;
struct stm_region;
struct vfsmount;

/* parameters.c */
struct stm_settings *stm_parameters(void);

/*
 * Messages in the kernel log that show what the device does. Each is a site of dynamic debug: an
 * instruction that does nothing until it is switched on, by its file, line, function or format.
 */
#define stm_trace(format, ...)                                                                     \
	pr_debug("%s[%d] " format, current->comm, task_pid_nr(current), ##__VA_ARGS__)

/* file.c */
extern const struct file_operations stm_device_operations;
extern const struct file_operations stm_region_operations;
/*
 * The mode of every handle's file. Without FMODE_NOWAIT io_uring takes a handle for a pipe: a read
 * would wait until poll says that something has changed.
 */
#define STM_FILE_MODE FMODE_NOWAIT

/* device.c */
int stm_device_register(struct stm_settings *settings);
void stm_device_unregister(void);

/* identity.c */
int stm_identity_init(void);
void stm_identity_exit(void);
struct inode *stm_identity_inode(struct stm_identity *identity);
/* Of its file system. */
struct vfsmount *stm_identity_mount(struct stm_identity *identity);
/* What d_path prints before a region's name, whichever the file system. */
#define STM_NAME_PREFIX "anon_inode:"

/* executable_fs.c */
/* A new inode, or an ERR_PTR. stm_executable_release() follows its last iput(). */
struct inode *stm_executable_inode(void);
void stm_executable_release(void);
bool stm_is_executable_inode(const struct inode *inode);
/* There as long as one of its inodes is. */
struct vfsmount *stm_executable_mount(void);

/* view.c */
struct stm_view;
struct address_space *stm_view_mapping(struct stm_view *view);

/* mapping.c */
int stm_file_mmap(struct file *file, struct vm_area_struct *vma);

#endif
