# SPDX-License-Identifier: GPL-2.0
"""ci/check-counts, by results that are made up."""

import copy
import importlib.machinery
import importlib.util
import os
import tempfile

PATH = os.path.join(os.path.dirname(__file__), "..", "check-counts")
LOADER = importlib.machinery.SourceFileLoader("check_counts", PATH)
check_counts = importlib.util.module_from_spec(
    importlib.util.spec_from_loader("check_counts", LOADER))
LOADER.exec_module(check_counts)

RECORDED = {"environment": {"kernel": "6.12.1", "compiler": "gcc 12"},
            "rows": [{"work": "bank", "way": "typed", "instructions": 2000, "system_calls": 1.0,
                      "faults": 0.0},
                     {"work": "bank", "way": "mapped", "instructions": 18000, "system_calls": 2.0,
                      "faults": 1.25}]}


def judge(changes, environment=None):
    """What is said of counts with some changes to the first row."""
    now = copy.deepcopy(RECORDED)
    now["rows"][0].update(changes)
    now["environment"].update(environment or {})
    said = []
    well = check_counts.verdict(RECORDED, now, said.append)
    return well, "\n".join(said)


def test_counts_as_recorded_pass():
    for changes in ({}, {"instructions": 2059}, {"instructions": 1950}):
        well, said = judge(changes)
        assert well and said == "2 passed, 0 failed", said


def test_three_percent_more_instructions_fail_and_are_named():
    well, said = judge({"instructions": 2061})
    assert not well
    assert "WORSE   bank, typed: 2061 instructions, recorded 2000 (+3.0%)" in said, said
    assert "ci/check-counts --record" in said and said.endswith("1 passed, 1 failed"), said


def test_one_more_system_call_or_fault_fails():
    for changes in ({"system_calls": 2.0}, {"faults": 0.05}):
        well, said = judge(changes)
        assert not well and said.endswith("1 passed, 1 failed"), said


def test_less_is_told_and_passes():
    well, said = judge({"instructions": 1500})
    assert well and "better  bank, typed: 1500 instructions" in said, said
    assert "ci/check-counts --record" in said, said


def test_another_compiler_or_kernel_has_a_wider_limit_which_is_told():
    for environment in ({"compiler": "gcc 14"}, {"kernel": "6.12.2"}):
        well, said = judge({"instructions": 2400}, environment)
        assert well and "not as recorded" in said and "25%" in said, said
        well, said = judge({"instructions": 2600}, environment)
        assert not well and "WORSE" in said, said


def test_a_row_without_a_record_and_a_record_without_a_row_fail():
    well, said = judge({"way": "vectored"})
    assert not well
    assert "bank, vectored: is not recorded" in said and "bank, typed: is recorded" in said, said


def test_what_is_recorded_is_read_again():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "counts.json")
        check_counts.write(path, RECORDED)
        assert check_counts.read(path) == RECORDED


def test_ten_percent_more_on_another_kernel_fail_and_are_named():
    rows = RECORDED["rows"]
    more = [dict(rows[0], instructions=2201), dict(rows[1], instructions=17100)]
    table, too_much = check_counts.beside(rows, {"6.1": rows, "7.3": more})
    assert table[0] == "| | | 6.12 | 6.1 | 7.3 |" and len(table) == 4, table
    assert table[3] == "| bank | mapped | 18000 | +0.0 % | -5.0 % |", table
    assert len(too_much) == 1 and too_much[0].startswith("bank, typed: 2201 instructions on 7.3")


def test_what_is_worse_is_counted_again_and_nothing_else():
    now = copy.deepcopy(RECORDED)
    now["rows"][0]["instructions"] = 2100
    asked = []

    def recount(instructions):
        def rows_of(work):
            asked.append(work)
            return [{**row, "instructions": instructions} for row in RECORDED["rows"]]
        return rows_of

    again = check_counts.count_again(RECORDED, now, recount(2010))
    assert asked == ["bank"]
    assert [row["instructions"] for row in again["rows"]] == [2010, 18000]
    again = check_counts.count_again(RECORDED, now, recount(2100))
    assert not check_counts.verdict(RECORDED, again, lambda _: None)
    asked.clear()
    check_counts.count_again(RECORDED, RECORDED, recount(1))
    assert asked == []
