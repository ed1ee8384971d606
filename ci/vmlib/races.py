# SPDX-License-Identifier: GPL-2.0
"""Tells the races that Linux has with itself from those in which the module has a part.

KCSAN watches all of the kernel, and Linux has races of its own that its developers know of or
accept: in its timers, its scheduler, the time stamps of its inodes. They show once in many runs of
tests that do nothing new. The module has no part in a race if it was at work at neither of its two
accesses. What is not certain stays a report.
"""

import re

TITLE = re.compile(r"\bBUG: KCSAN: data-race in (.*)")
END = re.compile(r"^={20,}$")
SIDE = re.compile(r"^(?:read|write|read-write)\b.* to 0x[0-9a-f]+ .*by (?:task \d+|interrupt) "
                  r"on cpu \d+:$")
FRAME = re.compile(r"^ ([\w.]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(\w+)\])?$")

# What a processor does for a device, a timer or another task is nothing that the interrupted, or
# the sleeping, code has asked for: what stands behind these functions has no part in an access.
# An exception such as a page fault is different, because the code below it has caused it.
APART = re.compile(r"^(?:asm_sysvec_\w+|asm_common_interrupt|__schedule)$")
# A trace that does not end where the kernel was entered may have been cut off.
ENTRY = re.compile(r"^(?:asm_\w+|entry_\w+|ret_from_fork\w*|secondary_startup_\w+|"
                   r"common_startup_\w+)$")


def _is_without_the_module(report):
    """Whether its two traces are whole, and neither names a module before it comes apart."""
    sides, trace = [], None
    for line in report:
        frame = FRAME.match(line)
        if SIDE.match(line):
            trace = []
            sides.append(trace)
        elif trace is not None and frame:
            if not trace or not APART.match(trace[-1][0]):
                trace.append(frame.groups())
        elif "[stm]" in line:
            return False
        else:
            trace = None
    return len(sides) == 2 and all(
        trace and (APART.match(trace[-1][0]) or ENTRY.match(trace[-1][0]))
        and not any(module for _, module in trace) for trace in sides)


def of_linux_alone(lines):
    """The races that Linux has with itself in the lines of a log without their time stamps: for
    the number of each one's first line, the names of its two functions."""
    found = {}
    for number, line in enumerate(lines):
        title = TITLE.search(line)
        if not title:
            continue
        end = next((end for end in range(number + 1, len(lines)) if END.match(lines[end])), None)
        if end is not None and _is_without_the_module(lines[number:end]):
            found[number] = title.group(1).strip()
    return found
