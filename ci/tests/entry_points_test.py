# SPDX-License-Identifier: GPL-2.0
"""tests/sweep/entry_points.py, on sources with an entry point more or less."""

import os
import sys

from vmlib import cache

sys.path.append(os.path.join(cache.REPO, "tests", "sweep"))
import entry_points  # pylint: disable=wrong-import-position,wrong-import-order


def sources():
    names = [entry_points.UAPI, entry_points.LIST]
    glue = os.path.join(cache.REPO, "kernel", "glue")
    names += [f"kernel/glue/{name}" for name in os.listdir(glue) if name.endswith(".c")]
    files = {}
    for name in names:
        with open(os.path.join(cache.REPO, name), encoding="utf-8") as handle:
            files[name] = handle.read()
    return files


def findings_after(name, old, new):
    files = sources()
    assert old in files[name], f"{old!r} is not in {name} any more"
    files[name] = files[name].replace(old, new, 1)
    return list(entry_points.missing(files))


def test_every_entry_point_is_swept():
    found = list(entry_points.missing(sources()))
    assert not found, found


def test_a_new_request_needs_a_sweep():
    found = findings_after(entry_points.UAPI, "#define STM_IOC_VERSION",
                           "#define STM_IOC_NEW _IO(STM_IOC_TYPE, 0x77)\n#define STM_IOC_VERSION")
    assert len(found) == 1 and "ioctl:STM_IOC_NEW" in found[0], found


def test_a_new_file_operation_needs_a_sweep():
    found = findings_after("kernel/glue/file.c", ".llseek = ", ".fallocate = stm_new, .llseek = ")
    assert len(found) == 1 and "file:fallocate" in found[0], found


def test_a_new_mapping_operation_needs_a_sweep():
    found = findings_after("kernel/glue/mapping.c", ".page_mkwrite = ",
                           ".huge_fault = stm_new, .page_mkwrite = ")
    assert len(found) == 1 and ".huge_fault" in found[0], found


def test_a_sweep_of_nothing_is_told():
    found = findings_after(entry_points.UAPI, "#define STM_IOC_WAIT _IO", "#define STM_WAITING _IO")
    assert len(found) == 1 and "ioctl:STM_IOC_WAIT is no entry point" in found[0], found
