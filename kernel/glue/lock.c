// SPDX-License-Identifier: GPL-2.0
/* The core's locks are Linux's own, so lockdep knows them. Each rank is a class of its own. */
#include <linux/mutex.h>
#include <linux/rwsem.h>

#include "kernel/interface/services.h"

static_assert(sizeof(struct mutex) <= sizeof(struct stm_mutex));
static_assert(sizeof(struct rw_semaphore) <= sizeof(struct stm_shared_mutex));

static struct lock_class_key rank_keys[STM_RANK_COUNT];
static const char *const rank_names[STM_RANK_COUNT] = {
	[STM_RANK_REGISTRY] = "stm_registry", [STM_RANK_CONTEXTS] = "stm_contexts",
	[STM_RANK_CONTEXT] = "stm_context",   [STM_RANK_SNAPSHOTS] = "stm_snapshots",
	[STM_RANK_TOKEN] = "stm_token",	      [STM_RANK_JOURNALS] = "stm_journals",
	[STM_RANK_CONTENTS] = "stm_contents",
};

static struct mutex *as_mutex(struct stm_mutex *mutex)
{
	return (struct mutex *)mutex;
}

static struct rw_semaphore *as_rwsem(struct stm_shared_mutex *mutex)
{
	return (struct rw_semaphore *)mutex;
}

void stm_linux_mutex_init(struct stm_mutex *mutex, enum stm_lock_rank rank)
{
	__mutex_init(as_mutex(mutex), rank_names[rank], &rank_keys[rank]);
}

void stm_linux_mutex_destroy(struct stm_mutex *mutex)
{
	mutex_destroy(as_mutex(mutex));
}

void stm_linux_mutex_lock(struct stm_mutex *mutex)
{
	stm_linux_death_point();
	mutex_lock(as_mutex(mutex));
}

int stm_linux_mutex_try_lock(struct stm_mutex *mutex)
{
	return mutex_trylock(as_mutex(mutex));
}

void stm_linux_mutex_unlock(struct stm_mutex *mutex)
{
	stm_linux_death_point();
	mutex_unlock(as_mutex(mutex));
}

void stm_linux_shared_mutex_init(struct stm_shared_mutex *mutex, enum stm_lock_rank rank)
{
	__init_rwsem(as_rwsem(mutex), rank_names[rank], &rank_keys[rank]);
}

void stm_linux_shared_mutex_destroy(struct stm_shared_mutex *mutex)
{
	WARN_ON_ONCE(rwsem_is_locked(as_rwsem(mutex)));
}

int stm_linux_shared_mutex_lock(struct stm_shared_mutex *mutex)
{
	stm_linux_death_point();
	return down_write_killable(as_rwsem(mutex));
}

void stm_linux_shared_mutex_unlock(struct stm_shared_mutex *mutex)
{
	stm_linux_death_point();
	up_write(as_rwsem(mutex));
}

int stm_linux_shared_mutex_lock_shared(struct stm_shared_mutex *mutex)
{
	stm_linux_death_point();
	return down_read_killable(as_rwsem(mutex));
}

void stm_linux_shared_mutex_unlock_shared(struct stm_shared_mutex *mutex)
{
	stm_linux_death_point();
	up_read(as_rwsem(mutex));
}
