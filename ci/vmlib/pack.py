# SPDX-License-Identifier: GPL-2.0
"""The root of a guest that counts instructions: everything it may need, in its initrd."""

import fcntl
import glob
import os
import shutil
import stat
import struct
import subprocess
import sys
import termios

from . import cache, initramfs

CONFIG = "/etc/stm-vm.config"
INPUT = "/etc/stm-vm.stdin"
MOST_INPUT = 256 << 20


def archive(command, env, module, add):
    """`command` with its libraries, the module, our tools and library, and `add`."""
    packed = initramfs.Archive()
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if os.path.islink("/" + name):
            packed.link(name, os.readlink("/" + name))
    for name in ("root", "run", "etc", "var/tmp", "usr/bin", "usr/sbin", "usr/lib"):
        packed.folder(name)
    packed.folder("tmp", 0o1777)
    packed.folder(os.getcwd())
    packed.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"
                              b"nobody:x:65534:65534:nobody:/:/bin/false\n", 0o644)
    packed.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
    program = shutil.which(command[0], path=env["PATH"])
    if program:
        initramfs.add_program(packed, os.path.abspath(program))
    elif not _is_applet(command[0]):
        raise cache.Failure(f"{command[0]}: command not found")
    # Scripts and data named on the command line are what one forgets to add.
    for word in command[1:]:
        if os.path.isfile(word):
            initramfs.add_program(packed, os.path.abspath(word))
    for path in [*_our_own(), *([module] if module else []), *add]:
        initramfs.add_program(packed, os.path.abspath(path))
    _add_busybox(packed)
    return packed


def add_input(packed):
    """Standard input, if it is a file; says so when it is something that cannot be packed.

    Input that arrives while the guest runs would arrive at another instruction each time.
    """
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        with os.fdopen(os.dup(0), "rb") as source:
            packed.file(INPUT, source.read(MOST_INPUT), 0o644)
        return True
    if stat.S_ISFIFO(mode):
        waiting = struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, bytes(4)))[0]
        if waiting:
            sys.stderr.write("ci/vm: note: with --deterministic standard input is taken "
                             "from a file only (< FILE), not from a pipe\n")
    return False


def _our_own():
    build = os.path.join(cache.REPO, "build")
    for folder in (f"{build}/bin", f"{build}/host/bin"):
        yield from sorted(p for p in glob.glob(f"{folder}/*") if os.path.isfile(p))
    for folder in (f"{build}/lib", f"{build}/host/lib"):
        yield from sorted(glob.glob(f"{folder}/libstm.so*"))


def _applets():
    busybox = cache.find_program("busybox")
    if not busybox:
        return []
    done = subprocess.run([busybox, "--list-full"], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.split()


def _is_applet(name):
    return any(os.path.basename(path) == name for path in _applets())


def _add_busybox(packed):
    """The small tools for scripts; a program that is packed already goes first."""
    busybox = cache.find_program("busybox")
    if not busybox:
        return
    with open(busybox, "rb") as handle:
        packed.file("usr/lib/stm-vm/busybox", handle.read())
    for path in _applets():
        folder, name = os.path.split("/" + path)
        folder = os.path.realpath(folder)
        if folder.startswith(("/usr/bin", "/usr/sbin", "/bin", "/sbin")):
            packed.link(f"{folder}/{name}", "/usr/lib/stm-vm/busybox")
