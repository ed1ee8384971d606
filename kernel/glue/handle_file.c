// SPDX-License-Identifier: GPL-2.0
/* The files that STM_IOC_OPEN gives to programs, and their descriptors. */
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mount.h>

#include "kernel/glue/glue.h"
#include "kernel/interface/services.h"

int stm_linux_file_create(struct stm_handle *handle, struct stm_identity *identity,
			  struct stm_view *view, const char *name, unsigned int access,
			  struct stm_file **result)
{
	static const char prefix[] = "stm:";
	/*
	 * d_path prints "anon_inode:" and this name through a buffer of 64 bytes. It fails if they
	 * do not fit.
	 */
	char path[64 - sizeof(STM_NAME_PREFIX) + 1];
	/* The caller holds the identity, which holds the mount. */
	struct vfsmount *mount = stm_identity_mount(identity);
	struct file *file;
	int flags = O_RDONLY;

	if (access & STM_ACCESS_WRITE)
		flags = access & STM_ACCESS_READ ? O_RDWR : O_WRONLY;
	snprintf(path, sizeof(path), "%s%s", prefix, name);
	ihold(stm_identity_inode(identity));
	file = alloc_file_pseudo(stm_identity_inode(identity), mount, path, flags | O_LARGEFILE,
				 &stm_region_operations);
	if (IS_ERR(file)) {
		iput(stm_identity_inode(identity));
		return PTR_ERR(file);
	}
	/* The file has no reference to the owner of its operations yet, but fput gives one back. */
	__module_get(THIS_MODULE);
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE | FMODE_ATOMIC_POS | STM_FILE_MODE;
	file->private_data = handle;
	file->f_mapping = stm_view_mapping(view);
	*result = (struct stm_file *)file;
	return 0;
}

void stm_linux_file_drop(struct stm_file *file)
{
	fput((struct file *)file);
}

void stm_linux_file_install(int descriptor, struct stm_file *file)
{
	fd_install(descriptor, (struct file *)file);
}

struct stm_handle *stm_linux_descriptor_handle(int descriptor, struct stm_file **result)
{
	struct file *file = fget(descriptor);

	stm_linux_death_point();
	if (!file)
		return NULL;
	if (file->f_op != &stm_region_operations && file->f_op != &stm_device_operations) {
		fput(file);
		return NULL;
	}
	*result = (struct stm_file *)file;
	return file->private_data;
}

static int is_file(const void *wanted, struct file *file, unsigned int descriptor)
{
	return file == wanted;
}

int stm_linux_file_has_descriptor(const struct stm_file *file)
{
	return current->files && iterate_fd(current->files, 0, is_file, file);
}

int stm_linux_descriptor_reserve(int close_on_exec)
{
	return get_unused_fd_flags(close_on_exec ? O_CLOEXEC : 0);
}

void stm_linux_descriptor_release(int descriptor)
{
	put_unused_fd(descriptor);
}
