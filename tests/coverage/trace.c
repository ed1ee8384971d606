// SPDX-License-Identifier: GPL-2.0
/*
 * In a coverage build (ci/module --coverage) of the module: notes which code is run, by any thread,
 * also one of the kernel's own, and on any kernel. The compiler calls the function below at the
 * begin of each basic block.
 *
 * Each read of the module's parameter `covered` gives the next of the addresses, a page of them at
 * most, and nothing at the end; then they begin again.
 */
#include <linux/atomic.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

#define PLACES 65536

static unsigned long covered[PLACES];
static unsigned int told;

void __sanitizer_cov_trace_pc(void);
void notrace __sanitizer_cov_trace_pc(void) {
    unsigned long pc = (unsigned long)__builtin_return_address(0);
    unsigned int place = (u64)pc * 0x9E3779B97F4A7C15ull >> 48;
    unsigned int turn;

    for (turn = 0; turn < 64; turn++, place = (place + 1) % PLACES) {
        unsigned long there = READ_ONCE(covered[place]);

        if (there == pc)
            return;
        if (there)
            continue;
        there = cmpxchg(&covered[place], 0, pc);
        if (there == 0 || there == pc)
            return;
    }
}

static int tell_covered(char* buffer, const struct kernel_param* parameter) {
    int length = 0;

    while (told < PLACES && length < PAGE_SIZE - 20) {
        unsigned long pc = READ_ONCE(covered[told++]);

        if (pc)
            length += sysfs_emit_at(buffer, length, "%lx\n", pc);
    }
    if (!length)
        told = 0;
    return length;
}

static const struct kernel_param_ops covered_operations = {.get = tell_covered};
module_param_cb(covered, &covered_operations, NULL, 0400);
MODULE_PARM_DESC(covered, "addresses that were reached (coverage build)");
