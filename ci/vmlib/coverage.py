# SPDX-License-Identifier: GPL-2.0
"""What of a coverage build of the module (ci/module --coverage) was reached in a guest, as
tests/coverage/guest tells."""

import collections
import os
import re
import subprocess

CALLBACK = "__sanitizer_cov_trace_pc"


class Points:
    """The basic blocks of a module: the compiler calls the callback at the begin of each."""

    def __init__(self, module):
        self.module = module
        self.offsets = collections.defaultdict(list)  # of a section: where the calls return to
        section = None
        told = subprocess.run(["readelf", "--relocs", "--wide", module], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        for line in told.splitlines():
            head = re.match(r"Relocation section '\.rela(\S+)'", line)
            if head:
                section = head[1]
            # What runs while the module is loaded or unloaded cannot be asked for afterwards;
            # .text.startup and .text.exit are what KASAN adds for that.
            elif (CALLBACK in line and section and section.startswith(".text")
                  and section not in (".text.startup", ".text.exit")):
                self.offsets[section].append(int(line.split()[0], 16) + 4)

    def __len__(self):
        return sum(map(len, self.offsets.values()))

    def reached(self, folder):
        """Those that were, as pairs of section and offset."""
        with open(os.path.join(folder, "sections"), encoding="ascii") as handle:
            sections = {name: int(base, 16) for name, base in (line.split() for line in handle)}
        with open(os.path.join(folder, "covered"), encoding="ascii") as handle:
            addresses = {int(line, 16) for line in handle}
        return {(section, offset) for section, offsets in self.offsets.items() for offset in offsets
                if section in sections and sections[section] + offset in addresses}

    def places(self, section):
        """For each offset of the section, "FILE:LINE" as addr2line tells it."""
        told = subprocess.run(["addr2line", "-e", self.module, "-j", section], check=True,
                              text=True,
                              stdout=subprocess.PIPE,
                              input="".join(f"{offset:#x}\n"
                                            for offset in self.offsets[section])).stdout
        return zip(self.offsets[section], told.splitlines())
