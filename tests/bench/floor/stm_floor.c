// SPDX-License-Identifier: GPL-2.0
/*
 * The floor under transactions in mappings: a page fault that copies 4 KiB into a page, which it
 * maps, and one ioctl that takes the pages out of the mapping again. There is no isolation, no
 * conflict detection and no commit; whatever does more cannot cost less.
 *
 * /dev/stm_floor, one user at a time. Page i of a mapping is a copy of page i of the source.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>

#define PAGES 64

static struct page* source[PAGES];
static struct page* copies[PAGES];

static vm_fault_t floor_fault(struct vm_fault* vmf) {
    if (vmf->pgoff >= PAGES)
        return VM_FAULT_SIGBUS;
    copy_page(page_address(copies[vmf->pgoff]), page_address(source[vmf->pgoff]));
    get_page(copies[vmf->pgoff]);
    vmf->page = copies[vmf->pgoff];
    return 0;
}

static const struct vm_operations_struct floor_vm_operations = {
    .fault = floor_fault,
};

static int floor_mmap(struct file* file, struct vm_area_struct* vma) {
    if (!(vma->vm_flags & VM_SHARED) || vma->vm_pgoff + vma_pages(vma) > PAGES)
        return -EINVAL;
    vma->vm_ops = &floor_vm_operations;
    return 0;
}

/* Takes the first `argument` pages out of all mappings. */
static long floor_ioctl(struct file* file, unsigned int command, unsigned long argument) {
    if (argument > PAGES)
        return -EINVAL;
    unmap_mapping_range(file->f_mapping, 0, (loff_t)argument << PAGE_SHIFT, 1);
    return 0;
}

static const struct file_operations floor_operations = {
    .owner = THIS_MODULE,
    .mmap = floor_mmap,
    .unlocked_ioctl = floor_ioctl,
};

static struct miscdevice floor_device = {
    .minor = MISC_DYNAMIC_MINOR,
    .name = "stm_floor",
    .fops = &floor_operations,
    .mode = 0600,
};

static void free_pages_of(struct page** pages) {
    int i;

    for (i = 0; i < PAGES; i++)
        if (pages[i])
            __free_page(pages[i]);
}

static int __init floor_init(void) {
    int i, error;

    for (i = 0; i < PAGES; i++) {
        source[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
        copies[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
        if (!source[i] || !copies[i]) {
            error = -ENOMEM;
            goto failed;
        }
    }
    error = misc_register(&floor_device);
    if (!error)
        return 0;
failed:
    free_pages_of(source);
    free_pages_of(copies);
    return error;
}

static void __exit floor_exit(void) {
    misc_deregister(&floor_device);
    free_pages_of(source);
    free_pages_of(copies);
}

module_init(floor_init);
module_exit(floor_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("what a page fault with a copy costs at least");
