# SPDX-License-Identifier: GPL-2.0
"""Guest kernels by name, and the folders of the cache that hold them.

A kernel's folder has:
  release     what `uname -r` says there
  vmlinuz     the image as built
  boot.elf    the same, unpacked: QEMU starts it without a slow decompression in the guest
  config, System.map
  modules     its loadable modules, with modules.dep
  build       KDIR for out-of-tree modules
  vmlinux     with symbols, only for the kernels we build ourselves
"""

import glob
import lzma
import os
import re
import shutil
import struct
import subprocess
import zlib

from . import apt, cache, kbuild

# The packages that always depend on the newest kernel of a series: exact
# versions vanish from the archive with the next security update.
STOCK = {"6.12": "6.12-amd64", "6.1": "amd64"}

# One version of a series, for what only that point release does: as long as the archive has it.
EXACT = re.compile(r"\d+\.\d+\.\d+")

# name: (source package, configuration fragments in ci/kernels)
BUILT = {
    "base": ("linux-source-6.12", ("base",)),
    "debug": ("linux-source-6.12", ("base", "debug")),
    "kcsan": ("linux-source-6.12", ("base", "kcsan")),
    "debug-6.1": ("linux-source-6.1", ("base", "debug")),
}

# Modules that a guest without hardware never loads: three quarters of the package.
UNUSED = [f"*/kernel/{part}" for part in (
    "drivers/gpu", "drivers/media", "drivers/net/ethernet", "drivers/net/wireless",
    "drivers/infiniband", "drivers/scsi", "drivers/iio", "drivers/usb", "drivers/hwmon",
    "drivers/input", "drivers/staging", "drivers/platform", "drivers/mfd", "sound")]
UNUSED += ["*/usr/share/doc"]


def names():
    return [*STOCK, *BUILT]


def known(name):
    """Whether there may be such a kernel."""
    return name in names() or EXACT.fullmatch(name) is not None


def folder(name, update=False):
    """The folder of a kernel; fetches or builds it when the cache has none."""
    if os.path.isdir(name) and os.path.exists(os.path.join(name, "boot.elf")):
        return os.path.abspath(name)
    if not known(name):
        raise cache.Failure(f"no kernel '{name}': there are {', '.join(names())}, "
                            "an exact version like 6.12.117, or the path of a folder like those that 'ci/kernel path' prints")
    found = None if update else cached(name)
    if found:
        return found
    with cache.lock(f"kernel-{name}"):
        found = None if update else cached(name)
        if found:
            return found
        return _build(name) if name in BUILT else _fetch(name)


def cached(name):
    """The newest folder of a kernel in the cache, or None."""
    prefix = f"{name}_{_recipe(name)}" if name in BUILT else name
    found = glob.glob(os.path.join(_base(), glob.escape(prefix) + "_*"))
    return max(found, key=os.path.getmtime) if found else None


def exact():
    """The exact versions in the cache."""
    found = {os.path.basename(path).split("_")[0] for path in glob.glob(_base() + "/*")}
    return sorted(name for name in found if EXACT.fullmatch(name))


def stale():
    """The folders that no name leads to any more. Exact versions stay: the archive may have lost them."""
    used = {cached(name) for name in [*names(), *exact()]}
    return [path for path in sorted(glob.glob(_base() + "/*")) if path not in used]


def release(path):
    with open(os.path.join(path, "release"), encoding="ascii") as handle:
        return handle.read().strip()


def _base():
    path = os.path.join(cache.root(), "kernels")
    os.makedirs(path, exist_ok=True)
    return path


def _recipe(name):
    return kbuild.recipe(BUILT[name][1])


def _fetch(name):
    cache.need("apt-get", "apt-cache", "dpkg-deb", "depmod", "zstd", "xz")
    cache.say(f"fetching the Debian kernel {name} into {_base()} (about 120 MB, once)")
    if name in STOCK:
        image = apt.dependency(f"linux-image-{STOCK[name]}", r"linux-image-\d.*")
        headers = apt.dependency(f"linux-headers-{STOCK[name]}", r"linux-headers-\d.*")
    else:
        image, headers = (apt.package(rf"linux-{part}-{re.escape(name)}(\+\w+|-\d+)*-amd64")
                          for part in ("image", "headers"))
    common = apt.dependency(headers, r"linux-headers-.*-common")
    scripts = apt.dependency(headers, r"linux-kbuild-.*")
    rel = image.removeprefix("linux-image-")
    with cache.scratch(f"kernel-{name}") as work:
        debs, out = os.path.join(work, "debs"), os.path.join(work, "out")
        os.makedirs(debs)
        os.makedirs(out)
        apt.download([image, headers, common, scripts], debs)
        apt.unpack(debs, out, UNUSED)
        _tidy_headers(out, rel)
        for file in ("vmlinuz", "config", "System.map"):
            os.rename(f"{out}/boot/{file}-{rel}", f"{out}/{file}")
        os.symlink(f"lib/modules/{rel}", f"{out}/modules")
        cache.run([cache.find_program("depmod"), "-b", out, rel])
        _finish(out, rel)
        return _publish(out, f"{name}_{rel}")


def _tidy_headers(out, rel):
    """Debian's header packages name each other by absolute path; make that relative."""
    src = f"{out}/usr/src/linux-headers-{rel}"
    with open(f"{src}/Makefile", encoding="ascii") as handle:
        common = re.search(r"/usr/src/([^/]+)/Makefile", handle.read()).group(1)
    with open(f"{src}/Makefile", "w", encoding="ascii") as handle:
        handle.write("include $(dir $(realpath $(lastword $(MAKEFILE_LIST))))"
                     f"../{common}/Makefile\n")
    # It is there only to make BTF of, which needs a pahole that understands our C++.
    if os.path.exists(f"{src}/vmlinux"):
        os.unlink(f"{src}/vmlinux")
    os.symlink(f"usr/src/linux-headers-{rel}", f"{out}/build")
    for link, target in (("build", f"linux-headers-{rel}"), ("source", common)):
        path = f"{out}/lib/modules/{rel}/{link}"
        if os.path.islink(path):
            os.unlink(path)
            os.symlink(f"../../../usr/src/{target}", path)


def _build(name):
    package, fragments = BUILT[name]
    with cache.scratch(f"kernel-{name}") as work:
        out = os.path.join(work, "out")
        os.makedirs(out)
        version = kbuild.build(name, package, fragments, work, out)
        _finish(out, kbuild.release(out))
        return _publish(out, f"{name}_{_recipe(name)}_{version}")


def _finish(out, rel):
    with open(f"{out}/release", "w", encoding="ascii") as handle:
        handle.write(rel + "\n")
    with open(f"{out}/vmlinuz", "rb") as handle:
        image = unpack_image(handle.read())
    with open(f"{out}/boot.elf", "wb") as handle:
        handle.write(image)


def _publish(out, name):
    """Into place in one step, so that readers need no lock."""
    final = os.path.join(_base(), name)
    if os.path.exists(final):
        shutil.rmtree(out)
        os.utime(final)
    else:
        os.rename(out, final)
    return final


def unpack_image(image):
    """The ELF file within a bzImage (Documentation/arch/x86/boot.rst: payload_offset)."""
    if image[0x202:0x206] != b"HdrS":
        raise cache.Failure("not a bzImage")
    setup_sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start:start + length]
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(payload)
    if payload.startswith(b"\xfd7zXZ"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        # The size that the kernel's build appends is no part of the stream.
        done = subprocess.run(["zstd", "-dcq"], input=payload[:-4], check=False,
                              stdout=subprocess.PIPE)
        if done.stdout.startswith(b"\x7fELF"):
            return done.stdout
    raise cache.Failure("the kernel image is packed in a way that is not known here")
