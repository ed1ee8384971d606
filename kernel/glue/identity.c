// SPDX-License-Identifier: GPL-2.0
/*
 * A region's identity is an anonymous inode. It gives the region's pages the identity that futexes
 * need. Its owner and mode are the region's, so fstat, fchmod and fchown on a handle are the file
 * system's own code. Pages refer to its i_mapping, but no virtual mapping belongs to that: each
 * handle has a view for its mappings (view.c).
 *
 * The inode lives in the kernel's file system of anonymous inodes, and has no operation of ours. A
 * process may hold it by an O_PATH descriptor, or walk through a file's dentry, mount and super
 * block after the last release, without a reference to this module, perhaps when the module is
 * gone. So a handle cannot be opened again through /proc/PID/fd (ENXIO). The inode is no regular
 * file, because truncate would accept that.
 *
 * On Linux 7 no file of that file system may be mapped PROT_EXEC. There the inodes of executable
 * regions live in a file system of ours. It is mounted as long as there is one of them, or a
 * process that holds one. Its super block holds a reference to this module.
 */
#include <linux/anon_inodes.h>
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs_struct.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/rcupdate.h>
#include <linux/sched/task.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/services.h"

/* The mount of the anonymous inodes, held from init to exit. */
static struct vfsmount *anonymous_mount;

/* What d_path prints before a region's name, whichever the file system. */
#define PREFIX "anon_inode:"

/* As Linux prints the name of an anonymous inode; it exports no function for that. */
static char *print_name(struct dentry *dentry, char *buffer, int size)
{
	char text[sizeof(PREFIX) + NAME_MAX];
	int length;

	spin_lock(&dentry->d_lock);
	length = scnprintf(text, sizeof(text), PREFIX "%s", dentry->d_name.name) + 1;
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

/* Whether a file of the anonymous inodes' mount may be mapped PROT_EXEC. */
static bool anonymous_may_be_executed(void)
{
	return !(anonymous_mount->mnt_sb->s_iflags & SB_I_NOEXEC);
}

static bool is_executable_one(const struct inode *inode)
{
	return inode->i_sb->s_type == &executable_type;
}

static struct inode *new_executable_inode(void)
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

struct inode *stm_identity_inode(struct stm_identity *identity)
{
	return (struct inode *)identity;
}

/* Linux has no function that returns the mount, but every anonymous file has it. */
int stm_identity_init(void)
{
	static const struct file_operations nothing = {.owner = THIS_MODULE};
	struct file *file = anon_inode_getfile("stm", &nothing, NULL, O_RDONLY);

	if (IS_ERR(file))
		return PTR_ERR(file);
	anonymous_mount = mntget(file->f_path.mnt);
	/*
	 * The file is released later, when a module that failed to load is gone already. So nothing
	 * of ours may be in it.
	 */
	replace_fops(file, file_inode(file)->i_fop);
	fput(file);
	return 0;
}

void stm_identity_exit(void)
{
	mntput(anonymous_mount);
}

int stm_linux_identity_create(const struct stm_birth *birth, int executable,
			      struct stm_identity **identity)
{
	struct inode *inode = executable && !anonymous_may_be_executed()
				      ? new_executable_inode()
				      : alloc_anon_inode(anonymous_mount->mnt_sb);
	const struct inode *node = (const struct inode *)birth->node;

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	if (node) {
		inode->i_uid = node->i_uid;
		inode->i_gid = node->i_gid;
		inode->i_mode = node->i_mode & 0777;
	} else {
		inode->i_mode = birth->mode & 0777;
		if (birth->apply_umask)
			inode->i_mode &= ~current_umask();
	}
	/* It has no name in any directory. */
	clear_nlink(inode);
	/*
	 * The pages belong to the module: they are never on the LRU, never written back, never
	 * migrated.
	 */
	mapping_set_unevictable(inode->i_mapping);
	*identity = (struct stm_identity *)inode;
	return 0;
}

void stm_linux_identity_put(struct stm_identity *identity)
{
	struct inode *inode = stm_identity_inode(identity);
	bool executable = is_executable_one(inode);

	iput(inode);
	if (executable)
		simple_release_fs(&executable_mount, &executable_regions);
}

void stm_linux_identity_set_size(struct stm_identity *identity, __u64 bytes)
{
	i_size_write(stm_identity_inode(identity), bytes);
}

void stm_linux_identity_owner(struct stm_identity *identity, struct stm_owner *owner)
{
	struct inode *inode = stm_identity_inode(identity);

	owner->uid = from_kuid_munged(current_user_ns(), inode->i_uid);
	owner->gid = from_kgid_munged(current_user_ns(), inode->i_gid);
	owner->mode = inode->i_mode & 0777;
}

int stm_linux_identity_permission(struct stm_identity *identity, unsigned int access)
{
	int mask = 0;

	if (access & STM_ACCESS_READ)
		mask |= MAY_READ;
	if (access & STM_ACCESS_WRITE)
		mask |= MAY_WRITE;
	return inode_permission(stm_no_idmap, stm_identity_inode(identity), mask);
}

int stm_linux_identity_owned_by_caller(struct stm_identity *identity)
{
	return inode_owner_or_capable(stm_no_idmap, stm_identity_inode(identity));
}

int stm_linux_file_create(struct stm_handle *handle, struct stm_identity *identity,
			  struct stm_view *view, const char *name, unsigned int access,
			  struct stm_file **result)
{
	static const char prefix[] = "stm:";
	/*
	 * d_path prints "anon_inode:" and this name through a buffer of 64 bytes. It fails if they
	 * do not fit.
	 */
	char path[64 - sizeof(PREFIX) + 1];
	/* The caller holds the identity, which holds the mount. */
	struct vfsmount *mount = is_executable_one(stm_identity_inode(identity)) ? executable_mount
										 : anonymous_mount;
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
