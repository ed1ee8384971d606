# SPDX-License-Identifier: GPL-2.0
"""Tables in documents, of which commands write a part anew."""

import contextlib
import importlib.machinery
import importlib.util
import os
import tempfile

from vmlib import cache, tables

PAGE = """# A page

<!-- kernels -->
| kernel | release | one | gone |
|---|---|---|---|
| `6.1` | 6.1.0-1 | 12, 0 | 1 |
| `7.2` | 7.2.12 | 3, 0 | 1 |
<!-- kernels -->

Text.
"""


@contextlib.contextmanager
def page():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "page.md")
        with open(path, "w", encoding="utf-8") as handle:
            handle.write(PAGE)
        yield path


def test_a_row_that_is_new_comes_in_its_place_and_other_cells_stay():
    with page() as path:
        tables.update(path, "kernels", ("release", "one", "two"),
                      {"6.12": {"release": "6.12.9", "two": "8, 0"}, "7.2": {"one": "2, 1"}},
                      lambda names: [name for name in ("6.1", "6.12", "7.2") if name in names])
        with open(path, encoding="utf-8") as handle:
            assert handle.read() == """# A page

<!-- kernels -->
| kernel | release | one | two |
|---|---|---|---|
| `6.1` | 6.1.0-1 | 12, 0 | – |
| `6.12` | 6.12.9 | – | 8, 0 |
| `7.2` | 7.2.12 | 2, 1 | – |
<!-- kernels -->

Text.
"""


def test_a_row_that_is_not_arranged_goes():
    with page() as path:
        tables.update(path, "kernels", ("release",), {}, lambda names: ["7.2"])
        assert tables.between(path, "kernels")[1] == ("| kernel | release |\n|---|---|\n"
                                                      "| `7.2` | 7.2.12 |\n")


def test_oldest_and_newest_kernels_of_a_series_stand_side_by_side():
    loader = importlib.machinery.SourceFileLoader("world", os.path.join(cache.CI, "world"))
    world = importlib.util.module_from_spec(importlib.util.spec_from_loader("world", loader))
    loader.exec_module(world)
    names = ["6.1.0-47", "6.1", "6.12.107", "6.12", "6.12.107@trixie", "6.12@trixie", "7.2.6",
             "7.2", "7.3"]
    assert sorted(reversed(names), key=world.by_version) == names
