# SPDX-License-Identifier: GPL-2.0
"""Whose a race is that KCSAN reports, on reports as Linux 6.12 writes them."""

from vmlib import logcheck

BAR = "=" * 66
SYSCALL = ["do_syscall_64+0x4b/0x110", "entry_SYSCALL_64_after_hwframe+0x76/0x7e"]
TICK = ["hrtimer_active+0x69/0xc0", "task_tick_fair+0xaa/0x2f0", "sched_tick+0x71/0xc0",
        "tick_nohz_handler+0x176/0x220", "sysvec_apic_timer_interrupt+0x6b/0x90",
        "asm_sysvec_apic_timer_interrupt+0x1b/0x20"]
TIMERS = ["__hrtimer_run_queues+0x1d1/0x410", "hrtimer_interrupt+0x1c3/0x3b0",
          "asm_sysvec_apic_timer_interrupt+0x1b/0x20", "do_idle+0x9d/0x110",
          "cpu_startup_entry+0x24/0x30", "common_startup_64+0x13e/0x141"]
FAULT = ["inode_update_timestamps+0x3a/0x90", "file_update_time+0x5f/0x70",
         "do_shared_fault+0x8d/0x190", "asm_exc_page_fault+0x26/0x30"]
STAT = ["inode_needs_update_time+0x41/0xc0", "file_update_time+0x36/0x70",
        "do_wp_page+0x1d0/0x6a0", "asm_exc_page_fault+0x26/0x30"]
OURS = ["commit+0x10/0x20 [stm]", "stm_ioctl+0x3c/0x50 [stm]"]


def report(first, second, origin="write to 0xffff88807dc1ee58 of 8 bytes by task 45 on cpu 0:"):
    names = " / ".join(trace[0].split("+")[0] for trace in (first, second))
    lines = [BAR, f"BUG: KCSAN: data-race in {names}", "",
             "read to 0xffff88807dc1ee58 of 8 bytes by interrupt on cpu 1:",
             *(" " + frame for frame in first), "", origin, *(" " + frame for frame in second), "",
             "value changed: 0x0000000000000001 -> 0x0000000000000000", "",
             "Reported by Kernel Concurrency Sanitizer on:",
             "CPU: 1 UID: 0 PID: 44 Comm: stm_test Tainted: G           O       6.12.117 #1 ",
             "Tainted: [O]=OOT_MODULE", BAR]
    return [f"[    7.{number:06}] {line}" for number, line in enumerate(["before", *lines])]


def found(*arguments, **named):
    return logcheck.find(report(*arguments, **named), logcheck.load_allowed())


def test_linux_races_with_itself():
    for sides in ((TICK, TIMERS), (TIMERS, TICK), (FAULT, STAT), (STAT, FAULT),
                  (TICK, ["enqueue_hrtimer+0x1/0x2", *SYSCALL])):
        assert not found(*sides), sides
        assert logcheck.races_of_linux(report(*sides)), sides
    assert list(logcheck.races_of_linux(report(TICK, TIMERS)).values()) == [
        "hrtimer_active / __hrtimer_run_queues"]


def test_what_an_interrupt_or_the_scheduler_does_is_not_for_the_code_below():
    sleep = ["update_load_avg+0x10/0x20", "__schedule+0x3b/0x940", "schedule+0x44/0x100"]
    for below in ([*OURS, *SYSCALL], SYSCALL):
        assert not found([*TICK, "memcpy+0x1/0x2", *below], TIMERS), below
        assert not found(TIMERS, [*TICK, *below]), below
        assert not found(TICK, [*sleep, *below]), below


def test_a_race_in_which_the_module_has_a_part_is_a_report():
    for ours in ([*OURS, *SYSCALL], ["memcpy+0x1/0x2", *OURS, *SYSCALL],
                 ["inode_update_timestamps+0x3a/0x90", *OURS, *SYSCALL],
                 ["wake+0x1/0x2 [stm]", *TIMERS],
                 # The module touched user memory, and that fault is a part of what it did.
                 [*FAULT, *OURS, *SYSCALL]):
        for theirs in (TICK, FAULT, ours):
            assert found(ours, theirs), (ours, theirs)
            assert found(theirs, ours), (ours, theirs)


def test_what_is_not_certain_is_a_report():
    assert found(TICK, TIMERS[:1]), "a trace that was cut off"
    assert found(TICK, ["other+0x1/0x2 [virtio]", *SYSCALL]), "another module"
    assert found(TICK, TIMERS, origin="assert no writes to 0xffff of 8 bytes by task 4 on cpu 0:")
    assert found(TICK, ["+-> reordered to: commit+0x1/0x2 [stm]", *SYSCALL])
    whole = report(TICK, TIMERS)
    second = next(number for number, line in enumerate(whole) if "by task" in line)
    assert logcheck.find(whole[:second] + whole[-2:]), "one side, the other of unknown origin"
    assert logcheck.find(whole[:-1]), "the end of the report is not there"


def test_a_report_behind_a_race_of_linux_is_found():
    lines = [*report(TICK, TIMERS), "[    8.000000] WARNING: x",
             *report([*OURS, *SYSCALL], TICK), *report(FAULT, STAT)]
    hits = logcheck.find(lines)
    assert len(hits) == 2 and "WARNING" in lines[hits[0]] and "commit" in lines[hits[1]]
    assert len(logcheck.races_of_linux(lines)) == 2
