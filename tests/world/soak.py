#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What ci/soak runs in the guest: soak.py BUILD_DIR --seconds N

Each program runs again and again beside the others until the time is over. Every half a minute the
state of the kernel is told. When nothing runs any more, no region may be left, and the kernel's
memory must be about what it was in the middle. The last lines are the figures as JSON, and 'N
passed, N failed'.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time

REPO = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../.."))
LONG_ROUND = 1200  # seconds
MOST_GROWTH = 128 * 1024  # kB of the kernel's memory that may be in caches of its own


def programs(build):
    """Names and commands, which take turns. Each ends by itself, with 0 if all was right."""
    world = os.path.join(build, "tests/world")
    banks = {f"bank, {way}": [["bank", "--way", way, "--seconds", "20", "--kill-rate", "3",
                               "--processes", "2", "--accounts", "64", "--json"]]
             for way in ("calls", "transparent", "typed", "mutex")}
    storm = [os.path.join(build, "tests/storm/storm"), "--seconds", "30"]
    return {
        "storm": [storm, [*storm, "--direct"]],
        **banks,
        "stamp": [[os.path.join(world, "stamp/stamp"), "typed", "mapped", "calls"]],
        "boost": [[os.path.join(world, "boost-interprocess/boost_interprocess_test"),
                   "--gtest_filter=*/ARegion"]],
        "glibc": [[os.path.join(world, "glibc-objects/glibc_objects_test")]],
        "postgresql": [["python3", os.path.join(REPO, "tests/world/postgresql/guest.py"),
                        os.path.join(build, "lib/libstm-sysv.so"), "--rounds", "2"]],
        "tools": [["python3", os.path.join(REPO, "tests/world/tools/guest.py"), build, "strace",
                   "gdb, attach", "perf"]],
    }


def memory_kb():
    """Of the kernel alone: what cannot be reclaimed, page tables and stacks."""
    with open("/proc/meminfo", encoding="ascii") as file:
        values = dict(re.findall(r"^(\w+): +(\d+)", file.read(), re.MULTILINE))
    return sum(int(values[name]) for name in ("SUnreclaim", "PageTables", "KernelStack"))


def regions():
    """Their names and handles; the region of minor 0 is always there."""
    found = json.loads(subprocess.run(["stmctl", "ls", "--json"], check=True,
                                      stdout=subprocess.PIPE, text=True).stdout)
    return found["regions"] if isinstance(found, dict) else found


def read(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().replace("\0", " ")


def is_about_others(name, output):
    """A storm counts all regions at its end, and others have some: that alone is no mistake."""
    wrong = re.findall(r"^WRONG: (.*)$", output, re.MULTILINE)
    return name == "storm" and wrong and all(
        re.search(r"\d (regions|bytes of regions|resident bytes) instead of", line)
        for line in wrong)


def end_of_log():
    """What the kernel said last, as of a process that it has killed."""
    said = subprocess.run(["dmesg"], check=False, stdout=subprocess.PIPE, text=True).stdout
    return said[-4000:]


class Again(threading.Thread):
    """Runs one program until the time is over, and counts."""

    def __init__(self, name, commands, end):
        super().__init__()
        self.what, self.commands, self.until = name, commands, end
        self.rounds, self.problem = 0, ""
        self.pid, self.began, self.looked_at = 0, 0.0, False

    def run(self):
        while time.monotonic() < self.until and not self.problem:
            environment = {**os.environ, "STM_TEST_TIME_SCALE": "10"}
            command = self.commands[self.rounds % len(self.commands)]
            # Not a pipe: a server that one leaves behind which fails would hold it.
            with tempfile.TemporaryFile("w+", errors="replace") as said, \
                    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said,
                                     stderr=subprocess.STDOUT, cwd="/tmp", env=environment,
                                     start_new_session=True) as process:
                self.began, self.looked_at, self.pid = time.monotonic(), False, process.pid
                process.wait()
                self.pid = 0
                said.seek(0)
                output = said.read()
            if process.returncode != 0 and not is_about_others(self.what, output):
                self.problem = (f"exit status {process.returncode}\n{output[-12000:]}"
                                f"\nthe kernel's log: {end_of_log()}")
                print(f"FAILED  {self.what}, round {self.rounds + 1}: {self.problem}", flush=True)
            self.rounds += 1

    def look(self):
        """Tells once in a round that lasts long what its processes do."""
        if self.pid == 0 or self.looked_at or time.monotonic() - self.began < LONG_ROUND:
            return
        self.looked_at = True
        print(f"{self.what}, round {self.rounds + 1}, has lasted for {LONG_ROUND} s:", flush=True)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                # PostgreSQL's server has a session of its own.
                command = read(f"/proc/{pid}/cmdline")
                if os.getsid(int(pid)) == self.pid or self.what in command:
                    print(f"  {pid} {command}\n{read(f'/proc/{pid}/stack')}")
            except OSError:
                continue
        sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build_dir")
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    before, middle = len(regions()), memory_kb()
    began = time.monotonic()
    all_of_them = [Again(name, commands, began + args.seconds)
                   for name, commands in programs(os.path.realpath(args.build_dir)).items()]
    for one in all_of_them:
        one.start()
    while any(one.is_alive() for one in all_of_them):
        time.sleep(30)
        rounds = ", ".join(f"{one.what} {one.rounds}" for one in all_of_them)
        print(f"{time.monotonic() - began:6.0f} s  kernel {memory_kb() // 1024} MB, "
              f"{len(regions())} regions; rounds: {rounds}", flush=True)
        for one in all_of_them:
            one.look()
        if time.monotonic() - began < args.seconds / 2:
            middle = memory_kb()
    time.sleep(5)
    passed = failed = 0
    checks = [(f"{one.what}, {one.rounds} rounds", not one.problem, one.problem)
              for one in all_of_them]
    left = regions()
    checks.append(("no region is left", len(left) == before, str(left)))
    grown = memory_kb() - middle
    checks.append((f"the kernel's memory is flat: {grown} kB since the middle",
                   grown < MOST_GROWTH, ""))
    for what, good, detail in checks:
        print(f"ok      {what}" if good else f"FAILED  {what}: {detail}")
        passed, failed = passed + good, failed + (not good)
    print(json.dumps({"rounds": sum(one.rounds for one in all_of_them),
                      "kernel_kb_grown": max(grown, 0)}))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
