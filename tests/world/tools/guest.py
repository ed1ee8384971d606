#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tools that people point at programs, in a guest, beside regions and transactions.

  guest.py BUILD_DIR [WORD…]

Each line says what a tool was asked to do, and what came of it: 'works', or 'refused', with how.
Each must be what is written here. A WORD keeps the lines that it is in. The last lines are the
table for docs/world.md, as JSON, and 'N passed, N failed'.
"""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time

REPO = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../.."))
WAYS = ("plain", "mapped", "typed")
BUILD = os.path.realpath(sys.argv[1])
SUBJECT = os.path.join(BUILD, "tests/world/tools/subject")
BANK = os.path.join(BUILD, "bin/bank")
CORE = "/tmp/world-core"
SCALE = float(os.environ.get("STM_TEST_TIME_SCALE", "1"))  # how slow it may be here
LONGEST = 400 * SCALE  # seconds, in a busy guest


def run(*command, limit=LONGEST, environment=None):
    """Its status, and what it says."""
    done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit,
                          env={**os.environ, **(environment or {})})
    return done.returncode, done.stdout


class Subject:
    """A program that counts in a region until it is told to end, and knows whether all is there."""

    def __init__(self, way, threads=1, prefix=()):
        self.way = way
        self.process = subprocess.Popen([*prefix, SUBJECT, way, str(threads)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.said = []
        for line in self.process.stdout:
            self.said.append(line)
            if line == "ready\n":
                break
        self.pid = self.process.pid

    def end(self):
        """Whether it ended well."""
        self.process.send_signal(signal.SIGTERM)
        self.said += [self.process.communicate(timeout=LONGEST)[0]]
        run("stmctl", "rm", "subject")
        return self.process.returncode == 0

    def told(self):
        return "".join(self.said)


@contextlib.contextmanager
def subject(way, **options):
    one = Subject(way, **options)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        run("stmctl", "rm", "subject")


def gdb(*arguments, commands=()):
    words = ["gdb", "-batch", "-nx", "-ex", "set pagination off", "-ex", "set confirm off"]
    for command in commands:
        words += ["-ex", command]
    return run(*words, *arguments, environment={"DEBUGINFOD_URLS": ""})[1]


def need(condition, text):
    if not condition:
        raise AssertionError(text[-1500:])


# -- gdb --

def gdb_attach():
    for way in WAYS:
        with subject(way, threads=2) as one:
            text = gdb("-p", str(one.pid), commands=(
                "print/x *watched", "break counting", "continue", "next", "print/x *watched",
                "delete", "detach"))
            need(len(re.findall(r"^\$\d = 0x[0-9a-f]{8}", text, re.MULTILINE)) == 2, way + text)
            need("hit Breakpoint" in text, way + text)
            need(one.end(), way + one.told())
    return ("works: it reads the region, stops in the middle of transactions and detaches; they "
            "are committed then, or repeated")


def gdb_watch():
    for way in ("plain", "mapped"):
        with subject(way) as one:
            text = gdb("-p", str(one.pid), commands=("watch *watched", "continue", "delete",
                                                     "detach"))
            need(re.search(r"Old value = \d+\nNew value = \d+", text), way + text)
            need(one.end(), way + one.told())
    return ("works in plain and transactional mappings, for the stores of the process itself; "
            "other processes' stores trigger none, as in any shared memory")


def gdb_write():
    with subject("plain") as one:
        text = gdb("-p", str(one.pid), commands=("set var *(long*)watched = 5", "print *watched",
                                                 "detach"))
        need("$1 = 5" in text, text)
    with subject("typed") as one:
        text = gdb("-p", str(one.pid), commands=("set var *(long*)watched = 5", "detach"))
        need("Cannot access memory" in text, text)
        need(one.end(), one.told())
    return ("works in plain regions; refused where <stm/stm.hpp> and <stm/tx.h> read: \"Cannot "
            "access memory\"")


def gdb_core():
    with open("/proc/sys/kernel/core_pattern", "w", encoding="ascii") as file:
        file.write(CORE)
    for way in WAYS:
        with subject(way) as one:
            with open(f"/proc/{one.pid}/coredump_filter", "w", encoding="ascii") as file:
                file.write("0x7f")
            subprocess.run(["prlimit", "--core=unlimited", "-p", str(one.pid)], check=True)
            os.kill(one.pid, signal.SIGABRT)
            one.process.wait()
        text = gdb(SUBJECT, CORE, commands=("print way", "print/x *watched"))
        os.remove(CORE)
        need(f'"{way}"' in text and "= 0x0" in text, way + text)
    return ("works; regions are left out, whatever coredump_filter says, and gdb shows zeros there "
            "(see [memory-calls.md](memory-calls.md))")


# -- Who uses what --

def lsof():
    with subject("mapped") as one:
        text = run("lsof", "-p", str(one.pid))[1]
        need(re.search(r" mem .* anon_inode:stm:subject", text), text)
        need(re.search(r" \d+u .* stm:subject$", text, re.MULTILINE), text)
        need(one.end(), one.told())
    return "works: it has a line with the region's name for each descriptor and each mapping"


def pmap():
    with subject("mapped") as one:
        status, text = run("pmap", "-X", str(one.pid))
        need(status == 0 and re.search(r" rw-s .* anon_inode:stm:subject", text), text)
        need(one.end(), one.told())
    return "works: it has the region's name, and how much of the mapping is in memory"


def fuser():
    with open("/proc/devices", encoding="ascii") as file:
        major = int(re.search(r"^ *(\d+) stm$", file.read(), re.MULTILINE).group(1))
    os.mknod("/tmp/world-node", 0o600 | stat.S_IFCHR, os.makedev(major, 17))
    with open("/tmp/world-node", "r+b", buffering=0):
        text = run("fuser", "-v", "/tmp/world-node")[1]
        need(re.search(rf"\b{os.getpid()} F", text), text)
    with subject("mapped") as one:
        status, text = run("fuser", "-v", "/dev/stm")
        need(status == 1, text)
        need(one.end(), one.told())
    run("stmctl", "rm", "minor:17")
    return ("works for nodes of regions that an administrator has made; regions that are opened by "
            "their names have no path to ask for: lsof and `stmctl attachments` tell of their "
            "users")


# -- Tracers --

def strace():
    for way in ("calls", "transparent", "typed"):
        status, text = run("strace", "-f", "-qq", "-o", "/tmp/world-strace", BANK, "--way", way,
                           "--seconds", str(int(3 * SCALE)), "--kill-rate", "2", "--processes",
                           "2")
        need(status == 0, way + text)
        with open("/tmp/world-strace", encoding="utf-8", errors="replace") as file:
            log = file.read()
        need("/dev/stm" in log and "ioctl(" in log, way + log[-1000:])
        # The script names all requests that there were.
        named = run("sed", "-f", os.path.join(BUILD, "strace.sed"), "/tmp/world-strace")[1]
        need("_IOC_NONE, 0xbd" not in named and "STM_IOC_OPEN" in named, way + named[-1000:])
    with subject("mapped", threads=2) as one:
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-p", str(one.pid), "-o",
                                   "/tmp/world-strace"], stderr=subprocess.DEVNULL)
        time.sleep(3)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=LONGEST / 6)
        need(one.end(), one.told())
    return ("works: all audits of the bank are right beneath it, with kills, and after an attach; "
            "requests have their names by [strace.sed](debugging.md)")


def perf():
    status, text = run("perf", "record", "-e", "cpu-clock", "-F", "200", "-g", "-o",
                       "/tmp/world-perf", BANK, "--way", "typed", "--seconds", str(int(3 * SCALE)))
    need(status == 0, text)
    status, text = run("perf", "report", "-i", "/tmp/world-perf", "--stdio", "--no-children", "-g",
                       "none")
    need(status == 0 and "stm_linux_" in text and "libstm.so" in text, text)
    status, text = run("perf", "stat", "-a", "-e", "page-faults,context-switches", "sleep", "1")
    need(status == 0 and "page-faults" in text, text)
    return "works: functions of the module and of the library have their names in a report"


def bpftrace():
    with subject("mapped") as one:
        status, text = run("bpftrace", "-e", f"uprobe:{BUILD}/lib/libstm.so.0:stm_commit "
                           "{ @commits = count(); } interval:s:3 { exit(); }")
        need(status == 0 and re.search(r"@commits: [1-9]", text), text)
        need(one.end(), one.told())
    return ("works; [tracing.md](tracing.md) has what it can say by the module's own tracepoints")


def rr():
    status, text = run("rr", "record", "-n", SUBJECT, "plain", "1", "1",
                       environment={"_RR_TRACE_DIR": "/tmp/world-rr"})
    if status == 0:
        status, text = run("rr", "replay", "-a", environment={"_RR_TRACE_DIR": "/tmp/world-rr"})
        need(status == 0, text)
        return "works"
    need(re.search(r"PMU|CPU type|performance counter|microarchitecture|perf_event", text), text)
    return ("refused by rr itself, which wants a processor with performance counters that it "
            "knows; the guest has none")


# -- Valgrind and the sanitizers --

def memcheck():
    for way in ("plain", "typed"):
        with subject(way, threads=2, prefix=("valgrind", "--error-exitcode=9", "-q")) as one:
            time.sleep(5)
            need(one.end(), way + one.told())
    return "works for plain regions and for <stm/stm.hpp> and <stm/tx.h>: nothing is reported"


def memcheck_mapped():
    with subject("mapped", prefix=("valgrind", "--error-exitcode=9", "-q")) as one:
        time.sleep(5)
        need(one.end(), one.told())
    return "works for transactions in mappings, too"


def helgrind():
    with subject("plain", threads=2, prefix=("valgrind", "--tool=helgrind", "-q")) as one:
        time.sleep(5)
        one.end()
        need(one.process.returncode == 0, one.told())
    with subject("typed", threads=2, prefix=("valgrind", "--tool=helgrind", "-q")) as one:
        time.sleep(5)
        need(one.end(), one.told())
    return ("runs; it knows no transactions, and says of atomic loads and stores what it says of "
            "any: that they may race")


# -- Others --

# By these words CRIU refuses a process, and by those it does not run at all.
CRIU_KNOWS_NOT = "stm:"
CRIU_DOES_NOT_RUN = "Could not initialize kernel features detection"


def criu_dump(pid):
    os.makedirs("/tmp/world-criu", exist_ok=True)
    return run("criu", "dump", "-t", str(pid), "-D", "/tmp/world-criu", "--shell-job", "-v1")


@contextlib.contextmanager
def program(*words):
    one = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield one
    finally:
        one.kill()
        one.wait()


def criu():
    """That it names what it refuses, and the program goes on; and that it saves an ordinary one."""
    with program("sleep", "10000") as ordinary:
        status, said = criu_dump(ordinary.pid)
    runs = CRIU_DOES_NOT_RUN not in said
    need(status == 0 or not runs, said)

    def refuses(pid):
        status, said = criu_dump(pid)
        need(status != 0 and (CRIU_KNOWS_NOT if runs else CRIU_DOES_NOT_RUN) in said, said)

    for way in WAYS:
        with subject(way) as one:
            refuses(one.pid)
            need(one.end(), way + one.told())
    with program(BANK, "--way", "calls", "--seconds", str(20 * SCALE)) as bank:
        while not has_a_region(bank.pid):
            need(bank.poll() is None, "the bank has ended before it had a region")
            time.sleep(0.05)
        refuses(bank.pid)
        said = bank.communicate(timeout=LONGEST)[0]
        need(bank.returncode == 0, said)
    if not runs:
        return ("CRIU itself does not run on this kernel; the program goes on, and all audits are "
                "right")
    return ("refused: it names the region whose descriptor or mapping it does not know how to "
            "save; the program goes on, and all audits are right")


def has_a_region(pid):
    folder = f"/proc/{pid}/fd"
    names = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.append(os.readlink(os.path.join(folder, name)))
    return any("stm:" in name for name in names)


def stress(*stressors):
    """The storm of a bank in each way beside stressors."""
    banks = [subprocess.Popen([BANK, "--way", way, "--seconds", "12", "--kill-rate", "3",
                               "--processes", "2", "--accounts", "32", "--json"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
             for way in ("calls", "transparent", "typed")]
    status, text = run("stress-ng", "--temp-path", "/tmp", "--timeout", "10", "--oomable",
                       *stressors)
    for bank in banks:
        said = bank.communicate(timeout=LONGEST)[0]
        need(bank.returncode == 0, said)
    return status, text


def stress_dev():
    status, text = stress("--dev", "2", "--dev-file", "/dev/stm")
    need(status == 0, text)
    return "works: what it asks is refused or answered, and all audits are right beside it"


def stress_memory():
    words = []
    for name in ("mmap", "userfaultfd", "pagemove", "vm-splice", "fork", "remap"):
        words += ["--" + name, "1"]
    status, text = stress(*words, "--mmap-bytes", "32M", "--userfaultfd-bytes", "16M",
                          "--pagemove-bytes", "4M")
    need(status == 0, text)
    # This one ends with 2 in the guest, also without this project; what counts is the banks.
    stress("--madvise", "1")
    return "works: all audits of banks in three ways are right beside them, with kills"


LINES = (
    ("gdb", "attach, breakpoint in a transaction, detach", gdb_attach),
    ("gdb", "watchpoint in a mapping", gdb_watch),
    ("gdb", "store to a region", gdb_write),
    ("gdb", "core of a program with regions", gdb_core),
    ("strace", "`strace -f`, `strace -p`", strace),
    ("valgrind", "memcheck", memcheck),
    ("valgrind", "memcheck, mapped", memcheck_mapped),
    ("valgrind", "helgrind", helgrind),
    ("perf", "`record -g`, `report`, `stat`", perf),
    ("bpftrace", "a uprobe in the library", bpftrace),
    ("CRIU", "`criu dump`", criu),
    ("stress-ng", "`--dev --dev-file /dev/stm`", stress_dev),
    ("stress-ng", "`madvise`, `mmap`, `userfaultfd`, `pagemove`, `vm-splice`, `fork`, `remap`",
     stress_memory),
    ("rr", "`record`, `replay`", rr),
    ("lsof", "`-p`", lsof),
    ("pmap", "`-X`", pmap),
    ("fuser", "`-v` of a node, and of /dev/stm", fuser),
)


def main():
    wanted = sys.argv[2:]
    passed = failed = 0
    table = []
    for tool, what, check in LINES:
        if wanted and not any(word in f"{tool} {what}" for word in wanted):
            continue
        try:
            result = check()
            passed += 1
            print(f"ok      {tool}, {what}: {result}", flush=True)
            table.append([tool, what, result])
        except (AssertionError, OSError, subprocess.SubprocessError) as problem:
            failed += 1
            print(f"FAILED  {tool}, {what}: {problem}", flush=True)
    print(json.dumps({"table": table}))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
