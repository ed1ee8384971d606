# SPDX-License-Identifier: GPL-2.0
"""Finds the kernel's reports of trouble in a guest's log.

Judged by text alone: QEMU exits 0 after a panic as well, and several of the
checks (lockdep, sleeping in atomic context, hung tasks) only print.
"""

import os
import re

from . import cache, races

REPORT = re.compile("|".join((
    r"\bWARNING: ",                           # WARN, lockdep, RCU's checks
    r"\bBUG: ",                               # KASAN, KCSAN, KFENCE, lockups, bad pages, ...
    r"\bBUG \S+ \(.*\): ",                    # SLUB's checks: "BUG kmalloc-64 (Not tainted): "
    r"kernel BUG at ",
    r"\bOops\b",
    r"\[#\d+\]",                              # the header of every oops
    r"Kernel panic - not syncing",
    r"general protection fault, ",
    r"INFO: task .* blocked for more than",
    r"INFO: rcu\S* .*stall",
    r"rcu: .*kthread starved",
    r"INFO: trying to register non-static key",
    r"hard LOCKUP",
    r"workqueue lockup",
    r"\bUBSAN: ",
    r"kmemleak: \d+ new suspected memory leak",
    r"^unreferenced object 0x",
    r"\bODEBUG: ",
    r"DEBUG_LOCKS_WARN_ON",
    r"list_(add|del) corruption",
    r"Slab cache still has objects",
    r"Objects remaining",
    r"Bad page (state|map)|Bad rss-counter",
    r"usercopy: Kernel memory",
    r"detected buffer overflow",
    r"debugfs: .* already present",
    r"nobody cared",
    # What the module uses and Linux is about to drop is said at a low level, in no fixed form.
    r"\bworkqueue: .*\bdeprecated\b",
    r"(\[stm\]|^stm: ).*\b(deprecated|obsolete)\b",
    r"\b(deprecated|obsolete)\b.*\[stm\]",
    r"stm-vm: error: ",                       # what our init found
)))

# "[   12.345678] ", "[   12.345678][  T123] ", and the level if the console shows it
PREFIX = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
CUT_HERE = "------------[ cut here ]------------"
END_TRACE = "---[ end "
BEFORE, AFTER, MOST = 3, 30, 400


def lines_of(text):
    """A console's bytes as lines without the carriage returns of a serial line."""
    return text.decode("utf-8", "replace").replace("\r", "").split("\n")


def load_allowed(path=None):
    """The patterns of lines that are no reports although they look like it."""
    path = path or os.path.join(cache.CI, "kernels", "allow.txt")
    with open(path, encoding="utf-8") as handle:
        return [re.compile(line.rstrip("\n")) for line in handle
                if line.strip() and not line.startswith("#")]


def races_of_linux(lines):
    """The races of KCSAN's reports in which the module has no part, by their first lines' indices.
    """
    return races.of_linux_alone([PREFIX.sub("", line) for line in lines])


def find(lines, allowed=()):
    """The indices of the lines that begin or belong to a report about the module, or about what
    it may have done."""
    passed_over = races_of_linux(lines)
    hits = []
    for number, line in enumerate(lines):
        bare = PREFIX.sub("", line)
        if (REPORT.search(bare) and number not in passed_over
                and not any(pattern.search(bare) for pattern in allowed)):
            hits.append(number)
    return hits


def excerpt(lines, hits):
    """The reports with some context, as text."""
    keep = set()
    for hit in hits:
        start, end = max(0, hit - BEFORE), min(len(lines), hit + AFTER)
        # A trace has marks where it begins and ends; then there is no need to guess.
        for number in range(start, hit):
            if CUT_HERE in lines[number]:
                start = number
        for number in range(hit, min(len(lines), hit + 3 * AFTER)):
            if END_TRACE in lines[number]:
                end = number + 1
                break
        keep.update(range(start, end))
    out, last = [], None
    for number in sorted(keep)[:MOST]:
        if last is not None and number != last + 1:
            out.append("...")
        out.append(lines[number])
        last = number
    if len(keep) > MOST:
        out.append(f"... and {len(keep) - MOST} more lines")
    return "\n".join(out)
