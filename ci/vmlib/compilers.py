# SPDX-License-Identifier: GPL-2.0
"""The compiler of a kernel.

A module has to be built by the gcc that its kernel was built by: the headers ask that one for its
features, and depend on it by its major version. The host's is taken where it has gcc and g++ of
that version. Otherwise both come from the kernel's release, with binutils and the shared libraries
that they want, into the cache; nothing is installed.
"""

import os
import re
import shutil
import subprocess

from . import apt, cache

PREFIX = "x86_64-linux-gnu-"

# What compiling for a kernel does without: libraries to link programs with, and run times of
# sanitizers.
UNUSED_PACKAGE = re.compile(
    r".*-dev$|.*-dev-bin$|rpcsvc-proto|lib(gprofng|cc1-|gomp|itm|atomic|asan|lsan|tsan|ubsan|hwasan|quadmath|c-gconv).*")
UNUSED = ("*/usr/share", "*/lto1", "*/lto-dump*", "*/gconv", "*/usr/include", "*/usr/sbin")

# A program of another release, by the loader and the libraries that came with it.
WRAPPER = """\
#!/bin/sh
here=${{0%/*}}
libraries="$here/{root}/lib/x86_64-linux-gnu"
exec "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" --argv0 "$0" \\
	"$here/{name}" "$@"
"""
# gcc finds the rest of itself beside the name that it is called by.
LAUNCHER = '#!/bin/sh\nexec "${{0%/*}}/../usr/bin/{name}" "$@"\n'


def on_host(major):
    """Whether the host has this gcc, and the g++ beside it."""
    return all(cache.find_program(f"{PREFIX}{program}-{major}") for program in ("gcc", "g++"))


def name(release, major):
    return f"gcc-{major}_{release}"


def root():
    return os.path.join(cache.root(), "compilers")


def ensure(release, major, libraries=False):
    """Fetches the compiler of a kernel of `release` where the host has none; returns its folder.

    `libraries` are wanted where programs of that release do not run here.
    """
    final = os.path.join(root(), name(release, major))
    if os.path.isdir(final) or (on_host(major) and not libraries):
        return final
    with cache.lock(f"compiler-{name(release, major)}"):
        if not os.path.isdir(final):
            _fetch(apt.release(release), major, final)
    return final


def _fetch(release, major, final):
    cache.say(f"fetching gcc {major} of {release}, which its kernels are built by, into {root()} "
              "(about 60 MB, once)")
    os.makedirs(root(), exist_ok=True)
    with cache.scratch("compiler") as work:
        debs, out = os.path.join(work, "debs"), os.path.join(work, "out")
        os.makedirs(debs)
        apt.merged_root(out)
        # What kbuild's own programs are linked with comes along.
        wanted = release.closure([f"gcc-{major}", f"g++-{major}", "binutils", "libelf-dev",
                                  "libssl-dev"])
        release.fetch([package for package in wanted if not UNUSED_PACKAGE.match(package)], debs)
        apt.unpack(debs, out, UNUSED)
        wrap(out, final, final)
        _launchers(out)
        os.rename(out, final)


def _launchers(out):
    """A folder for PATH with the names that kbuild calls."""
    os.makedirs(f"{out}/launchers")
    for program in os.listdir(f"{out}/usr/bin"):
        if program.startswith(PREFIX) and not program.endswith(".real"):
            for link in {program, program.removeprefix(PREFIX)}:
                _script(f"{out}/launchers/{link}", LAUNCHER.format(name=program))


def wrap(folder, libraries, final):
    """Makes those programs under `folder` that do not run here run by the libraries of the compiler
    in `libraries`.

    `final` is where the folder will be.
    """
    for path in foreign(folder):
        place = os.path.join(final, os.path.relpath(os.path.dirname(path), folder))
        os.rename(path, f"{path}.real")
        _script(path, WRAPPER.format(root=os.path.relpath(libraries, place),
                                     name=os.path.basename(path) + ".real"))


def foreign(folder):
    """The programs under `folder` that the host cannot run."""
    return [path for path in _programs(folder) if not runs_here(path)]


def _script(path, text):
    with open(path, "w", encoding="ascii") as handle:
        handle.write(text)
    os.chmod(path, 0o755)


def _programs(folder):
    """The programs for this processor that a folder has, without shared libraries."""
    found = []
    for place, _, files in os.walk(folder):
        for file in files:
            path = os.path.join(place, file)
            if os.access(path, os.X_OK) and not os.path.islink(path) and ".so" not in file \
                    and not file.endswith(".real") and _is_elf(path):
                found.append(path)
    return found


def _is_elf(path):
    with open(path, "rb") as handle:
        return handle.read(4) == b"\x7fELF"


def runs_here(path):
    """Whether the host has the libraries that a program wants, and not too old ones."""
    done = subprocess.run(["ldd", path], text=True, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return "not found" not in done.stdout


def prune(used):
    """The compilers that no kernel of the cache needs: deletes and names them."""
    for entry in sorted(os.listdir(root()) if os.path.isdir(root()) else []):
        if entry not in used:
            shutil.rmtree(os.path.join(root(), entry))
            yield os.path.join(root(), entry)
