#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""In the guest: loads the modules, and runs the tests that want them."""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("STM_BUILD_DIR") or os.path.join(REPO, "build", "host")
COMPANY = os.path.join(BUILD, "tests", "guest", "mapped", "mapped_company_test")


def run(command, result, printed):
    """How many passed and failed. `result`: what a line tells of one; `printed`: all is shown."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")
    found = re.findall(result, done.stdout, re.MULTILINE)
    failed = sum(1 for verdict, _ in found if verdict == "FAILED")
    if printed or done.returncode != 0:
        print(done.stdout, end="", flush=True)
    if not printed:
        for verdict, name in found:
            print(f"{verdict:6}  {name}: see above" if verdict == "FAILED" else f"ok      {name}",
                  flush=True)
    if done.returncode != 0 and not failed:
        print(f"FAILED  {command[0]}: exit status {done.returncode}")
        failed = 1
    return sum(1 for verdict, _ in found if verdict != "FAILED"), failed


def main():
    for module in sys.argv[1:]:
        subprocess.run(["insmod", module], check=True)
    results = (run([os.path.join(HERE, "touch.py")], r"^(ok|FAILED) +(.+)$", True),
               run([COMPANY], r"^\[ +(OK|FAILED) +\] (\S+) \(\d+ ms\)$", False))
    passed, failed = (sum(numbers) for numbers in zip(*results))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
