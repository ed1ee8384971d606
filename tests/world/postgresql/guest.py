#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Debian's PostgreSQL on System V segments, in a guest.

  guest.py LIBRARY [--transactions N] [--rounds N]

Two servers run side by side, both with shared_memory_type and dynamic_shared_memory_type sysv. One
uses the kernel's own segments, the other those of LIBRARY, which it preloads. Each is filled, used
by pgbench in turns, crashed and recovered; at the end nothing may be left of it.

The last lines are the figures as JSON, and 'N passed, N failed'.
"""

import argparse
import glob
import json
import os
import pwd
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

FOLDER = "/tmp/stm-postgresql"
# How slow it may be here.
SCALE = float(os.environ.get("STM_TEST_TIME_SCALE", "1"))
LONGEST = 120 * SCALE  # seconds that a guest may take for what takes two on an idle machine
A_MINUTE = 60 * SCALE
SETTINGS = """
shared_memory_type = sysv
dynamic_shared_memory_type = sysv
huge_pages = off
shared_buffers = 64MB
listen_addresses = ''
unix_socket_directories = '{folder}'
port = {port}
max_connections = 20
fsync = off
min_wal_size = 32MB
max_wal_size = 64MB
checkpoint_timeout = 30s
autovacuum = off
min_parallel_table_scan_size = 0
parallel_setup_cost = 0
parallel_tuple_cost = 0
"""


def programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"),
                   key=lambda path: float(path.split("/")[-2]))
    if not found:
        sys.exit("there is no PostgreSQL: ci/deps world")
    return found[-1]


class Tests:
    """What was checked, and how it went."""

    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, good, detail=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
        print(f"ok      {what}" if good else f"FAILED  {what}: {detail}", flush=True)
        return good


class Server:
    """One PostgreSQL, of a user that has no rights."""

    def __init__(self, name, port, library, tests):
        self.name, self.port, self.tests = name, port, tests
        self.data = os.path.join(FOLDER, name)
        self.log = os.path.join(FOLDER, name + ".log")
        self.bin = programs()
        self.user = pwd.getpwnam("postgres")
        self.environment = {"PATH": self.bin + ":/usr/bin:/bin", "LC_ALL": "C", "PGHOST": FOLDER,
                            "PGPORT": str(port), "PGUSER": "postgres", "HOME": FOLDER}
        if library:
            self.environment["LD_PRELOAD"] = library

    def run(self, *command, check=True, background=False, text=None, preload=True):
        def drop():
            os.setgroups([])
            os.setgid(self.user.pw_gid)
            os.setuid(self.user.pw_uid)
        environment = dict(self.environment)
        if not preload:
            environment.pop("LD_PRELOAD", None)
        process = subprocess.Popen(command, env=environment, cwd=FOLDER, preexec_fn=drop, text=True,
                                   stdin=subprocess.PIPE if text else subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL if background else subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
        if background:
            return process
        output, _ = process.communicate(text, timeout=5 * A_MINUTE)
        if check and process.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {output}")
        return process.returncode, output

    def create(self):
        self.run("initdb", "-D", self.data, "--auth=trust", "-U", "postgres", "--no-sync")
        with open(os.path.join(self.data, "postgresql.auto.conf"), "a", encoding="utf-8") as file:
            file.write(SETTINGS.format(folder=FOLDER, port=self.port))

    def start(self):
        """Whether it starts; what it says is in the log."""
        status, _ = self.control("-l", self.log, "start", check=False)
        return status == 0

    def stop(self):
        self.control("-m", "fast", "stop")

    def control(self, *words, check=True):
        return self.run("pg_ctl", "-D", self.data, "-w", "-t", str(int(A_MINUTE)), *words,
                        check=check)

    def postmaster(self):
        with open(os.path.join(self.data, "postmaster.pid"), encoding="utf-8") as file:
            return int(file.readline())

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def query(self, text):
        return self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres",
                        "-c", text, preload=False)[1].strip()

    def pgbench(self, *options, background=False):
        return self.run("pgbench", "-n", "-d", "postgres", *options, background=background,
                        preload=False)

    def throughput(self, transactions, *options):
        output = self.pgbench("-c", "4", "-j", "1", "-t", str(transactions), *options)[1]
        return float(re.search(r"^tps = ([\d.]+)", output, re.MULTILINE).group(1))


def segments(server):
    """The segments that a program sees which runs as the server does."""
    output = server.run("ipcs", "-m")[1]
    return [line.split() for line in output.splitlines() if line.startswith("0x")]


def balances(server):
    return server.query(
        "select (select sum(abalance) from pgbench_accounts), "
        "(select sum(bbalance) from pgbench_branches), "
        "(select sum(tbalance) from pgbench_tellers), "
        "(select coalesce(sum(delta), 0) from pgbench_history)").split("|")


def children(server):
    """The processes of the server but the postmaster. A kernel need not list them by itself."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        if parent == server.postmaster():
            found.append(int(pid))
    return found


def done_by_bench(server):
    return int(server.query("select count(*) from pgbench_history"))


def end_bench(bench):
    """Its connections are gone, or about to go; a slow pgbench may not have noticed."""
    bench.terminate()
    bench.wait(timeout=A_MINUTE)


def wait_for_end(pids):
    end = time.monotonic() + A_MINUTE
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < end:
        time.sleep(0.1)


def use(server, tests):
    name = server.name
    server.create()
    tests.check(f"{name}: initdb, and the server starts", server.start(), "see below")
    found = segments(server)
    attached = [int(segment[5]) for segment in found]
    tests.check(f"{name}: its segment is listed with its processes",
                len(found) >= 1 and max(attached) >= len(children(server)), found)
    server.pgbench("-i", "-q", "-s", "2")
    plan = server.query("set max_parallel_workers_per_gather = 2; explain (analyze) select "
                        "count(*) from pgbench_accounts where bid > 0")
    tests.check(f"{name}: parallel workers share dynamic segments",
                re.search(r"Workers Launched: [12]", plan) is not None, plan)


def kill_postmaster(server, tests):
    """The promises of the database hold when its first process is killed in the middle of work."""
    name = server.name
    server.query("create table told (n int primary key)")
    before = done_by_bench(server)
    bench = server.pgbench("-c", "4", "-j", "1", "-T", "600", background=True)
    told = 0
    end = time.monotonic() + LONGEST
    while (told < 10 or done_by_bench(server) < before + 100) and time.monotonic() < end:
        server.query(f"insert into told values ({told})")
        told += 1
    pids = children(server)
    os.kill(server.postmaster(), signal.SIGKILL)
    end_bench(bench)
    wait_for_end(pids)
    tests.check(f"{name}: it recovers after the postmaster was killed", server.start(),
                server.log_text()[-2000:])
    log = server.log_text()
    tests.check(f"{name}: by its own recovery",
                "automatic recovery in progress" in log and "redo done" in log, log[-2000:])
    sums = balances(server)
    tests.check(f"{name}: every transaction happened as a whole",
                len(set(sums)) == 1 and sums[0] != "", sums)
    count = server.query("select count(*) from told")
    tests.check(f"{name}: all {told} commits that were told to the client are there",
                count == str(told), count)
    tests.check(f"{name}: no segment is left of the old server",
                all(int(segment[5]) > 0 for segment in segments(server)), segments(server))


def refuse_while_attached(server, tests):
    """A process of the old server that is still attached keeps a new one from starting."""
    name = server.name
    pids = children(server)
    stopped = pids[0]
    os.kill(stopped, signal.SIGSTOP)
    os.kill(server.postmaster(), signal.SIGKILL)
    wait_for_end([pid for pid in pids if pid != stopped])
    # The lock file names a process that is gone; only the segment's count tells of the other one.
    started = server.start()
    log = server.log_text()
    tests.check(f"{name}: no second server starts while an old process is attached",
                not started and "pre-existing shared memory block" in log, log[-1000:])
    os.kill(stopped, signal.SIGKILL)
    wait_for_end([stopped])
    tests.check(f"{name}: it starts when that one is gone", server.start(),
                server.log_text()[-1000:])


def kill_backend(server, tests):
    """The postmaster makes a new segment when a process is killed that may have spoilt the old."""
    name = server.name
    before = done_by_bench(server)
    bench = server.pgbench("-c", "1", "-T", "600", background=True)
    end = time.monotonic() + LONGEST
    while done_by_bench(server) < before + 20 and time.monotonic() < end:
        time.sleep(0.1)
    victim = int(server.query("select pid from pg_stat_activity where application_name = 'pgbench' "
                              "limit 1"))
    os.kill(victim, signal.SIGKILL)
    end_bench(bench)
    end = time.monotonic() + A_MINUTE
    sums = None
    while time.monotonic() < end and sums is None:
        try:
            sums = balances(server)
        except RuntimeError:
            time.sleep(0.2)
    tests.check(f"{name}: it goes on after a backend was killed",
                sums is not None and len(set(sums)) == 1, sums)


def compare_throughput(servers, transactions, rounds):
    """The servers take turns of a second or so, so that what else the machine does meets both."""
    figures = {}
    for kind, options, count in (("writes", [], transactions), ("reads", ["-S"], 4 * transactions)):
        rates = {server.name: [] for server in servers}
        for server in servers:  # warm
            server.throughput(count, *options)
        for turn in range(rounds):
            for server in servers if turn % 2 == 0 else reversed(servers):
                rates[server.name].append(server.throughput(count, *options))
        ratios = [regions / kernel for regions, kernel in zip(rates["regions"], rates["kernel"])]
        medians = {name: statistics.median(values) for name, values in rates.items()}
        for name, value in medians.items():
            figures[f"{kind}_per_second_{name}"] = round(value, 1)
        figures[f"{kind}_regions_to_kernel"] = round(statistics.median(ratios), 3)
        figures[f"best_{kind}_regions_to_kernel"] = round(max(rates["regions"]) /
                                                          max(rates["kernel"]), 3)
        quartiles = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
        print(f"        {kind}: {medians['regions']:.0f} transactions/s on regions, "
              f"{medians['kernel']:.0f} on the kernel's segments; ratio "
              f"{statistics.median(ratios):.3f} (median of {rounds}; quartiles {quartiles[0]:.3f}, "
              f"{quartiles[2]:.3f}; of the best {figures[f'best_{kind}_regions_to_kernel']:.3f})",
              flush=True)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("--transactions", type=int, default=50,
                        help="of each of four clients in one turn")
    parser.add_argument("--rounds", type=int, default=15,
                        help="turns of each server; 0: measure nothing")
    args = parser.parse_args()
    tests = Tests()
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.mkdir(FOLDER)
    os.chown(FOLDER, pwd.getpwnam("postgres").pw_uid, -1)
    servers = [Server("kernel", 5433, None, tests), Server("regions", 5434, args.library, tests)]
    print(f"        {servers[0].run('postgres', '--version')[1].strip()}", flush=True)
    figures = {}
    try:
        for server in servers:
            use(server, tests)
        if args.rounds:
            figures = compare_throughput(servers, args.transactions, args.rounds)
        for server in servers:
            kill_postmaster(server, tests)
            refuse_while_attached(server, tests)
            kill_backend(server, tests)
        for server in servers:
            server.stop()
            tests.check(f"{server.name}: nothing is left when it has stopped",
                        segments(server) == [], segments(server))
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as problem:
        tests.check("all steps could be done", False, problem)
        for server in servers:
            if os.path.exists(server.log):
                print(f"{server.name}: {server.log_text()[-3000:]}")
    print(json.dumps(figures))
    print(f"{tests.passed} passed, {tests.failed} failed")
    return 1 if tests.failed else 0


if __name__ == "__main__":
    sys.exit(main())
