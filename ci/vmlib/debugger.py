# SPDX-License-Identifier: GPL-2.0
"""A folder through which gdb finds a stopped guest, and the module in it."""

import os
import shlex
import shutil
import sys
import tempfile

from . import cache


class Debugger:
    """Made before the guest starts; close() removes the folder."""

    def __init__(self, kernel, module):
        # Not under TMPDIR, which may be too long for the name of a socket.
        self.folder = tempfile.mkdtemp(prefix="stm-gdb.", dir="/tmp")
        self.module = module
        self.socket = os.path.join(self.folder, "socket")
        self.script = os.path.join(self.folder, "guest.gdb")
        self.symbols = os.path.join(self.folder, "module.gdb")
        vmlinux = os.path.join(kernel, "vmlinux")
        self.vmlinux = vmlinux if os.path.exists(vmlinux) else None
        self._write(self.script, [
            f'set $stm_symbols = "{self.symbols}"',
            f"source {cache.CI}/kernels/stm.gdb",
            f"target remote {self.socket}"])
        self._write(self.symbols, [
            'printf "the guest has not loaded the module yet: continue until it has\\n"'])

    @staticmethod
    def _write(path, lines):
        with open(path + ".new", "w", encoding="utf-8") as handle:
            handle.write("\n".join(lines) + "\n")
        os.rename(path + ".new", path)

    def qemu_args(self):
        return ["-S", "-gdb", f"unix:{self.socket},server=on,wait=off"]

    def greet(self):
        command = ["gdb", *filter(None, [self.vmlinux]), "-x", self.script]
        text = ["the guest is stopped. In another terminal:", "", f"    {shlex.join(command)}", "",
                "then 'continue'; when the guest's shell is there, Ctrl-C, 'stm-symbols', 'break "
                "…'."]
        if not self.vmlinux:
            text.append("Debian's kernels come without symbols: only the module has them. "
                        "--kernel base or debug has both.")
        sys.stderr.write("".join(f"ci/vm: {line}\n" if line else "\n" for line in text))
        sys.stderr.flush()

    def on_sections(self, text):
        """The guest tells where it has put the module's sections."""
        address = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
        if not self.module:
            return
        words = [f"add-symbol-file {self.module}"]
        # Sections that are gone after the module's start would only confuse.
        words += [f"-s {name} {where}" for name, where in sorted(address.items())
                  if name.startswith((".data", ".bss", ".rodata", ".text"))
                  and int(where, 16)]
        self._write(self.symbols, [" ".join(words)])

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)
