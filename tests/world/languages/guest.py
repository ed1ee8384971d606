#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The bank in several languages, with one region for all of them, in a guest.

  guest.py BUILD_DIR [--seconds N]

Programs of each language move money, first alone and then all at once; some are killed at any
instruction, and replaced. Auditors of each language must find all of the money all the time.

The last lines are the figures as JSON, and 'N passed, N failed'.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
REPO = os.path.realpath(os.path.join(HERE, "../../.."))
NAME = "world:bank"
ACCOUNTS, EACH, COUNTERS = 64, 1000, 4096


class Language:
    def __init__(self, name, number, nice, command):
        self.name, self.number, self.nice, self.command = name, number, nice, command

    def start(self, *words):
        # So that others get to run beside a language that makes hundreds of times as many.
        return subprocess.Popen(["nice", "-n", str(self.nice), *self.command, NAME, *words],
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


class Bank:
    def __init__(self, stm):
        self.region = stm.Region(NAME, 65536)

        def fill(tx):
            tx[0:f"{ACCOUNTS}q"] = (EACH,) * ACCOUNTS
        self.region.atomically(fill)

    def transfers(self, language):
        return self.region.read_only(lambda tx: tx[COUNTERS + 8 * language.number:"q"])

    def total(self):
        return self.region.read_only(lambda tx: sum(tx[0:f"{ACCOUNTS}q"]))


def use(bank, languages, seconds, each):
    """What went wrong, and how many programs were killed."""
    numbers = random.Random(1)
    problems = []
    workers = []
    seed = 0

    def hire(language):
        nonlocal seed
        seed += 1
        workers.append((language, language.start("transfer", str(seed))))
    before = {language.name: bank.transfers(language) for language in languages}
    for language in languages:
        for _ in range(each):
            hire(language)
    end = time.monotonic() + seconds
    deadline = end + 300
    auditors = [language.start("audit", "300") for language in languages]
    # Until the time is over, and five programs of each language were killed in their work: one may
    # need seconds to begin.
    told = dict(before)
    kills = {language.name: 0 for language in languages}
    while time.monotonic() < deadline and (time.monotonic() < end or min(kills.values()) < 5):
        time.sleep(numbers.random() * 0.5)
        language, victim = workers[numbers.randrange(len(workers))]
        made = bank.transfers(language)
        if made < told[language.name] + 50:
            continue
        told[language.name] = made
        kills[language.name] += 1
        if victim.poll() is not None:
            problems.append(f"{language.name} ended by itself: {victim.stderr.read()}")
        victim.kill()
        victim.wait()
        victim.stderr.close()
        workers.remove((language, victim))
        hire(language)
    for _, worker in workers:
        worker.kill()
    for language, worker in workers:
        if worker.wait() != -signal.SIGKILL:
            problems.append(f"{language.name} ended by itself: {worker.stderr.read()}")
        worker.stderr.close()
    for auditor in auditors:
        _, said = auditor.communicate(timeout=120)
        if auditor.returncode != 0:
            problems.append(f"{auditor.args[3]}: {said}")
    for language in languages:
        if kills[language.name] < 5:
            problems.append(f"{language.name} made {bank.transfers(language)} transfers")
    if bank.total() != ACCOUNTS * EACH:
        problems.append(f"the sum is {bank.total()}")
    return problems, sum(kills.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build_dir")
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    build = os.path.realpath(args.build_dir)
    python = os.path.join(REPO, "userspace/python")
    os.environ["PYTHONPATH"] = python
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    os.environ["STM_LIBRARY"] = os.path.join(build, "lib/libstm.so.0")
    os.environ["LD_LIBRARY_PATH"] = os.path.join(build, "lib")
    sys.dont_write_bytecode = True
    sys.path.insert(0, python)
    import stm  # pylint: disable=import-outside-toplevel
    bank = Bank(stm)
    programs = os.path.join(build, "tests/world/languages")
    languages = [Language("Python", 0, 0, [sys.executable, os.path.join(HERE, "bank.py")]),
                 Language("Rust", 1, 15, [os.path.join(programs, "bank-rust")]),
                 Language("Go", 2, 15, [os.path.join(programs, "bank-go")])]
    passed = failed = 0
    figures = {}
    for chosen, each in [([language], 3) for language in languages] + [(languages, 2)]:
        before = {language.name: bank.transfers(language) for language in chosen}
        problems, killed = use(bank, chosen, args.seconds, each)
        what = " and ".join(language.name for language in chosen)
        made = ", ".join(str(bank.transfers(language) - before[language.name])
                         for language in chosen)
        print(f"{'FAILED' if problems else 'ok    '}  {what}: {made} transfers, {killed} killed",
              *problems, sep="\n        ", flush=True)
        passed, failed = passed + (not problems), failed + bool(problems)
    for language in languages:
        figures[f"transfers_by_{language.name.lower()}"] = bank.transfers(language)
    bank.region.close()
    stm.unlink(NAME)
    print(json.dumps(figures))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
