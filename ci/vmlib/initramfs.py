# SPDX-License-Identifier: GPL-2.0
"""Initial file systems: our init, the drivers that the boot needs, and packed programs."""

import glob
import hashlib
import lzma
import os
import stat
import subprocess

from . import cache

SIGNATURE_MARK = b"~Module signature appended~\n"
SIGNATURE_HEADER = 12

# In this order; what a kernel has built in is skipped.
DRIVERS = ("virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay")


class Archive:
    """A cpio archive in the "newc" format, which the kernel unpacks as its first root."""

    def __init__(self):
        self._parts = []
        self._names = set()
        self._inode = 0

    def _add(self, name, mode, data=b"", device=(0, 0)):
        name = name.strip("/")
        if name in self._names:
            return
        self._names.add(name)
        parent = os.path.dirname(name)
        if parent and parent not in self._names:
            self.folder(parent)
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def folder(self, name, mode=0o755):
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name, data, mode=0o755):
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def __contains__(self, name):
        return name.strip("/") in self._names

    def bytes(self):
        self._add("TRAILER!!!", 0)
        return b"".join(self._parts)


def init_program():
    """Our init, compiled when its source has changed."""
    sources = sorted(glob.glob(os.path.join(cache.CI, "guest", "*.[ch]")))
    digest = hashlib.sha256()
    for path in sources:
        with open(path, "rb") as handle:
            digest.update(handle.read())
    path = os.path.join(cache.root(), "guest", digest.hexdigest()[:16] + ".init")
    if not os.path.exists(path):
        cache.need("gcc")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{path}.{os.getpid()}"
        cache.run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Wno-format-truncation",
                   "-D_GNU_SOURCE", "-o", temporary,
                   *(s for s in sources if s.endswith(".c"))])
        os.rename(temporary, path)
    return path


def base(kernel, deterministic=False, load=()):
    """The archive that each boot of a kernel starts with: a file of the cache.

    It loads the kernel's modules of these names. A guest that counts instructions has no disk and
    no port, so it needs no driver.
    """
    missing = without_module(kernel, load)
    if missing:
        raise cache.Failure(f"the kernel in {kernel} has no module {', '.join(missing)}")
    program = init_program()
    key = os.path.basename(program).removesuffix(".init")
    key += "-" + hashlib.sha256(kernel.encode()).hexdigest()[:12] + "-3"
    key += "-bare" if deterministic else ""
    if load:
        key += "-with-" + hashlib.sha256(" ".join(load).encode()).hexdigest()[:12]
    path = os.path.join(cache.root(), "guest", key + ".initrd")
    if os.path.exists(path):
        return path
    archive = Archive()
    archive.device("dev/console", 5, 1)
    with open(program, "rb") as handle:
        archive.file("init", handle.read())
    names = []
    for driver in needed(kernel, (*([] if deterministic else DRIVERS), *load)):
        name = os.path.basename(driver).removesuffix(".xz")
        archive.file(f"modules/{name}", _read_module(driver), 0o644)
        names.append(f"/modules/{name}\n")
    archive.file("modules.list", "".join(names).encode(), 0o644)
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as handle:
        handle.write(archive.bytes())
    os.rename(temporary, path)
    return path


def lines_of(kernel, name):
    """Those of a list that is beside the kernel's modules; none if it has no modules."""
    path = os.path.join(kernel, "modules", name)
    if not os.path.exists(path):
        return []
    with open(path, encoding="ascii") as handle:
        return handle.read().splitlines()


def name_of(path):
    return os.path.basename(path).split(".")[0].replace("-", "_")


def without_module(kernel, wanted):
    """Those names that the kernel has neither as a module nor built in."""
    paths = [line.partition(":")[0] for line in lines_of(kernel, "modules.dep")]
    known = {name_of(path) for path in paths + lines_of(kernel, "modules.builtin")}
    return [name for name in wanted if name_of(name) not in known]


def needed(kernel, wanted):
    """The module files for `wanted`, each after those that it depends on."""
    depends = {}
    for line in lines_of(kernel, "modules.dep"):
        path, _, others = line.partition(":")
        depends[path] = others.split()
    by_name = {name_of(path): path for path in depends}
    order = []
    for name in map(name_of, wanted):
        if name in by_name:
            # modules.dep lists what to load first last.
            for path in [*reversed(depends[by_name[name]]), by_name[name]]:
                if path not in order:
                    order.append(path)
    return [os.path.join(kernel, "modules", path) for path in order]


def _read_module(path):
    with open(path, "rb") as handle:
        data = handle.read()
    if path.endswith(".xz"):
        data = lzma.decompress(data)
    # Checking a signature costs an emulated processor a fifth of a second.
    if data.endswith(SIGNATURE_MARK):
        length = int.from_bytes(data[-len(SIGNATURE_MARK) - 4:-len(SIGNATURE_MARK)], "big")
        data = data[:-len(SIGNATURE_MARK) - SIGNATURE_HEADER - length]
    return data


def add_program(archive, path):
    """Packs a file of the host; with its shared libraries or its interpreter, if any."""
    pending = [path]
    while pending:
        name = pending.pop()
        if name in archive:
            continue
        if not os.path.exists(name):
            raise cache.Failure(f"cannot pack {name}: there is no such file")
        # Each link on the way stays a link, so that every name works in the guest.
        real = _add_links(archive, name)
        if real in archive:
            continue
        if os.path.isdir(real):
            archive.folder(real)
            pending += [os.path.join(name, entry) for entry in sorted(os.listdir(real))]
            continue
        with open(real, "rb") as handle:
            data = handle.read()
        archive.file(real, data, stat.S_IMODE(os.stat(real).st_mode))
        if data.startswith(b"#!"):
            pending += data[2:].split(b"\n")[0].decode().split()[:1]
        elif data.startswith(b"\x7fELF"):
            pending += _libraries(real)


def _add_links(archive, path):
    """Adds the symbolic links among the path's parts; returns where they lead."""
    done = "/"
    rest = [part for part in path.split("/") if part]
    while rest:
        part = rest.pop(0)
        if part == "..":
            done = os.path.dirname(done)
            continue
        if part == ".":
            continue
        step = os.path.join(done, part)
        if os.path.islink(step):
            target = os.readlink(step)
            archive.link(step, target)
            rest = [p for p in target.split("/") if p] + rest
            done = "/" if target.startswith("/") else done
        else:
            done = step
    return done


def _libraries(path):
    done = subprocess.run(["ldd", path], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = []
    for line in done.stdout.splitlines():
        words = line.split()
        if "=>" in words and words[-1] == "found":
            raise cache.Failure(f"cannot pack {path}: its library {words[0]} is not found")
        found += [word for word in words if word.startswith("/")]
    return found
