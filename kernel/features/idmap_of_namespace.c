// SPDX-License-Identifier: GPL-2.0
#include <linux/fs.h>
#include <linux/user_namespace.h>

int probe(struct inode *inode);

int probe(struct inode *inode)
{
	return inode_permission(&init_user_ns, inode, MAY_READ);
}
