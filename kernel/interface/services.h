/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The services that the core asks of Linux. kernel/glue/ implements them, and for the host tests
 * the simulated kernel in tests/unit/kernel/. Memory comes from runtime/support/host.h.
 *
 * Unless a comment says otherwise a function may sleep and is called in process context. Functions
 * that can fail return 0 or a negative errno value.
 *
 * Locks, outermost first. A thread takes no lock that stands above one that it holds. lockdep
 * checks this in a debug kernel, and the simulated kernel in the host tests.
 *
 *   mmap_lock   One for each address space. Linux takes it before it calls mmap. Linux also takes
 *               it before it calls fault, unless it holds the lock of the mapping alone.
 *               stm_linux_view_close() takes it, and the lock of each mapping, so no fault of the
 *               view is in progress there then. Linux holds it, too, when it tells of the end of an
 *               address space or of a mapping: whoever is told waits for nobody who may close.
 *   REGISTRY    One. Protects names, slots, users, and the handles of every region.
 *               Under it: no allocation.
 *   CONTEXTS    One for each handle. Protects its list of contexts, and which thread each belongs
 *               to: no thread takes a context over. Under it: no allocation.
 *   CONTEXT     One for each thread on each handle. Protects all of its transaction: sets, private
 *               pages, prediction, cell. Under it: allocation, and taking pages out of mappings.
 *               Never a wait for a back-off, the gate or the token, so a fault may wait for it.
 *   SNAPSHOTS   One for each region. Protects which snapshots are fixed, and what is kept for them.
 *               Under it: nothing that sleeps, but the gate may be closed, and waited for by spins.
 *   TOKEN       One for each region. Protects which transaction holds the serial token, and since
 *               when. Under it: nothing that sleeps.
 *   JOURNALS    One for each direct region. Protects whose journal is which, and repairs.
 *               Under it: allocation, and taking pages out of mappings.
 *   CONTENTS    One for each plain region. Protects its bytes against read and write calls.
 *               Under it: only copying.
 *
 * A fault in a plain region takes none of them; one in a transactional region takes CONTEXTS and
 * CONTEXT, and one in a window of a direct region JOURNALS. The core holds no lock while it touches
 * user memory. Ownership records are locks of the protocol (runtime/protocol/transaction.hpp). They
 * are below all of these, and held only within one commit, in which nothing sleeps; those of a
 * program's own commit are never waited for.
 */
#ifndef STM_INTERFACE_SERVICES_H
#define STM_INTERFACE_SERVICES_H

#include "kernel/interface/types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct stm_handle;	/* core: one open file */
struct stm_page;	/* Linux: struct page */
struct stm_identity;	/* Linux: a region's inode: identity of its pages, owner, mode */
struct stm_user_buffer; /* Linux: struct iov_iter */
struct stm_process;	/* Linux: struct pid of a thread group */
struct stm_file;	/* Linux: struct file */
struct stm_node;	/* Linux: the inode of a device node */
struct stm_thread;	/* Linux: struct pid of one thread */
struct stm_memory;	/* Linux: struct mm_struct; only compared */
struct stm_pin;		/* Linux: struct page of a program's own memory, pinned */
struct stm_view;	/* Linux: struct address_space of the mappings of one handle */
struct stm_area;	/* Linux: struct vm_area_struct of one of them */

struct stm_sets;	 /* <stm/ioctl.h> */
struct stm_stripe_write; /* the same */
struct stm_vector_piece; /* the same */

/* -- Locks -- */

enum stm_lock_rank {
	STM_RANK_REGISTRY,
	STM_RANK_CONTEXTS,
	STM_RANK_CONTEXT,
	STM_RANK_SNAPSHOTS,
	STM_RANK_TOKEN,
	STM_RANK_JOURNALS,
	STM_RANK_CONTENTS,
	STM_RANK_COUNT
};

/* Room for Linux's own locks, also with lockdep. The glue checks at compile time that they fit. */
#define STM_LOCK_WORDS 32
struct stm_mutex {
	unsigned long words[STM_LOCK_WORDS];
};
struct stm_shared_mutex {
	unsigned long words[STM_LOCK_WORDS];
};

void stm_linux_mutex_init(struct stm_mutex *mutex, enum stm_lock_rank rank);
void stm_linux_mutex_destroy(struct stm_mutex *mutex);
void stm_linux_mutex_lock(struct stm_mutex *mutex);
/* Nonzero: locked. Does not wait. */
int stm_linux_mutex_try_lock(struct stm_mutex *mutex);
void stm_linux_mutex_unlock(struct stm_mutex *mutex);

/* A waiting writer keeps new readers out, so no writer starves. -EINTR: a fatal signal arrived. */
void stm_linux_shared_mutex_init(struct stm_shared_mutex *mutex, enum stm_lock_rank rank);
void stm_linux_shared_mutex_destroy(struct stm_shared_mutex *mutex);
int stm_linux_shared_mutex_lock(struct stm_shared_mutex *mutex);
void stm_linux_shared_mutex_unlock(struct stm_shared_mutex *mutex);
int stm_linux_shared_mutex_lock_shared(struct stm_shared_mutex *mutex);
void stm_linux_shared_mutex_unlock_shared(struct stm_shared_mutex *mutex);

/* -- Waiting -- */

#define STM_WAIT_QUEUE_WORDS 32
struct stm_wait_queue {
	unsigned long words[STM_WAIT_QUEUE_WORDS];
};
void stm_linux_wait_queue_init(struct stm_wait_queue *queue);

enum stm_wait_kind {
	STM_WAIT_KILLABLE,     /* only a fatal signal ends the wait */
	STM_WAIT_INTERRUPTIBLE /* any signal does */
};
/* A place to sleep, and the keys, one bit each, that wake who sleeps there. */
struct stm_bed {
	struct stm_wait_queue *queue;
	__u64 keys;
};
#define STM_MOST_BEDS 16
/*
 * Whom a waker asks whether a thread that sleeps with one of its keys is to be woken. Any thread
 * may call a @ready that a waker asks.
 */
enum stm_wait_asks {
	STM_ASKS_SLEEPER, /* nobody: the thread wakes and asks itself */
	STM_ASKS_WAKER	  /* @ready, in the waker's context; it is quick */
};
/*
 * Sleeps on @count queues at once, 1 to STM_MOST_BEDS, until @ready returns nonzero. @ready is
 * called first, and after each stm_linux_wake() of one of the queues with one of its keys; none is
 * missed. It must not sleep. -ETIMEDOUT after @timeout_ns nanoseconds (~0: never), -EINTR after a
 * signal.
 */
int stm_linux_wait(const struct stm_bed *beds, unsigned int count, int (*ready)(void *context),
		   void *context, enum stm_wait_asks asks, __u64 timeout_ns,
		   enum stm_wait_kind kind);
/*
 * Wakes the threads that sleep on the queue with one of the keys. Does not sleep; cheap when no
 * thread sleeps there.
 */
void stm_linux_wake(struct stm_wait_queue *queue, __u64 keys);
/*
 * The same for a queue that is polled; no thread sleeps on it by stm_linux_wait(). Whether one is
 * on it, after a full barrier.
 */
int stm_linux_wake_pollers(struct stm_wait_queue *queue);
/* Sleeps for about that long, at most 10 ms. Spins for less than 10 microseconds. */
void stm_linux_delay(__u64 nanoseconds);
__u64 stm_linux_monotonic_ns(void);

/* A function that a kernel thread calls once, some time after the timer was armed. */
#define STM_TIMER_WORDS 64
struct stm_timer {
	unsigned long words[STM_TIMER_WORDS];
};
void stm_linux_timer_init(struct stm_timer *timer, void (*call)(void *context), void *context);
/*
 * Any context. The call may arm its own timer again. Nothing happens if the timer is armed already.
 */
void stm_linux_timer_arm(struct stm_timer *timer, __u32 milliseconds);
/* On return the timer is not armed and the call does not run. */
void stm_linux_timer_stop(struct stm_timer *timer);

/*
 * From here to the end this thread stays on its processor. Nothing in between may sleep. Calls
 * nest.
 */
void stm_linux_stay_on_processor(void);
void stm_linux_leave_processor(void);
/* One turn of a spin. Any context. */
void stm_linux_pause(void);

/* -- Pages -- */

/*
 * Allocates a page of zeros, charged to the caller's memory cgroup. Linux knows it as page @index
 * of @identity, so futexes in it work between processes. NULL: no memory. The caller owns one
 * reference.
 */
struct stm_page *stm_linux_page_allocate(struct stm_identity *identity, __u64 index);

/* Takes the page's identity away and gives back the reference. A pin keeps its memory alive. */
void stm_linux_page_release(struct stm_page *page);

/* The page's bytes in the kernel's address space, valid while a reference is held. Any context. */
void *stm_linux_page_memory(struct stm_page *page);

/* -- Identity: owner, group, mode and memory identity of a region -- */

/*
 * How a region is created: with the owner, group and mode of a device node, or the caller's own and
 * this mode.
 */
struct stm_birth {
	const struct stm_node *node; /* or NULL */
	__u32 mode;		     /* permission bits */
	int apply_umask;	     /* nonzero: less the caller's umask */
};
/* @executable: nonzero if handles of the region may be mapped PROT_EXEC. */
int stm_linux_identity_create(const struct stm_birth *birth, int executable,
			      struct stm_identity **identity);
void stm_linux_identity_put(struct stm_identity *identity);

/* What fstat shows as the size in bytes. */
void stm_linux_identity_set_size(struct stm_identity *identity, __u64 bytes);

struct stm_owner {
	__u32 uid; /* as seen in the caller's user namespace */
	__u32 gid;
	__u32 mode;
};
void stm_linux_identity_owner(struct stm_identity *identity, struct stm_owner *owner);

#define STM_ACCESS_READ 0x1
#define STM_ACCESS_WRITE 0x2
/* -EACCES: the caller must not open it with this access, by the rules of files. */
int stm_linux_identity_permission(struct stm_identity *identity, unsigned int access);
/*
 * Gives it another owner, group and mode; the ids are those of the caller's user namespace.
 * -EINVAL: one stands for nobody.
 */
int stm_linux_identity_change(struct stm_identity *identity, const struct stm_owner *owner);
/* A user and a group, as numbers of the initial user namespace. */
struct stm_ids {
	__u32 uid;
	__u32 gid;
};
void stm_linux_identity_ids(struct stm_identity *identity, struct stm_ids *ids);
/* Nonzero: the caller owns it or has CAP_FOWNER. */
int stm_linux_identity_owned_by_caller(struct stm_identity *identity);

/* -- Views: the mappings of one handle -- */

/* NULL: no memory. The identity outlives the view, the view all mappings. */
struct stm_view *stm_linux_view_create(struct stm_identity *identity);
void stm_linux_view_destroy(struct stm_view *view);

struct stm_mapping {
	__s32 pid; /* in the caller's pid namespace, 0 if none */
	__u32 protection; /* PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4 */
	__u64 address; /* 0: not to be shown to the caller */
	__u64 length;
	__u64 offset;
	char command[16];
};
/*
 * Calls @visit for every mapping of the view, in all processes. Only counts them if @visit is NULL.
 * Returns how many there are. @visit must not sleep or take a lock.
 */
__u32 stm_linux_view_mappings(struct stm_view *view,
			      void (*visit)(void *context, const struct stm_mapping *mapping),
			      void *context);

/*
 * The calling thread's address space; only compared. NULL: a kernel thread, or one that is ending.
 */
struct stm_memory *stm_linux_memory_current(void);
/*
 * A reference that keeps the object, though not the memory. So no other address space has the same
 * pointer.
 */
void stm_linux_memory_hold(struct stm_memory *memory);
void stm_linux_memory_drop(struct stm_memory *memory);
/*
 * Keeps faults out of the view's mappings in that address space until stm_linux_view_open(), and
 * waits for those in progress. Takes its mmap_lock for writing. The address space is the caller's
 * own, or the caller holds a reference until stm_linux_view_open() has returned. 0: it has ended,
 * with all its mappings, and must not be opened.
 */
int stm_linux_view_close(struct stm_view *view, struct stm_memory *memory);
/*
 * The same for a caller that enters no page by stm_linux_view_map(). It costs less where no other
 * thread uses the address space.
 */
int stm_linux_view_close_without_entering(struct stm_view *view, struct stm_memory *memory);
/*
 * The same, but does not wait if another thread holds another address space's mmap_lock, perhaps
 * for long: -EBUSY.
 */
int stm_linux_view_try_close(struct stm_view *view, struct stm_memory *memory);
void stm_linux_view_open(struct stm_memory *memory);
/*
 * Takes @count pages from @first on out of all mappings of the view. The next access to one faults.
 */
void stm_linux_view_unmap(struct stm_view *view, __u64 first, __u64 count);

/*
 * Takes the segment that was mapped at @address out of the caller's address space, as shmdt does:
 * struct stm_detach_segment. -EINVAL: none was mapped there.
 */
int stm_linux_segment_detach(__u64 address);

/*
 * The pages of a transaction that are mapped before they are touched. These are called between
 * stm_linux_view_close() and stm_linux_view_open(), for the caller's address space. @address may be
 * anything.
 */
/*
 * The number of pages of the view, from @index on, that are mapped one behind the other from
 * @address on, at least for loads. @writable: for stores as well. @area: the mapping that has
 * them, which stays as it is until the view is opened; NULL for 0 pages.
 */
__u64 stm_linux_view_extent(struct stm_view *view, __u64 index, __u64 address,
			    struct stm_area **area, int *writable);
#define STM_MAPPING_BATCH 16
/*
 * Maps @count pages of @pages at @address in the area, all of them within that extent: for loads,
 * and if @writable for stores as well. Takes references of its own. A page that cannot be mapped,
 * or whose place has another page already, is left to a fault.
 */
void stm_linux_view_map(struct stm_area *area, __u64 address, struct stm_page *const *pages,
			__u32 count, int writable);
#define STM_TOUCHED_LOAD 1
#define STM_TOUCHED_STORE 2
#define STM_TOUCHED_BATCH 64
/*
 * Tells what was done with each page since that mapped it: 0 or STM_TOUCHED_*; LOAD if that is not
 * known. For statistics and guesses only, because Linux may forget it.
 */
void stm_linux_view_examine(struct stm_view *view, __u64 index, __u64 address, __u32 count,
			    __u8 *touched);

/*
 * Changes the protection of pages where they are. The pages lie one behind the other from @address
 * on, at most STM_MAPPING_BATCH of them. A page that is not mapped there is left alone. Where Linux
 * or the processor gives a module no way to do so, or another thread shares the address space,
 * nothing is done.
 */
/* Allows stores to them, in that area, and begins to note stores anew. */
void stm_linux_view_allow_stores(struct stm_area *area, __u64 address,
				 struct stm_page *const *pages, __u32 count);
/*
 * Whether the page is mapped at the address and was loaded or stored to there since it was mapped,
 * or since the last such question. 0 also if that is not known. For guesses only. Does not sleep.
 */
int stm_linux_view_was_touched(__u64 address, struct stm_page *page);
#define STM_TOUCHED_STAYS 4
/*
 * Forbids stores to them. STM_TOUCHED_STAYS in @touched: from now on nobody can store to the page,
 * neither the program nor a device, until stm_linux_view_allow_stores() or a fault; and @touched
 * tells what was done with it before. Without it the page has to be taken out.
 */
void stm_linux_view_forbid_stores(__u64 address, struct stm_page *const *pages, __u32 count,
				  __u8 *touched);
/*
 * Of a page that was mapped by stm_linux_view_map() for stores, or after
 * stm_linux_view_allow_stores(), and is in no mapping any more. 0: nobody has stored to it since
 * then.
 */
int stm_linux_page_was_stored(struct stm_page *page);

/*
 * Compares two pages by vectors of the processor. @differences: a bit for each part of 64 bytes in
 * which they differ, the lowest for the first. Others may be changing the pages; then it tells of
 * each word as it was at some moment during the call. 0: the processor cannot, and nothing is told.
 */
int stm_linux_pages_compare(const void *left, const void *right, __u64 *differences);

/*
 * Allocates a page without an identity and with any contents, for one transaction's private use.
 * The caller writes all of it before it is mapped. NULL: no memory. stm_linux_page_release() gives
 * it back.
 */
struct stm_page *stm_linux_page_allocate_private(void);
/* Takes a reference for a fault; Linux gives it back. */
void stm_linux_page_get(struct stm_page *page);
/* Nonzero: only the caller has the page. It is neither mapped nor pinned for input or output. */
int stm_linux_page_is_alone(struct stm_page *page);
/*
 * How many have the page beside its mappings: the caller, a fault in progress, and pins. Sometimes
 * one that looks at all pages for a moment.
 */
__u32 stm_linux_page_holders(struct stm_page *page);

/* -- Files -- */

/*
 * Makes a file on @identity that owns @handle, and whose mappings belong to @view. No process sees
 * it yet. stm_linux_file_install() makes it @descriptor. stm_linux_file_drop() forgets it, and with
 * it the handle. On failure the handle still belongs to the caller.
 */
int stm_linux_file_create(struct stm_handle *handle, struct stm_identity *identity,
			  struct stm_view *view, const char *name, unsigned int access,
			  struct stm_file **file);
void stm_linux_file_drop(struct stm_file *file);
void stm_linux_file_install(int descriptor, struct stm_file *file);
/*
 * The handle of a descriptor of the calling process, and its file, which keeps it until
 * stm_linux_file_drop(). NULL: it is none of ours.
 */
struct stm_handle *stm_linux_descriptor_handle(int descriptor, struct stm_file **file);
/* Nonzero: at this moment the calling process has a descriptor of the file. */
int stm_linux_file_has_descriptor(const struct stm_file *file);
/* Reserves a descriptor of the calling process. Returns it, or a negative errno value. */
int stm_linux_descriptor_reserve(int close_on_exec);
void stm_linux_descriptor_release(int descriptor);

/* -- The caller -- */

/* A reference to the calling process. Give it back with stm_linux_process_put(). */
struct stm_process *stm_linux_process_current(void);
void stm_linux_process_put(struct stm_process *process);
/*
 * Returns its id in the caller's pid namespace (0: none), and its name (empty if it is gone or has
 * no id).
 */
__s32 stm_linux_process_describe(struct stm_process *process, char command[16]);
/* A reference to the calling thread. Give it back with stm_linux_thread_put(). */
struct stm_thread *stm_linux_thread_current(void);
void stm_linux_thread_put(struct stm_thread *thread);
/* Nonzero: it is the calling thread. No reference is needed for the comparison. */
int stm_linux_thread_is_current(const struct stm_thread *thread);
/* Nonzero: it has not ended, nor begun to end. */
int stm_linux_thread_is_alive(struct stm_thread *thread);
/*
 * Nonzero: it is alive, and has not called exec since stm_linux_exec_id() returned @exec_id to it.
 */
int stm_linux_thread_runs(struct stm_thread *thread, __u64 exec_id);
/*
 * Nonzero: its address space is @memory. No reference to that is needed: while this holds for a
 * thread, no other address space can have the same pointer. A thread in the middle of exec has the
 * new one before stm_linux_thread_runs() tells of the exec. Any context.
 */
int stm_linux_thread_is_in(struct stm_thread *thread, const struct stm_memory *memory);
/* Nonzero: it is a thread of the calling process. Any context. */
int stm_linux_thread_is_of_process(struct stm_thread *thread);
/*
 * Nonzero: it has the same descriptor table as the calling thread, as the threads of one process
 * do.
 */
int stm_linux_thread_shares_descriptors(struct stm_thread *thread);
/* Its id in the caller's pid namespace, 0 if none. */
__s32 stm_linux_thread_id(struct stm_thread *thread);
/*
 * Sends it @signal with STM_SIGNAL_COOKIE, unless its process has called exec since
 * stm_linux_exec_id() returned @exec_id. Does not sleep.
 */
void stm_linux_thread_signal(struct stm_thread *thread, __u64 exec_id, int signal);
/* Changes when the calling process calls exec. */
__u64 stm_linux_exec_id(void);
/* Nonzero: a fatal signal is pending for the caller. */
int stm_linux_dying(void);

/* A number for the user that is charged. It is the same for all processes of one uid. */
__u32 stm_linux_current_user(void);
/* Nonzero: the caller may exceed the per-user limits (CAP_SYS_RESOURCE). */
int stm_linux_may_exceed_limits(void);
__u64 stm_linux_realtime_ns(void);

/* The caller's effective user and group. */
void stm_linux_caller_ids(struct stm_ids *ids);
/* The same ids as the caller's user namespace shows them. */
void stm_linux_ids_for_caller(struct stm_ids *ids);
/* Nonzero: the caller is in the group. */
int stm_linux_caller_in_group(__u32 gid);
enum stm_privilege {
	STM_PRIVILEGE_IPC_OWNER, /* CAP_IPC_OWNER: no rights are asked */
	STM_PRIVILEGE_IPC_LOCK,	 /* CAP_IPC_LOCK */
	STM_PRIVILEGE_ADMIN	 /* CAP_SYS_ADMIN */
};
int stm_linux_caller_has(enum stm_privilege privilege);

/* Nonzero: 0, or an address below the kernel's. */
int stm_linux_is_program_address(__u64 address);

/* -- User memory; no lock of the core may be held -- */

int stm_linux_copy_in(void *to, __u64 from, unsigned long bytes);
/*
 * The same for @count words of 8 bytes, at most STM_MOST_WORDS, with less effort for a few. @from
 * need not be aligned.
 */
#define STM_MOST_WORDS 512
int stm_linux_copy_words_in(__u64 *to, __u64 from, unsigned int count);
/*
 * The same for a structure whose first word has its size in the lower half: @given. If that is not
 * @size, no more than the size is read.
 */
int stm_linux_copy_sized_in(__u64 *to, __u64 from, unsigned int count, __u32 size, __u32 *given);
/*
 * What @sets has read and wants to write: few of both. In a stripe that is written, a word of whose
 * bytes none has a bit in the mask may stay as it is.
 */
int stm_linux_copy_sets_in(__u64 *reads, struct stm_stripe_write *writes,
			   const struct stm_sets *sets);
/*
 * Of pieces of 8 bytes each: @to gets the words of those that write, at the indices of their
 * pieces, and those that read get theirs from @from.
 */
int stm_linux_copy_words_of(const struct stm_vector_piece *pieces, unsigned int count, __u64 *to);
int stm_linux_put_words_of(const struct stm_vector_piece *pieces, unsigned int count,
			   const __u64 *from);
int stm_linux_put_u64(__u64 to, __u64 value);
int stm_linux_copy_out(__u64 to, const void *from, unsigned long bytes);
/*
 * Reads @known bytes of a structure of which the caller gives @given bytes. Missing bytes are zero;
 * further bytes must be zero (-E2BIG).
 */
int stm_linux_copy_struct_in(void *to, unsigned long known, __u64 from, unsigned long given);
/* Bytes left in a read or write call's buffer. */
unsigned long stm_linux_buffer_left(struct stm_user_buffer *buffer);
/* Copy to or from the buffer and advance it. Return the number of bytes copied. */
unsigned long stm_linux_buffer_put(struct stm_user_buffer *buffer, const void *from,
				   unsigned long bytes);
unsigned long stm_linux_buffer_get(struct stm_user_buffer *buffer, void *to, unsigned long bytes);
/* Makes the last @bytes of stm_linux_buffer_get() unread again. */
void stm_linux_buffer_revert(struct stm_user_buffer *buffer, unsigned long bytes);

/*
 * Pins @bytes at @address of the caller's memory, aligned to that size. @memory is their place in
 * the kernel's address space. It is valid until the pin is given back, whatever becomes of the
 * address. The memory must be ordinary private memory in pages of the usual size; one such page is
 * kept, never a page of a file. -EINVAL, -EFAULT, -ENOMEM.
 */
int stm_linux_pin(__u64 address, unsigned long bytes, struct stm_pin **pin, void **memory);
/* Locks may be held. */
void stm_linux_unpin(struct stm_pin *pin);

/*
 * -- For tests --
 *
 * In a build with STM_TEST_HOOKS the caller may be killed here, as by a SIGKILL from another
 * process. The glue does the same in the services that lock, allocate, copy, map and wait. Any
 * context.
 */
#ifdef STM_TEST_HOOKS
void stm_linux_death_point(void);
#else
static inline void stm_linux_death_point(void)
{
}
#endif

/* -- Everything else -- */

/* As stm_allocate(), for stm_free(), but at once: it does not sleep, and fails sooner. */
void *stm_linux_allocate_now(unsigned long bytes);

/* Lets others run in a long loop. */
void stm_linux_breathe(void);
/* Random bytes for the seeds of hash tables whose keys users choose. */
void stm_linux_random(void *to, unsigned long bytes);

#ifdef __cplusplus
}
#endif

#endif
