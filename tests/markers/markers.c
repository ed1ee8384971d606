// SPDX-License-Identifier: GPL-2.0
/*
 * Puts into the page table of the calling process what userfaultfd's asynchronous write protection
 * leaves there for a page that is not there yet. Linux 6.7 to 6.12 did that for any mapping on
 * behalf of any user; later ones refuse mappings like the module's, so there is no other way to see
 * what the module makes of such an entry.
 *
 * An address written to /dev/stm-markers as a number of eight bytes: no page may be mapped there.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/swap.h> /* IWYU pragma: keep: swapops.h needs it */
#include <linux/swapops.h>
#include <linux/uaccess.h>

#include "kernel/glue/compat.h"

#ifndef CONFIG_PTE_MARKER_UFFD_WP
#error "this kernel knows no such markers: tests/markers is for those of Debian"
#endif

static int mark(pte_t* entry, unsigned long address, void* data) {
    if (!pte_none(ptep_get(entry)))
        return -EEXIST;
    set_pte_at(current->mm, address, entry, make_pte_marker(PTE_MARKER_UFFD_WP));
    return 0;
}

static ssize_t markers_write(struct file* file, const char __user* from, size_t size,
                             loff_t* position) {
    struct vm_area_struct* vma;
    u64 address;
    int error = -EFAULT;

    if (size != sizeof(address) || copy_from_user(&address, from, size))
        return -EINVAL;
    address &= PAGE_MASK;
    mmap_write_lock(current->mm);
    vma = find_vma(current->mm, address);
    if (vma && address >= vma->vm_start) {
        /* Without it Linux takes a marker for one that is left over, and removes it. */
        stm_vm_flags_change(vma, VM_UFFD_WP, 0);
        error = apply_to_page_range(current->mm, address, PAGE_SIZE, mark, NULL);
    }
    mmap_write_unlock(current->mm);
    return error ? error : size;
}

static const struct file_operations markers_operations = {
    .owner = THIS_MODULE,
    .write = markers_write,
};

static struct miscdevice markers_device = {
    .minor = MISC_DYNAMIC_MINOR,
    .name = "stm-markers",
    .fops = &markers_operations,
    .mode = 0666,
};

module_misc_device(markers_device);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Markers in page tables, for a test");
