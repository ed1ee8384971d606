#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The bank in Python, by the module stm.

  bank.py REGION transfer SEED    moves money for ever
  bank.py REGION audit N          adds all of it up N times; fails if a sum is wrong
"""

import random
import sys

import stm

ACCOUNTS, EACH = 64, 1000
COUNTER = 4096  # transfers that programs of this language have made


def account(number):
    return slice(8 * number, "q")


def transfer_for_ever(bank, seed):
    numbers = random.Random(seed)
    while True:
        source, target = numbers.randrange(ACCOUNTS), numbers.randrange(ACCOUNTS)
        amount = numbers.randrange(100)

        def transfer(tx, source=source, target=target, amount=amount):
            if tx[account(source)] >= amount:
                tx[account(source)] -= amount
                tx[account(target)] += amount
                tx[COUNTER:"q"] += 1
        bank.atomically(transfer)


def main():
    bank = stm.Region(sys.argv[1])
    if sys.argv[2] == "transfer":
        transfer_for_ever(bank, int(sys.argv[3]))
    for _ in range(int(sys.argv[3])):
        total = bank.read_only(lambda tx: sum(tx[0:f"{ACCOUNTS}q"]))
        if total != ACCOUNTS * EACH:
            sys.exit(f"bank.py: the sum is {total}")


main()
