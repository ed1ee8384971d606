# SPDX-License-Identifier: GPL-2.0
"""Builds the guest kernels that Debian does not ship, from Debian's source package."""

import glob
import hashlib
import os
import re
import shutil
import subprocess

from . import apt, cache

MINUTES = {"base": 4, "debug": 6, "kcsan": 4, "debug-6.1": 5, "debug-rt": 6}

# The release whose kernel sources these are, on any host.
SOURCES = "bookworm"

# What a module build reads of the source tree, and of the build folder.
SOURCE_PARTS = ("Makefile", "Kconfig", "include", "scripts", "arch/x86/include",
                "arch/x86/Makefile",
                "arch/x86/Makefile_32.cpu", "arch/x86/Makefile.um", "arch/x86/scripts",
                "tools/objtool", "tools/include", "tools/lib", "tools/build", "tools/scripts",
                "tools/arch/x86")
BUILD_PARTS = (".config", "Module.symvers", "include", "scripts", "arch/x86/include",
               "tools/objtool/objtool")

# A line of a fragment that says something, be it that a symbol is not set.
SYMBOL = re.compile(r"(?:# )?(CONFIG_\w+)(?:=| is not set)")


def recipe(fragments):
    """Names what goes into a build but for the version of the source."""
    digest = hashlib.sha256(compiler().encode())
    for line in _config(fragments):
        # A comment must not cost anybody a new kernel.
        if line.startswith("CONFIG_") or line.endswith("is not set"):
            digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:12]


def compiler():
    done = subprocess.run(["gcc", "--version"], text=True, check=False,
                          stdout=subprocess.PIPE)
    return done.stdout.splitlines()[0] if done.stdout else ""


def release(out):
    with open(f"{out}/build/include/config/kernel.release", encoding="ascii") as handle:
        return handle.read().strip()


def build(name, package, fragments, work, out):
    """Builds into `out`, a kernel's folder; returns the version of the source."""
    cache.need("gcc", "make", "flex", "bison", "bc", "cpio", "xz", "perl")
    origin = apt.release(SOURCES)
    version = origin.version(package)
    if not version:
        raise cache.Failure(f"{origin} has no package {package}")
    log = os.path.join(cache.root(), f"build-{name}.log")
    cache.say(f"building the {name} kernel, about {MINUTES[name]} minutes on two cores, once; "
              f"log in {log}")
    source, objects = os.path.join(work, "source"), os.path.join(work, "objects")
    _unpack_source(package, work, source)
    os.makedirs(objects)
    config = os.path.join(work, "fragment.config")
    with open(config, "w", encoding="ascii") as handle:
        handle.write("\n".join(_config(fragments)) + f'\nCONFIG_LOCALVERSION="-stm-{name}"\n')
    make = ["make", "-C", source, f"O={objects}", f"-j{os.cpu_count()}"]
    # Fixed texts in the image: two builds of the same thing then are the same.
    env = dict(os.environ, KBUILD_BUILD_TIMESTAMP="2024-01-01", KBUILD_BUILD_USER="stm",
               KBUILD_BUILD_HOST="stm", KBUILD_BUILD_VERSION="1", LC_ALL="C")
    for variable in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARCH", "CROSS_COMPILE"):
        env.pop(variable, None)
    with open(log, "w", encoding="utf-8") as handle:
        for step in (["-s", f"KCONFIG_ALLCONFIG={config}", "allnoconfig"],
                     ["bzImage", "vmlinux", "modules_prepare", "modules"]):
            done = subprocess.run(make + step, env=env, stdin=subprocess.DEVNULL,
                                  stdout=handle, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                raise cache.Failure(f"the {name} kernel does not build; see {log}")
    _check_config(name, config, os.path.join(objects, ".config"))
    _keep(source, objects, out)
    return re.sub(r"[^\w.+-]", "-", version)


def _config(fragments):
    """The lines of the fragments; what a later one says of a symbol counts."""
    lines = {}
    for fragment in fragments:
        with open(os.path.join(cache.CI, "kernels", fragment + ".config"),
                  encoding="ascii") as handle:
            for line in handle.read().splitlines():
                symbol = SYMBOL.match(line)
                lines[symbol.group(1) if symbol else line] = line
    return list(lines.values())


def _unpack_source(package, work, source):
    debs, unpacked = os.path.join(work, "debs"), os.path.join(work, "unpacked")
    for path in (debs, unpacked, source):
        os.makedirs(path)
    apt.release(SOURCES).fetch([package], debs)
    apt.unpack(debs, unpacked)
    tarball = glob.glob(f"{unpacked}/usr/src/linux-source-*.tar.xz")
    if not tarball:
        raise cache.Failure(f"no source in the package {package}")
    cache.run(["tar", "-x", "-f", tarball[0], "-C", source, "--strip-components=1",
               "--no-same-owner", "--exclude=linux-source-*/Documentation/*/*"])
    shutil.rmtree(unpacked)


def _check_config(name, wanted, got):
    """Says which symbols did not take: kconfig drops those with unmet needs silently."""
    with open(got, encoding="ascii") as handle:
        have = set(handle.read().splitlines())
    with open(wanted, encoding="ascii") as handle:
        lost = [line for line in handle.read().splitlines()
                if line.startswith("CONFIG_") and line not in have]
    if lost:
        cache.say(f"note: not to be had in the {name} kernel: {' '.join(lost)}")


def _keep(source, objects, out):
    shutil.copy(f"{objects}/arch/x86/boot/bzImage", f"{out}/vmlinuz")
    shutil.copy(f"{objects}/.config", f"{out}/config")
    for file in ("vmlinux", "System.map"):
        shutil.copy(f"{objects}/{file}", f"{out}/{file}")
    os.makedirs(f"{out}/modules")
    build_folder = f"{out}/build"
    for origin, parts in ((source, SOURCE_PARTS), (objects, BUILD_PARTS)):
        for part in parts:
            _copy(f"{origin}/{part}", f"{build_folder}/{part}")
    for makefile in glob.glob(f"{build_folder}/**/*.o", recursive=True):
        os.unlink(makefile)


def _copy(origin, target):
    if not os.path.lexists(origin):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(origin):
        shutil.copytree(origin, target, symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("dt-bindings"))
    else:
        shutil.copy2(origin, target)
