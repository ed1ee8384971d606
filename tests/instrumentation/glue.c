// SPDX-License-Identifier: GPL-2.0
/* Runs the bugs that the parameter `plant` names, separated by commas, while the module is loaded.
 */
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#include "planted.h"

static char plant[200] = "nothing";
module_param_string(plant, plant, sizeof(plant), 0444);
MODULE_PARM_DESC(plant, "Names of bugs");

static DEFINE_MUTEX(first_mutex);
static DEFINE_MUTEX(second_mutex);
static DEFINE_SPINLOCK(a_spinlock);

void* planted_allocate(unsigned long bytes) {
    return kmalloc(bytes, GFP_KERNEL);
}

void planted_free(void* memory) {
    kfree(memory);
}

void planted_lock(int which) {
    /* Two calls and not a choice of the argument: lockdep knows a lock by where it is. */
    if (which)
        mutex_lock(&second_mutex);
    else
        mutex_lock(&first_mutex);
}

void planted_unlock(int which) {
    if (which)
        mutex_unlock(&second_mutex);
    else
        mutex_unlock(&first_mutex);
}

void planted_spin_lock(void) {
    spin_lock(&a_spinlock);
}

void planted_spin_unlock(void) {
    spin_unlock(&a_spinlock);
}

void planted_may_sleep(void) {
    might_sleep();
}

static int race_for_a_while(void* unused) {
    unsigned long end = jiffies + 10 * HZ;

    while (!kthread_should_stop() && time_before(jiffies, end)) {
        planted_race();
        cond_resched();
    }
    /* kthread_stop() needs it to be there. */
    while (!kthread_should_stop())
        schedule_timeout_interruptible(1);
    return 0;
}

static void two_racers(void) {
    struct task_struct* racers[2];
    int i;

    for (i = 0; i < 2; i++)
        racers[i] = kthread_run(race_for_a_while, NULL, "racer%d", i);
    schedule_timeout_uninterruptible(5 * HZ);
    for (i = 0; i < 2; i++) {
        if (!IS_ERR(racers[i]))
            kthread_stop(racers[i]);
    }
}

static const struct {
    const char* name;
    void (*run)(void);
} bugs[] = {
    {"nothing", planted_nothing},
    {"sleep_under_spin_lock", planted_sleep_under_spin_lock},
    {"lock_order", planted_lock_order},
    {"shift", planted_shift},
    {"leak", planted_leak},
    {"out_of_bounds", planted_out_of_bounds},
    {"use_after_free", planted_use_after_free},
    {"race", two_racers},
};

static int __init planted_init(void) {
    char *rest = plant, *name;
    int i;

    while ((name = strsep(&rest, ","))) {
        for (i = 0; i < ARRAY_SIZE(bugs); i++) {
            if (!strcmp(name, bugs[i].name))
                break;
        }
        if (i == ARRAY_SIZE(bugs))
            return -EINVAL;
        bugs[i].run();
    }
    return 0;
}

static void __exit planted_exit(void) {
}

module_init(planted_init);
module_exit(planted_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Bugs for a debug kernel to find");
