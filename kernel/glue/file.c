// SPDX-License-Identifier: GPL-2.0
/* File operations of handles: device nodes, and the files that STM_IOC_OPEN makes. */
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/fs.h>
#include <linux/compat.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/uio.h>

#include <stm/ioctl.h>

#include "kernel/glue/compat.h"
#include "kernel/glue/glue.h"
#include "kernel/interface/entry.h"

static unsigned int access_of(const struct file *file)
{
	return (file->f_mode & FMODE_READ ? STM_ACCESS_READ : 0) |
	       (file->f_mode & FMODE_WRITE ? STM_ACCESS_WRITE : 0);
}

static int stm_open_device(struct inode *inode, struct file *file)
{
	struct stm_handle *handle;
	int error = stm_core_open_minor(iminor(inode), access_of(file),
					(const struct stm_node *)inode, &handle);

	stm_trace("open minor %u: %d\n", iminor(inode), error);
	if (error)
		return error;
	file->private_data = handle;
	file->f_mode |= STM_FILE_MODE;
	/*
	 * A device node has an address space of its own, but the mappings of a handle belong to its
	 * view.
	 */
	file->f_mapping = stm_view_mapping(stm_core_view(handle));
	return 0;
}

/*
 * Called on each close(2) and when a process ends, even while others still have the file. When fork
 * fails, the parent closes the descriptors of the child that never ran; the parent's transaction
 * goes on.
 */
static int stm_flush(struct file *file, fl_owner_t owner)
{
	if (!current->files || owner == current->files)
		stm_core_flush(file->private_data, (const struct stm_file *)file);
	return 0;
}

static __poll_t stm_poll(struct file *file, struct poll_table_struct *table)
{
	struct stm_handle *handle = file->private_data;

	poll_wait(file, (struct wait_queue_head *)stm_core_poll_queue(handle), table);
	return EPOLLOUT | EPOLLWRNORM | (stm_core_poll_ready(handle) ? EPOLLIN | EPOLLRDNORM : 0);
}

static int stm_release(struct inode *inode, struct file *file)
{
	stm_trace("release\n");
	stm_core_release(file->private_data);
	return 0;
}

/*
 * Any thread may execute a request of io_uring or Linux AIO, at any time. So the request is no part
 * of a transaction, and a thread that has a transaction on the handle cannot execute it. It may
 * sleep where it is submitted, even if it is asked not to (io_uring always asks): it could not be
 * told what to wait for. RWF_NOWAIT in a call of the program's own is refused.
 */
static int stm_check_call(const struct kiocb *call)
{
	if (is_sync_kiocb((struct kiocb *)call))
		return call->ki_flags & IOCB_NOWAIT ? -EOPNOTSUPP : 0;
	return stm_core_in_transaction(call->ki_filp->private_data) ? -EBUSY : 0;
}

/*
 * A transaction that is repeated begins at the file position where it began before. read and write
 * use the file's own position; pread and pwrite do not. If theirs is the same by chance, noting it
 * does no harm.
 */
static void stm_note_position(const struct kiocb *call)
{
	struct file *file = call->ki_filp;

	/* pread does not hold the lock of the position, so another thread may be moving it. */
	if (is_sync_kiocb((struct kiocb *)call) && call->ki_pos == data_race(file->f_pos))
		stm_core_note_position(file->private_data, call->ki_pos);
}

static ssize_t stm_read_iter(struct kiocb *call, struct iov_iter *to)
{
	ssize_t result = stm_check_call(call);

	stm_note_position(call);
	if (!result)
		result = stm_core_read(call->ki_filp->private_data, (struct stm_user_buffer *)to,
				       call->ki_pos);
	stm_trace("read at %lld: %zd\n", call->ki_pos, result);
	if (result > 0)
		call->ki_pos += result;
	return result;
}

/*
 * A write that appends (O_APPEND at open or later, or RWF_APPEND) begins at the end that lseek
 * knows, and finds no room there: ENOSPC. To ignore the flag, as most devices do, would overwrite
 * the beginning.
 */
static ssize_t stm_write_iter(struct kiocb *call, struct iov_iter *from)
{
	ssize_t result = stm_check_call(call);

	stm_note_position(call);
	if (!result && (call->ki_flags & IOCB_APPEND)) {
		long long size = stm_core_size(call->ki_filp->private_data);

		if (size < 0)
			result = size;
		else
			call->ki_pos = size;
	}
	if (!result)
		result = stm_core_write(call->ki_filp->private_data, (struct stm_user_buffer *)from,
					call->ki_pos);
	stm_trace("write at %lld: %zd\n", call->ki_pos, result);
	if (result > 0)
		call->ki_pos += result;
	return result;
}

static loff_t stm_llseek(struct file *file, loff_t offset, int whence)
{
	long long size = stm_core_size(file->private_data);

	if (size < 0)
		return size;
	stm_core_note_position(file->private_data, file->f_pos);
	if (whence == SEEK_DATA || whence == SEEK_HOLE) {
		offset = stm_core_seek(file->private_data, offset, whence == SEEK_HOLE);
		if (offset < 0)
			return offset;
		whence = SEEK_SET;
	}
	return fixed_size_llseek(file, offset, whence, size);
}

/*
 * If another thread has the lock it reads or writes at this moment, perhaps waiting for our other
 * transactions, and sets the position itself.
 */
static noinline void stm_put_position_back(struct file *file)
{
	long long position;

	if (stm_core_take_position(file->private_data, &position) &&
	    mutex_trylock(&file->f_pos_lock)) {
		file->f_pos = position;
		mutex_unlock(&file->f_pos_lock);
	}
}

static long stm_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	long result = stm_core_control(file->private_data, request, argument);

	if (stm_core_knows_positions(file->private_data))
		stm_put_position_back(file);
	stm_trace("ioctl %#x: %ld\n", request, result);
	return result;
}

/* 32-bit callers have the same structures, and an argument that is no address fits into 32 bits. */
static long stm_compat_ioctl(struct file *file, unsigned int request, unsigned long argument)
{
	return stm_ioctl(file, request, (unsigned long)compat_ptr(argument));
}

static void stm_show_fdinfo(struct seq_file *output, struct file *file)
{
	/* On the stack, because a failed allocation could not be reported. */
	struct stm_info info;

	memset(&info, 0, sizeof(info));
	stm_core_describe(file->private_data, &info);
	seq_puts(output, "stm-region:\t");
	seq_escape(output, info.name, "\n\t\\");
	seq_printf(output, "\nstm-id:\t%llu\nstm-size:\t%llu\nstm-flags:\t%#x\n", info.id,
		   info.region_size, info.region_flags);
}

#define STM_FILE_OPERATIONS                                                                        \
	.owner = THIS_MODULE, .release = stm_release, .read_iter = stm_read_iter,                  \
	.write_iter = stm_write_iter, .llseek = stm_llseek, .unlocked_ioctl = stm_ioctl,           \
	.compat_ioctl = stm_compat_ioctl, .flush = stm_flush, .poll = stm_poll,                    \
	.mmap = stm_file_mmap, .show_fdinfo = stm_show_fdinfo, .splice_read = stm_splice_read,     \
	.fsync = noop_fsync, .splice_write = iter_file_splice_write

const struct file_operations stm_device_operations = {
	STM_FILE_OPERATIONS,
	.open = stm_open_device,
};

/* The files that STM_IOC_OPEN makes are open from the start. */
const struct file_operations stm_region_operations = {
	STM_FILE_OPERATIONS,
};
