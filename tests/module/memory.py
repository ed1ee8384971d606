# SPDX-License-Identifier: GPL-2.0
"""What a guest's kernel has allocated, to compare two points in time."""

import contextlib
import os
import time


def table(path, column, skip=0):
    with open(path, encoding="ascii") as lines:
        rows = [line.replace(":", " ").split() for line in list(lines)[skip:]]
    return {row[0]: int(row[column]) for row in rows if len(row) > column}


def sample():
    """Objects of each slab cache, and pages in use, at one moment.

    Other pages are all those that /proc/meminfo has no name for; a region's are among them.
    """
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as drop:
        drop.write("3")
    # Memory whose end waits for RCU and for deferred work.
    time.sleep(0.3)
    # Each processor keeps slabs of its own, all of whose objects would count.
    for cache in os.scandir("/sys/kernel/slab"):
        if not cache.is_symlink():
            with contextlib.suppress(OSError), \
                    open(f"{cache.path}/shrink", "w", encoding="ascii") as shrink:
                shrink.write("1")
    # And counts of pages, which it adds to those of all when there are enough of them, or when this
    # is read.
    with contextlib.suppress(OSError), open("/proc/sys/vm/stat_refresh", "rb") as refresh:
        refresh.read()
    info = table("/proc/meminfo", 1)
    found = {f"objects of {name}": count
             for name, count in table("/proc/slabinfo", 1, skip=2).items()}
    found["kB per processor"] = info["Percpu"]
    found["kB in vmalloc"] = info["VmallocUsed"]
    found["kB of page tables"] = info["PageTables"]
    with open("/proc/zoneinfo", encoding="ascii") as zones:
        kept = sum(int(line.split()[1]) for line in zones if line.lstrip().startswith("count:"))
    accounted = kept * 4 + sum(info[name] for name in (
        "MemFree", "Buffers", "Cached", "AnonPages", "Slab", "PageTables", "KernelStack",
        "Percpu", "VmallocUsed"))
    found["kB of other pages"] = info["MemTotal"] - accounted
    return found


def memory_in_use():
    """The least that was in use in several samples in a row, by name.

    What is lost is in all of them. What is not comes and goes: to look allocates, too, and then all
    objects of that processor's slab count, which is half a thousand of the smallest; and what was
    freed waits for RCU and for kernel threads, which a busy machine keeps waiting.
    """
    least = sample()
    quiet = 0
    for _ in range(30):
        now = sample()
        lower = {name: count for name, count in now.items() if count < least.get(name, count + 1)}
        least.update(lower)
        gone = [name for name in least if name not in now]
        for name in gone:
            del least[name]
        quiet = 0 if lower or gone else quiet + 1
        if quiet == 4:
            break
    return least
