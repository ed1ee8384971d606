# SPDX-License-Identifier: GPL-2.0
"""What a guest's kernel has allocated, to compare two points in time."""

import contextlib
import os
import time


def table(path, column, skip=0):
    with open(path, encoding="ascii") as lines:
        rows = [line.replace(":", " ").split() for line in list(lines)[skip:]]
    return {row[0]: int(row[column]) for row in rows if len(row) > column}


def memory_in_use():
    """Objects of each slab cache, and pages in use, as soon as they have come to rest.

    Other pages are all those that /proc/meminfo has no name for; a region's are among them.
    """
    def sample():
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
    last = sample()
    for _ in range(10):
        now = sample()
        if all(now.get(name, 0) >= count for name, count in last.items()):
            return now
        last = now
    return last
