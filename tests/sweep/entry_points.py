# SPDX-License-Identifier: GPL-2.0
"""The ways into the module, as its sources name them, and those that tests/sweep/sites.txt does not
have."""

import re

LIST = "tests/sweep/sites.txt"
UAPI = "include/uapi/stm/ioctl.h"
OPERATIONS = re.compile(r"struct (file_operations|vm_operations_struct) (\w+) = \{(.*?)\};",
                        re.DOTALL)
MACRO = re.compile(r"#define (\w+)[ \t]*((?:.*\\\n)*.*)")
MEMBER = re.compile(r"\.(\w+) = ")


def entry_points(files):
    """(entry, file) for each request, file operation, mapping operation, and the module's own
    ends."""
    for name in re.findall(r"^#define (STM_IOC_\w+) _IO", files[UAPI], re.MULTILINE):
        yield f"ioctl:{name}", UAPI
    for path, text in files.items():
        if not re.match(r"kernel/glue/.*\.c$", path):
            continue
        macros = dict(MACRO.findall(text))
        for kind, table, body in OPERATIONS.findall(text):
            for word in re.findall(r"\w+", body):
                body += macros.get(word, "")
            for member in MEMBER.findall(body):
                if kind == "vm_operations_struct":
                    if member == "name":  # tells a flag: nothing in it can fail
                        continue
                    yield f"vm:{table}.{member}", path
                elif member not in ("owner", "unlocked_ioctl"):  # each request is one by itself
                    yield f"file:{member}", path
        for end in re.findall(r"^module_(init|exit)\(", text, re.MULTILINE):
            yield f"module:{end}", path


def missing(files):
    """Findings: entry points without a line in the list, and lines without an entry point."""
    listed = {line.split()[0] for line in files.get(LIST, "").splitlines()
              if line and not line.startswith("#")}
    known = dict(entry_points(files))
    for entry, path in known.items():
        if entry not in listed:
            yield f"{path}: no fault sweep of {entry}: add its sites to tests/sweep and to {LIST}"
    for entry in sorted(listed):
        # What Linux does with a mapping, fork for one, is no entry of ours by itself; `pages` is a
        # look at what is left.
        if entry not in known and not entry.startswith("memory:") and entry != "pages":
            yield f"{LIST}: {entry} is no entry point of the module"
