# SPDX-License-Identifier: GPL-2.0
"""ci/bench-report, by rates that are made up."""

import importlib.machinery
import importlib.util
import json
import os
import tempfile
from unittest import mock

PATH = os.path.join(os.path.dirname(__file__), "..", "bench-report")
LOADER = importlib.machinery.SourceFileLoader("bench_report", PATH)
bench_report = importlib.util.module_from_spec(
    importlib.util.spec_from_loader("bench_report", LOADER))
LOADER.exec_module(bench_report)

REPORT = {"kernel": "6.12.1", "processors": 2, "milliseconds": 20,
          "works": [{"work": "bank", "way": "typed", "processes": 1, "rates": [100, 300, 200]},
                    {"work": "bank", "way": "lmdb", "processes": 1, "rates": [10, 60, 50]},
                    {"work": "bank", "way": "typed", "processes": 2, "rates": [1234567]}],
          "goals": [{"goal": "bank to LMDB's", "least": 4.0,
                     "base": [10, 60, 50], "rates": [100, 300, 200]},
                    {"goal": "too slow", "least": 0.98, "base": [100] * 5,
                     "rates": [97, 97.9, 97.96, 99, 110]},
                    {"goal": "never ran", "least": 1.0, "base": [0, 5], "rates": [7, 0]}]}
COUNTS = [{"work": "bank", "way": "typed", "instructions": 2000, "system_calls": 1.0,
           "faults": 0.0},
          {"work": "bank", "way": "lmdb", "instructions": 10000, "system_calls": 0.0,
           "faults": 0.125}]
COUNTED = {"ways": COUNTS,
           "rates": {"kernel": "6.12.1", "works": [],
                     "goals": [{"goal": "too slow", "least": 0.98, "base": [1000],
                                "rates": [990]}]}}


def test_a_ratio_is_the_median_of_the_ratios_of_rounds():
    # That of the medians would be 4.
    assert bench_report.ratio([100, 300, 200], [10, 60, 50]) == (5, 4, 10)
    # A round in which one of them did not run tells nothing.
    assert bench_report.ratio([100, 0, 9], [10, 5, 0]) == (10, 10, 10)
    assert bench_report.ratio([0], [5]) is None


def test_a_goal_is_met_by_what_was_measured_and_not_by_what_is_rounded():
    assert [bench_report.verdict(goal)[2] for goal in REPORT["goals"]] \
        == ["yes", "**no**", "not measured"]
    assert bench_report.verdict(REPORT["goals"][1])[0] == "0.98"


def test_rates_are_readable():
    for rate, text in ((7.4, "7"), (950, "950"), (1234, "1.23 k"), (123456, "123 k"),
                       (1234567, "1.23 M"), (123456789, "123 M")):
        assert bench_report.per_second(rate) == text


def test_the_page_has_what_was_measured_and_keeps_the_rest():
    with tempfile.TemporaryDirectory() as folder, \
            mock.patch.object(bench_report, "PAGE", f"{folder}/page.md"), \
            mock.patch.object(bench_report, "DATA", f"{folder}/data.json"), \
            mock.patch.object(bench_report, "plot"):
        with open(f"{folder}/page.md", "w", encoding="utf-8") as handle:
            handle.write(f"before\n{bench_report.BEGIN}old\n{bench_report.END}after\n")
        for _ in range(2):  # the second time in the place of the first
            bench_report.write_page(REPORT, COUNTED, "6.12")
        with open(f"{folder}/page.md", encoding="utf-8") as handle:
            page = handle.read()
        assert page.startswith("before\n") and page.endswith("after\n") and "old" not in page
        assert page.count("| bank | 1 | 200 | 50 |") == 1, page
        assert "| too slow | 0.98 | 0.98 | 0.979 – 0.99 | **no** | 0.99 | yes |" in page, page
        assert "| bank | 2000 (1, 0) | 10000 (0, 0.12) |" in page, page
        with open(f"{folder}/data.json", encoding="utf-8") as handle:
            kept = json.load(handle)
        assert kept["rates"]["works"][0]["rate"] == 200
        assert kept["rates"]["goals"][0]["ratio"] == 5 and kept["counted"]["ways"] == COUNTS
