/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The functions of the core that Linux calls. Unless a comment says otherwise they are called in
 * process context and may sleep. Results are 0 or more, or a negative errno value.
 */
#ifndef STM_INTERFACE_ENTRY_H
#define STM_INTERFACE_ENTRY_H

#include "kernel/interface/fault.h"
#include "kernel/interface/services.h"
#include "kernel/interface/settings.h"

#ifdef __cplusplus
extern "C" {
#endif

struct stm_info;

/* -- The module -- */

/*
 * The first call. @settings stays valid until stm_core_exit(). -EINVAL: a setting is out of its
 * range.
 */
int stm_core_init(const struct stm_settings *settings);
/* The last call, when no handle is left. Frees every region. */
void stm_core_exit(void);

/* -- Handles -- */

/*
 * Opens the region that device minor @minor stands for, through @node. If there is none and @access
 * has STM_ACCESS_WRITE, the minor gets a new region without a size, with the node's owner and mode.
 * -ENXIO: there is none, and @access does not allow writing.
 */
int stm_core_open_minor(unsigned int minor, unsigned int access, const struct stm_node *node,
			struct stm_handle **handle);
/*
 * The calling thread closes a descriptor of the handle's file, or its process ends. Other
 * processes, or a mapping, may keep the file open. Discards the transactions of threads that have
 * ended. If no descriptor of @file is left in the calling process, it ends the transactions of its
 * threads. These can do nothing more until they have been told.
 */
void stm_core_flush(struct stm_handle *handle, const struct stm_file *file);
/* The end of a handle. Called once, when its file is closed and none of its mappings is left. */
void stm_core_release(struct stm_handle *handle);

/* The view of the handle, valid as long as the handle. Any context. */
struct stm_view *stm_core_view(struct stm_handle *handle);
/*
 * The region's size in bytes. A region without a size takes the default now, as at every first use.
 */
long long stm_core_size(struct stm_handle *handle);
/*
 * The first byte from @position on that lies in a page that was touched, or, with @hole, in one
 * that was not; the end of the region counts as one that was not. Touches none. -ENXIO: there is no
 * such byte, or @position lies behind the end.
 */
long long stm_core_seek(struct stm_handle *handle, long long position, int hole);
/* For /proc/PID/fdinfo. */
void stm_core_describe(struct stm_handle *handle, struct stm_info *info);

/* -- Calls on a handle -- */

long stm_core_read(struct stm_handle *handle, struct stm_user_buffer *to, __u64 position);
long stm_core_write(struct stm_handle *handle, struct stm_user_buffer *from, __u64 position);
/*
 * Whether the calling thread has a transaction on the handle. Its read and write calls are then a
 * part of it.
 */
int stm_core_in_transaction(struct stm_handle *handle);
/*
 * Tells the core the file position before a call of the program that may move it. The core keeps
 * the first one that it is told within a transaction of the calling thread.
 */
void stm_core_note_position(struct stm_handle *handle, long long position);
/* Zero: there is none to take. Costs next to nothing. */
int stm_core_knows_positions(struct stm_handle *handle);
/*
 * Nonzero: since the last call such a transaction has ended without an effect, and *@position is
 * the kept position.
 */
int stm_core_take_position(struct stm_handle *handle, long long *position);
/* @request: an STM_IOC_ number; @argument: the address of its structure. */
long stm_core_control(struct stm_handle *handle, unsigned int request, __u64 argument);

/*
 * The queue that is woken after each commit, and whether one came since the handle last looked. Any
 * context.
 */
struct stm_wait_queue *stm_core_poll_queue(struct stm_handle *handle);
int stm_core_poll_ready(struct stm_handle *handle);

/* -- Mappings -- */

/* Checks a mapping of @pages pages from page @first on. @allowed tells what it may become. */
int stm_core_map(struct stm_handle *handle, __u64 first, __u64 pages, unsigned int wanted,
		 unsigned int *allowed);

/* Whether core files have the mappings of the handle. Any context. */
int stm_core_is_dumped(struct stm_handle *handle);

/*
 * A mapping of a segment has come, or is about to go. Called with mmap_lock held, for the mapping's
 * own process or the one that forks it.
 */
void stm_core_attached(struct stm_handle *handle);
void stm_core_detached(struct stm_handle *handle);

/* A fault in a plain region. The pages stay valid as long as the handle. */
enum stm_fault_result stm_core_fault(struct stm_handle *handle, struct stm_fault *fault);
/* The same in a window: a mapping for which stm_core_map() has said STM_MAP_WINDOW. */
enum stm_fault_result stm_core_window_fault(struct stm_handle *handle, struct stm_fault *fault);
/*
 * A store in a window for which stm_core_map() has said STM_MAP_DIRECT; comes before
 * stm_core_window_fault(). STM_FAULT_MAP: the calling thread may store there. STM_FAULT_AGAIN: its
 * journal was taken, and it goes on at @resume of the fault instead.
 */
enum stm_fault_result stm_core_window_store(struct stm_handle *handle, struct stm_fault *fault);
/*
 * The same for a page that is mapped there for loads. STM_FAULT_MAP: it may be written from now on.
 * STM_FAULT_AGAIN: it is not mapped any more.
 */
enum stm_fault_result stm_core_make_window_writable(struct stm_handle *handle,
						    struct stm_fault *fault);
/*
 * An address space that has such a mapping has ended; nothing runs in it any more. Called with its
 * mmap_lock held.
 */
void stm_core_memory_gone(struct stm_handle *handle, struct stm_memory *memory);
/*
 * A fault in a transactional region. The result is page @index alone, in @pages[0], with a
 * reference for the caller. A store gets a page of the transaction that runs in that address space
 * on the handle. So does a load; if no transaction runs it gets the committed page.
 */
enum stm_fault_result stm_core_transactional_fault(struct stm_handle *handle,
						   struct stm_fault *fault);
/*
 * A store to @page, which is mapped there for loads only. STM_FAULT_MAP: it may be written from now
 * on.
 */
enum stm_fault_result stm_core_make_writable(struct stm_handle *handle, struct stm_fault *fault,
					     struct stm_page *page);

#ifdef __cplusplus
}
#endif

#endif
