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

from . import apt, cache, compilers, kbuild

# Where a kernel is looked for that is named without a release, in this order; the first that has it
# is taken.
RELEASES = ("bookworm", "trixie", "trixie-backports", "testing")

# What 'make test' takes; 'list' and the help show them.
USUAL = ("6.12", "6.1", "7.3")

# The 6.12 of each release that has one: no compiler of another release is needed for it.
OWN = {"12": "6.12", "13": "6.12@trixie"}

# All that docs/kernels.md promises; 'ci/matrix' tries them.
TRIED = ("6.1", "6.1-rt", "6.12", "6.12-rt", "6.12-cloud", "6.12.107", "6.12@trixie", "7.2",
         "7.2@testing", "7.2-rt@testing", "7.3", "7.3-rt", "7.3-cloud")

# Debian's kernels: a series or one version of it, a flavour, and a release.
DEBIAN = re.compile(r"(?P<version>\d+\.\d+(\.\d+(-\d+)?)?)(-(?P<flavour>rt|cloud))?"
                    r"(@(?P<release>[a-z]+(-[a-z]+)*))?")
GRAMMAR = ("SERIES[.POINT][-rt|-cloud][@RELEASE] for one of Debian's, like 6.12, 7.3-rt, 6.12.95, "
           "6.1.0-47 or 6.12-cloud@trixie")

# The series of which oldest() tells.
SERIES = ("6.1", "6.12", "6.12@trixie", "7.2", "7.3")

# name: (source package, configuration fragments in ci/kernels)
BUILT = {
    "base": ("linux-source-6.12", ("base",)),
    "debug": ("linux-source-6.12", ("base", "debug")),
    "kcsan": ("linux-source-6.12", ("base", "kcsan")),
    "debug-6.1": ("linux-source-6.1", ("base", "debug")),
    "debug-rt": ("linux-source-6.12", ("base", "debug", "rt")),
}

# Modules that a guest without hardware never loads: three quarters of the package.
UNUSED = [f"*/kernel/{part}" for part in (
    "drivers/gpu", "drivers/media", "drivers/net/ethernet", "drivers/net/wireless",
    "drivers/infiniband", "drivers/scsi", "drivers/iio", "drivers/usb", "drivers/hwmon",
    "drivers/input", "drivers/staging", "drivers/platform", "drivers/mfd", "sound")]
UNUSED += ["*/usr/share/doc"]


def names():
    return [*USUAL, *BUILT]


def own():
    """The kernel that this host can build a module for with the least that has to be fetched."""
    try:
        with open("/etc/os-release", encoding="utf-8") as handle:
            version = re.search(r'^VERSION_ID="?(\w+)', handle.read(), re.MULTILINE)
    except OSError:
        version = None
    return OWN.get(version[1] if version else None, USUAL[0])


def known(name):
    """Whether there may be such a kernel."""
    return name in BUILT or DEBIAN.fullmatch(name) is not None


def folder(name, update=False):
    """The folder of a kernel; fetches or builds it when the cache has none."""
    if os.path.isdir(name) and os.path.exists(os.path.join(name, "boot.elf")):
        return os.path.abspath(name)
    if not known(name):
        raise cache.Failure(f"no kernel '{name}': there are {', '.join(BUILT)}, {GRAMMAR}, "
                            "or the path of a folder like those that 'ci/kernel path' prints")
    found = None if update else cached(name)
    if not found:
        with cache.lock(f"kernel-{name}"):
            found = None if update else cached(name)
            if not found:
                found = _build(name) if name in BUILT else _fetch(name, update)
    if compiler(found):
        compilers.ensure(*compiler(found))
    return found


def cached(name):
    """The newest folder of a kernel in the cache, or None."""
    prefix = f"{name}_{_recipe(name)}" if name in BUILT else name
    found = glob.glob(os.path.join(_base(), glob.escape(prefix) + "_*"))
    return max(found, key=os.path.getmtime) if found else None


def others():
    """The kernels in the cache that were asked for beside the usual ones."""
    found = {os.path.basename(path).split("_")[0] for path in glob.glob(_base() + "/*")}
    return sorted(name for name in found if DEBIAN.fullmatch(name) and name not in USUAL)


def stale():
    """The folders that no name leads to any more. One point release stays: the archive may have
    lost it."""
    used = {cached(name) for name in [*names(), *others()]}
    return [path for path in sorted(glob.glob(_base() + "/*")) if path not in used]


def compiler(path):
    """(release, major version of gcc) of a kernel, None for those that the host has built."""
    file = os.path.join(path, "compiler")
    if not os.path.exists(file):
        return None
    with open(file, encoding="ascii") as handle:
        return tuple(handle.read().split())


def compilers_wanted():
    """The folders of compilers that kernels of the cache may need."""
    found = [compiler(path) for path in glob.glob(_base() + "/*")]
    return {compilers.name(*each) for each in found if each}


def release(path):
    with open(os.path.join(path, "release"), encoding="ascii") as handle:
        return handle.read().strip()


def _base():
    path = os.path.join(cache.root(), "kernels")
    os.makedirs(path, exist_ok=True)
    return path


def _recipe(name):
    return kbuild.recipe(BUILT[name][1])


def _fetch(name, update):
    cache.need("apt-get", "apt-cache", "dpkg-deb", "depmod", "zstd", "xz")
    with cache.scratch(f"kernel-{name}") as work:
        debs, out = os.path.join(work, "debs"), os.path.join(work, "out")
        os.makedirs(debs)
        apt.merged_root(out)
        origin, rel = _download(name, debs, update)
        final = os.path.join(_base(), f"{name}_{rel}")
        apt.unpack(debs, out, UNUSED)
        # Backports are built by the compiler of the release that they are for.
        base, major = origin.name.removesuffix("-backports"), _gcc_of(out, rel)
        _tidy_headers(out, rel, f"{cache.root()}/compilers/{compilers.name(base, major)}", final,
                      major)
        if compilers.foreign(f"{out}/usr/lib"):
            compilers.wrap(f"{out}/usr/lib", compilers.ensure(base, major, libraries=True),
                           f"{final}/usr/lib")
        for file in ("vmlinuz", "config", "System.map"):
            # Since 7.2 they lie beside the modules.
            old = f"{out}/boot/{file}-{rel}"
            os.rename(old if os.path.exists(old) else f"{out}/usr/lib/modules/{rel}/{file}",
                      f"{out}/{file}")
        os.symlink(f"usr/lib/modules/{rel}", f"{out}/modules")
        cache.run([cache.find_program("depmod"), "-b", out, rel])
        with open(f"{out}/compiler", "w", encoding="ascii") as handle:
            handle.write(f"{base} {major}\n")
        _finish(out, rel)
        return _publish(out, os.path.basename(final))


def _download(name, folder, update):
    """Fetches the packages of a kernel; returns its release and what uname -r says in it."""
    for newest in (False, True):
        origin, rel = _find(name, update or newest)
        cache.say(f"fetching the Debian kernel {rel} of {origin} into {_base()} (about 120 MB, "
                  "once)")
        # A list that is some days old may name what the archive has no more.
        if origin.download(_packages(origin, rel), folder):
            return origin, rel
    raise cache.Failure(f"cannot download the kernel {rel}:\n{origin.said}\n"
                        "The network is needed once; after that the cache serves.")


def oldest():
    """The names of the oldest kernels of each series that the archive still has, where that is not
    the newest one, too."""
    found = []
    for name in SERIES:
        origin = _find(name, update=True)[0]
        # A package that stands for the newest one has no point.
        points = [point[0] for rel in _releases(name, origin)
                  if (point := re.match(r"\d+\.\d+\.\d+(-\d+)?", rel))]
        if points[0] != points[-1]:
            found.append(points[0] + "@trixie" * name.endswith("@trixie"))
    return found


def _find(name, update=False):
    """The release that has a kernel, and what uname -r says in the newest such kernel there."""
    wanted = DEBIAN.fullmatch(name)
    origins = [apt.release(each)
               for each in ([wanted["release"]] if wanted["release"] else RELEASES)]
    for newest in ((True,) if update else (False, True)):
        for origin in origins:
            if newest:
                origin.update()
            if found := _releases(name, origin):
                return origin, found[-1]
    where = wanted["release"] or ", ".join(RELEASES)
    raise cache.Failure(f"no kernel {name} in {where}: the archive keeps a point release for some "
                        "weeks only, "
                        "and a series until the next one")


def _releases(name, origin):
    """What uname -r says in the kernels of that name that a release has, the oldest first."""
    wanted = DEBIAN.fullmatch(name)
    flavour = f"-{wanted['flavour']}" if wanted["flavour"] else ""
    # 6.1.0-56-amd64, 6.12.117+deb12-rt-amd64, 6.12.90+deb13.1-amd64
    more = r"(\.\d+)?" if wanted["version"].count(".") == 1 else ""
    pattern = (rf"{re.escape(wanted['version'])}{more}(\+[a-z]+\d+(\.\d+)?|\+bpo|-\d+)*"
               rf"{flavour}-amd64")
    # An archive may have lost the headers of an image that it still has.
    images, headers = ({name.removeprefix(prefix)
                        for name in origin.packages(prefix, prefix + pattern)}
                       for prefix in ("linux-image-", "linux-headers-"))
    return sorted(images & headers, key=lambda rel: _order(rel.removesuffix(f"{flavour}-amd64")))


def _order(version):
    """Compares versions by their numbers."""
    return [int(number) for number in re.findall(r"\d+", version)]


def _packages(origin, rel):
    """The packages that make a kernel's folder."""
    found, pending = [], [f"linux-image-{rel}", f"linux-headers-{rel}"]
    while pending:
        package = pending.pop()
        if package not in found:
            found.append(package)
            pending += [other for other in origin.depends(package)
                        if re.fullmatch(r"linux-(base|binary|modules|headers|kbuild)-\d.*", other)]
    return found


def _gcc_of(out, rel):
    """The major version of the gcc that the headers name."""
    with open(f"{out}/usr/src/linux-headers-{rel}/.kernelvariables", encoding="ascii") as handle:
        return re.search(r"gcc-(\d+)", handle.read()).group(1)


MAKEFILE = """\
here := $(dir $(realpath $(lastword $(MAKEFILE_LIST))))
# The kernel's own compiler, from the cache where the host has none.
ifeq ($(and $(shell command -v {prefix}gcc-{major}),$(shell command -v {prefix}g++-{major})),)
export PATH := $(here){compilers}/launchers:$(PATH)
endif
{output}include $(here)../{common}/Makefile
"""
# Since 6.13 a build asks for the folder of the configuration.
OUTPUT = "KBUILD_OUTPUT := $(patsubst %/,%,$(here))\n"


def _tidy_headers(out, rel, compiler_folder, final, major):
    """Debian's header packages name each other by absolute path; make that relative."""
    src = f"{out}/usr/src/linux-headers-{rel}"
    with open(f"{src}/Makefile", encoding="ascii") as handle:
        text = handle.read()
    common = re.search(r"/usr/src/([^/\s]+)/Makefile", text).group(1)
    with open(f"{src}/Makefile", "w", encoding="ascii") as handle:
        handle.write(MAKEFILE.format(
            prefix=compilers.PREFIX, major=major, common=common, output=OUTPUT
            if "KBUILD_OUTPUT" in text else "",
            compilers=os.path.relpath(compiler_folder, f"{final}/usr/src/linux-headers-{rel}")))
    # It is there only to make BTF of, which needs a pahole that understands our C++.
    if os.path.exists(f"{src}/vmlinux"):
        os.unlink(f"{src}/vmlinux")
    os.symlink(f"usr/src/linux-headers-{rel}", f"{out}/build")
    for link, target in (("build", f"linux-headers-{rel}"), ("source", common)):
        path = f"{out}/usr/lib/modules/{rel}/{link}"
        if os.path.islink(path):
            os.unlink(path)
            os.symlink(f"../../../src/{target}", path)


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
