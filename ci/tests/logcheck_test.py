# SPDX-License-Identifier: GPL-2.0
"""The log checker, on logs as kernels write them."""

import re

from vmlib import logcheck

REPORTS = {
    "warning": "WARNING: CPU: 0 PID: 1 at kernel/x.c:3 h+0x32/0xff0 [stm]",
    "null pointer": "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "oops": "Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI",
    "protection": "Oops: general protection fault, probably for non-canonical address "
                  "0xdead000000000100: 0000 [#1] PREEMPT SMP",
    "protection 6.1": "general protection fault, probably for non-canonical address "
                      "0xdead000000000100: 0000 [#1] PREEMPT SMP",
    "bug": "kernel BUG at mm/slub.c:435!",
    "panic": "Kernel panic - not syncing: sysrq triggered crash",
    "soft lockup": "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [insmod:203]",
    "hard lockup": "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
    "hung task": "INFO: task cat:211 blocked for more than 60 seconds.",
    "rcu": "rcu: INFO: rcu_preempt self-detected stall on CPU",
    "rcu 2": "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    "expedited": "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-...D }",
    "lockdep": "WARNING: possible circular locking dependency detected",
    "lockdep 2": "WARNING: possible recursive locking detected",
    "lockdep key": "INFO: trying to register non-static key.",
    "wait context": "[ BUG: Invalid wait context ]",
    "atomic": "BUG: sleeping function called from invalid context at kernel/mutex.c:580",
    "atomic 2": "BUG: scheduling while atomic: cat/211/0x00000002",
    "kasan": "BUG: KASAN: slab-out-of-bounds in f+0x10/0x20 [stm]",
    "kcsan": "BUG: KCSAN: data-race in f+0x10 [stm] / g+0x20 [stm]",
    "kfence": "BUG: KFENCE: use-after-free read in f+0x10/0x20 [stm]",
    "ubsan": "UBSAN: shift-out-of-bounds in kernel/x.c:3:7",
    "kmemleak": "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
    "refcount": "refcount_t: underflow; use-after-free.\n"
                "WARNING: CPU: 0 PID: 9 at lib/refcount.c:28 refcount_warn_saturate+0x0/0x1",
    "slub": "BUG kmalloc-64 (Tainted: G           O      ): Right Redzone overwritten",
    "slab left": "BUG stm_region (Not tainted): Objects remaining in stm_region on shutdown",
    "list": "list_add corruption. next->prev should be prev (ffff), but was 0000.",
    "page": "BUG: Bad page state in process cat  pfn:01234",
    "usercopy": "usercopy: Kernel memory exposure attempt detected from SLUB object!",
    "debugfs": "debugfs: Directory 'stm' with parent '/' already present!",
    "objects": "ODEBUG: free active (active state 0) object: ffff object type: timer_list",
    "init": "stm-vm: error: the module cannot be unloaded",
    "deprecated workqueue 7.3": "workqueue: work func run_timer [stm] enqueued on deprecated "
                                "workqueue. Use system_{percpu|dfl}_wq instead.",
    "deprecated call": "some_call() of watch+0x10/0x20 [stm] is deprecated, use other_call()",
}

CLEAN = (
    "stm: loading out-of-tree module taints kernel.",
    "stm: module verification failed: signature and/or required key missing - tainting kernel",
    "traps: cat[211] general protection fault ip:7f00 sp:7ffd error:0 in libc.so.6[7f00+1000]",
    "cat[211]: segfault at 0 ip 0000 sp 0000 error 4 in cat[5555+1000]",
    "Memory cgroup out of memory: Killed process 211 (cat) total-vm:1kB",
    "FAULT_INJECTION: forcing a failure.",
    "warning: `cat' uses a deprecated feature",
    "pci 0000:00:01.3: BAR 13: [io  size 0x0040] has bogus alignment",
    "stm: debug: no BUG here",
    "rcu: Preemptible hierarchical RCU implementation.",
    "sysrq: Show backtrace of all active CPUs",
    "INFO: lockdep is turned off.",
)


def test_each_kind_of_report_is_found():
    for name, text in REPORTS.items():
        for prefix in ("", "[    1.234567] ", "[   12.345678][  T211] "):
            lines = ["before"] + [prefix + line for line in text.split("\n")] + ["after"]
            assert logcheck.find(lines), f"{name} is missed with the prefix '{prefix}'"


def test_ordinary_lines_are_no_reports():
    allowed = logcheck.load_allowed()
    for text in CLEAN:
        assert not logcheck.find(["[    1.234567] " + text], allowed), text


def test_the_allow_list_is_obeyed():
    line = "[    1.234567] WARNING: known and harmless"
    assert logcheck.find([line])
    assert not logcheck.find([line], [re.compile("known and harmless$")])


def test_carriage_returns_and_broken_text_do_no_harm():
    lines = logcheck.lines_of(b"[ 1.000000] a\xff\r\n[ 1.000001] BUG: x\r\n")
    assert logcheck.find(lines) == [1]


def test_an_excerpt_is_the_whole_trace_and_no_more():
    body = [f"line {number}" for number in range(60)]
    log = ["early"] * 20 + [logcheck.CUT_HERE, "WARNING: x"] + body
    log += ["---[ end trace 0000000000000000 ]---"] + ["late"] * 20
    text = logcheck.excerpt(log, logcheck.find(log))
    assert "line 59" in text and "end trace" in text
    assert "late" not in text
    assert text.count("early") <= logcheck.BEFORE


def test_two_far_reports_make_one_excerpt_with_a_gap():
    log = ["x"] * 10 + ["BUG: one"] + ["y"] * 200 + ["BUG: two"]
    text = logcheck.excerpt(log, logcheck.find(log))
    assert "BUG: one" in text and "BUG: two" in text and "\n...\n" in text


def test_a_flood_is_cut():
    log = ["BUG: again"] * 5000
    assert len(logcheck.excerpt(log, logcheck.find(log)).split("\n")) < 500
