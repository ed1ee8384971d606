// SPDX-License-Identifier: GPL-2.0
/*
 * Others that use a process's address space, as drivers do, for tests.
 *
 * A kernel thread that stores for the process without being one of its users: the drivers of USB
 * gadgets have such threads, for as long as a request of Linux AIO lasts. And a mmu notifier, as
 * that of a virtual machine, whose processors have page tables of their own.
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include "company.h"

struct company {
    struct task_struct* storer; /* NULL: there is none */
    struct mm_struct* mm;       /* it stores there */
    unsigned long address;
    struct completion first_store;
    struct mmu_notifier notifier;
    struct mm_struct* watched; /* NULL: nothing is */
    spinlock_t lock;           /* of what was told: */
    unsigned long told[1024];  /* addresses of pages */
    unsigned int count;
};

static int store(void* data) {
    struct company* own = data;
    u64 value = 0;

    kthread_use_mm(own->mm);
    while (!kthread_should_stop()) {
        value++;
        if (!copy_to_user_nofault((void __user*)own->address, &value, sizeof(value)))
            complete(&own->first_store);
        cond_resched();
    }
    kthread_unuse_mm(own->mm);
    return 0;
}

static void stop_storing(struct company* own) {
    if (!own->storer)
        return;
    kthread_stop(own->storer);
    mmdrop(own->mm);
    own->storer = NULL;
}

static long begin_storing(struct company* own, unsigned long address) {
    stop_storing(own);
    own->mm = current->mm;
    own->address = address;
    init_completion(&own->first_store);
    /* The thread ends before the process closes the device, and page tables outlive that use. */
    mmgrab(own->mm);
    own->storer = kthread_run(store, own, "stm-company");
    if (IS_ERR(own->storer)) {
        mmdrop(own->mm);
        own->storer = NULL;
        return -ENOMEM;
    }
    return wait_for_completion_killable_timeout(&own->first_store, 10 * HZ) > 0 ? 0 : -ETIME;
}

static int note_invalidation(struct mmu_notifier* notifier,
                             const struct mmu_notifier_range* range) {
    struct company* own = container_of(notifier, struct company, notifier);
    unsigned long address;

    spin_lock(&own->lock);
    for (address = range->start & PAGE_MASK;
         address < range->end && own->count < ARRAY_SIZE(own->told); address += PAGE_SIZE)
        own->told[own->count++] = address;
    spin_unlock(&own->lock);
    return 0;
}

static const struct mmu_notifier_ops notifier_operations = {
    .invalidate_range_start = note_invalidation,
};

static long begin_watching(struct company* own) {
    int error;

    if (own->watched)
        return -EBUSY;
    own->notifier.ops = &notifier_operations;
    error = mmu_notifier_register(&own->notifier, current->mm);
    if (!error)
        own->watched = current->mm;
    return error;
}

static long times_told(struct company* own, unsigned long address) {
    long times = 0;
    unsigned int i;

    spin_lock(&own->lock);
    for (i = 0; i < own->count; i++)
        times += own->told[i] == (address & PAGE_MASK);
    spin_unlock(&own->lock);
    return times;
}

static long company_ioctl(struct file* file, unsigned int request, unsigned long argument) {
    struct company* own = file->private_data;

    switch (request) {
    case COMPANY_STORE:
        return begin_storing(own, argument);
    case COMPANY_STOP:
        stop_storing(own);
        return 0;
    case COMPANY_WATCH:
        return begin_watching(own);
    case COMPANY_TOLD:
        return times_told(own, argument);
    default:
        return -ENOTTY;
    }
}

static int company_open(struct inode* inode, struct file* file) {
    struct company* own = kzalloc(sizeof(*own), GFP_KERNEL);

    if (!own)
        return -ENOMEM;
    spin_lock_init(&own->lock);
    file->private_data = own;
    return 0;
}

static int company_release(struct inode* inode, struct file* file) {
    struct company* own = file->private_data;

    stop_storing(own);
    if (own->watched)
        mmu_notifier_unregister(&own->notifier, own->watched);
    kfree(own);
    return 0;
}

static const struct file_operations company_operations = {
    .owner = THIS_MODULE,
    .open = company_open,
    .release = company_release,
    .unlocked_ioctl = company_ioctl,
};

static struct miscdevice company_device = {
    .minor = MISC_DYNAMIC_MINOR,
    .name = "stm-company",
    .fops = &company_operations,
    .mode = 0666,
};

module_misc_device(company_device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Others that use an address space, for tests");
