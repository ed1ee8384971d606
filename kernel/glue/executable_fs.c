// SPDX-License-Identifier: GPL-2.0
/*
 * The file system of executable regions, for kernels on which no file of the anonymous inodes may
 * be mapped PROT_EXEC. It is mounted as long as there is one of its inodes, or a process that holds
 * one. Its super block holds a reference to this module.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/pseudo_fs.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"

/* As Linux prints the name of an anonymous inode; it exports no function for that. */
static char *print_name(struct dentry *dentry, char *buffer, int size)
{
	char text[sizeof(STM_NAME_PREFIX) + NAME_MAX];
	int length;

	spin_lock(&dentry->d_lock);
	length = scnprintf(text, sizeof(text), STM_NAME_PREFIX "%s", dentry->d_name.name) + 1;
	spin_unlock(&dentry->d_lock);
	if (length > size)
		return ERR_PTR(-ENAMETOOLONG);
	return memcpy(buffer + size - length, text, length);
}

static int init_executable_context(struct fs_context *context)
{
	static const struct dentry_operations operations = {.d_dname = print_name};
	/* "stm" and a number of its own, for statfs. */
	struct pseudo_fs_context *pseudo = init_pseudo(context, 0x73746d01);

	if (!pseudo)
		return -ENOMEM;
	pseudo->dops = &operations;
	/* Since 7.x this is what a pseudo file system begins with. */
	context->s_iflags &= ~SB_I_NOEXEC;
	return 0;
}

static struct file_system_type executable_type = {
	.owner = THIS_MODULE,
	.name = "stm_executable",
	.init_fs_context = init_executable_context,
	.kill_sb = kill_anon_super,
};

/* Counted: there while the count is not 0. Linux's own lock guards both. */
static struct vfsmount *executable_mount;
static int executable_regions;

bool stm_is_executable_inode(const struct inode *inode)
{
	return inode->i_sb->s_type == &executable_type;
}

struct inode *stm_executable_inode(void)
{
	struct inode *inode;
	int error = simple_pin_fs(&executable_type, &executable_mount, &executable_regions);

	if (error)
		return ERR_PTR(error);
	inode = alloc_anon_inode(executable_mount->mnt_sb);
	if (IS_ERR(inode))
		simple_release_fs(&executable_mount, &executable_regions);
	else
		stm_inode_not_anonymous(inode);
	return inode;
}

void stm_executable_release(void)
{
	simple_release_fs(&executable_mount, &executable_regions);
}

struct vfsmount *stm_executable_mount(void)
{
	return executable_mount;
}
