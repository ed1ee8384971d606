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
 * regions live in a file system of ours (executable_fs.c).
 */
#include <linux/anon_inodes.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs_struct.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/services.h"

/* The mount of the anonymous inodes, held from init to exit. */
static struct vfsmount *anonymous_mount;

/* Whether a file of the anonymous inodes' mount may be mapped PROT_EXEC. */
static bool anonymous_may_be_executed(void)
{
	return !(anonymous_mount->mnt_sb->s_iflags & SB_I_NOEXEC);
}

struct vfsmount *stm_identity_mount(struct stm_identity *identity)
{
	return stm_is_executable_inode(stm_identity_inode(identity)) ? stm_executable_mount()
								     : anonymous_mount;
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
				      ? stm_executable_inode()
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
	bool executable = stm_is_executable_inode(inode);

	iput(inode);
	if (executable)
		stm_executable_release();
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

int stm_linux_identity_change(struct stm_identity *identity, const struct stm_owner *owner)
{
	struct inode *inode = stm_identity_inode(identity);
	const kuid_t uid = make_kuid(current_user_ns(), owner->uid);
	const kgid_t gid = make_kgid(current_user_ns(), owner->gid);

	if (!uid_valid(uid) || !gid_valid(gid))
		return -EINVAL;
	inode_lock(inode);
	inode->i_uid = uid;
	inode->i_gid = gid;
	inode->i_mode = (inode->i_mode & ~0777) | (owner->mode & 0777);
	inode_unlock(inode);
	return 0;
}

void stm_linux_identity_ids(struct stm_identity *identity, struct stm_ids *ids)
{
	const struct inode *inode = stm_identity_inode(identity);

	ids->uid = __kuid_val(inode->i_uid);
	ids->gid = __kgid_val(inode->i_gid);
}
