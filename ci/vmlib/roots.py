# SPDX-License-Identifier: GPL-2.0
"""Roots of Debian's releases: made by debootstrap, kept in the cache, used through an overlay.

A root is a stack of layers, each a folder of `roots` in the cache:
  base       what debootstrap makes, with git and make: what is there before the sources are
  host       with what host code needs of ci/packages.txt
  packages   with all of it, as `make deps` installs them
  compilers  with the other compilers of that release
A base is named by the day, another layer by what it is made of. After a week there is a new base,
and so new layers. What a command writes goes to an overlay, which is thrown away.
"""

import contextlib
import datetime
import glob
import hashlib
import os
import re
import shutil
import subprocess
import time

from . import apt, cache

RELEASES = {"12": "bookworm", "13": "trixie", "testing": "testing"}
ENTER = os.path.join(cache.CI, "hosts", "enter")
HOME = "/root"  # of the user root, in each root
DAYS = 7
DAY = 86400

# What is in no minimal Debian and has to be there before the sources are.
BASE = ["git", "make"]

# The compilers that a release has beside its own: the oldest and the newest that the project knows.
# What clang links sanitized and fuzzed programs with is a package of its own.
COMPILERS = {
    "12": ["clang-19", "libclang-rt-19-dev"],
    "13": [],
    "testing": ["g++-12", "g++-14", "clang-22", "libclang-rt-22-dev"],
}

# The lines of the host's own way to the mirror: proxies, and how old a list may be.
WAY = re.compile(r"^Acquire::(Check-\S+|Retries|https?::\S+) \"[^\"]+\";$", re.MULTILINE)


def obstacle():
    """Why this machine cannot enter a root; empty if it can."""
    if os.geteuid() != 0:
        return "it needs root"
    with cache.scratch("root-trial") as folder:
        for name in ("lower", "upper", "work", "merged"):
            os.mkdir(os.path.join(folder, name))
        script = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged"
        done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "sh", "-c", script],
                              cwd=folder, check=False, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return "it needs namespaces and overlayfs" if done.returncode else ""


class Root:
    """One release, with the layers up to one of them."""

    def __init__(self, release, layers):
        self.release = release
        self._layers = layers  # folders, the lowest first

    @contextlib.contextmanager
    def use(self, purpose):
        """A machine of that release, for commands that may change it; gone at the end."""
        with cache.scratch(f"root-{self.release}-{purpose}") as folder:
            yield Machine(self._layers, folder)


class Machine:
    """A root that can be written to."""

    def __init__(self, layers, folder):
        self._layers = layers
        self._folder = folder
        self.written = os.path.join(folder, "upper")
        for name in ("upper", "work", "merged"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        # The network, as the host sees it.
        os.makedirs(os.path.join(self.written, "etc"), exist_ok=True)
        shutil.copy("/etc/resolv.conf", os.path.join(self.written, "etc"))

    def run(self, command, binds=(), env=None, **kwargs):
        """Runs a command there; `binds` are words 'FROM:TO' or 'FROM:TO:ro'."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        # Here, as the command that enters the root is the host's.
        words = ["env", "-i", f"PATH={path}", f"HOME={HOME}", "LANG=C.UTF-8",
                 "DEBIAN_FRONTEND=noninteractive",
                 *(f"{name}={value}" for name, value in (env or {}).items()), *command]
        return subprocess.run(
            # Ends with this program, however that ends.
            ["setpriv", "--pdeathsig", "KILL",
             "unshare", "--mount", "--pid", "--fork", "--kill-child", "--",
             ENTER, ":".join(reversed(self._layers)), self.written,
             os.path.join(self._folder, "work"), os.path.join(self._folder, "merged"),
             *binds, "--", *words],
            check=False, stdin=subprocess.DEVNULL, **kwargs)

    def prepare(self, what, command, **kwargs):
        """Runs a command that must succeed."""
        done = self.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                        **kwargs)
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-20:])
            raise cache.Failure(f"cannot {what}:\n{tail}")


def root(release, layer="base", fresh=False):
    """The root of a release; makes the layers that the cache has not."""
    if os.geteuid() != 0:
        raise cache.Failure("making and entering a root needs to be root: sudo ci/check-hosts …")
    cache.need("debootstrap", "setpriv", "unshare", "chroot", "apt-get")
    with cache.lock(f"root-{release}"):
        base = _base(release, fresh)
        layers = [base]
        if layer in ("host", "packages", "compilers"):
            layers.append(_packages(release, "host", layers, "--host"))
        if layer in ("packages", "compilers"):
            layers.append(_packages(release, "packages", layers))
        if layer == "compilers" and COMPILERS[release]:
            layers.append(_compilers(release, layers))
        return Root(release, layers)


def _folder():
    path = os.path.join(cache.root(), "roots")
    os.makedirs(path, exist_ok=True)
    return path


def _base(release, fresh):
    today = datetime.date.today()
    found = sorted(glob.glob(os.path.join(_folder(), f"{release}_base_*")))
    if found and not fresh:
        made = datetime.datetime.strptime(found[-1].rsplit("_", 1)[1], "%Y%m%d").date()
        if (today - made).days < DAYS:
            return found[-1]
    try:
        return _new_base(release, os.path.join(_folder(), f"{release}_base_{today:%Y%m%d}"))
    except cache.Failure as failure:
        if not found or fresh:
            raise
        cache.say(f"taking an old root of Debian {release}: {failure}")
        return found[-1]


def _new_base(release, final):
    cache.say(f"making a root of Debian {release} (about 400 MB, a minute)")
    with cache.scratch(f"root-{release}") as work:
        lowest = os.path.join(work, "lowest")
        cache.run([cache.find_program("debootstrap"), "--variant=minbase",
                   f"--include={','.join(BASE)}", RELEASES[release], lowest, apt.mirrors()[0]])
        os.unlink(os.path.join(lowest, "etc/apt/sources.list"))
        _write(f"{lowest}/etc/apt/sources.list.d/debian.sources",
               apt.sources(RELEASES[release]))
        _write(f"{lowest}/etc/apt/apt.conf.d/90host", _way_to_the_mirror())
        # No package starts its service.
        _write(f"{lowest}/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        _forget(release)
        os.rename(lowest, final)
    return final


def _packages(release, name, below, *words):
    """What ci/deps installs. What that says names the layer: no other change makes a new one."""
    script = f"/mnt/deps {' '.join(words)}"
    said = cache.run([os.path.join(cache.CI, "deps"), "--list", *words])
    binds = [f"{cache.CI}:/mnt:ro"]
    return _layer(release, name, _key(below[-1], script, said), below,
                  ["sh", "-c", f"{script} && apt-get clean"], binds)


def _compilers(release, layers):
    script = ("apt-get install -qq -y --no-install-recommends "
              f"{' '.join(COMPILERS[release])} && apt-get clean")
    return _layer(release, "compilers", _key(layers[-1], script), layers, ["sh", "-c", script])


def _layer(release, name, key, below, command, binds=()):
    final = os.path.join(_folder(), f"{release}_{name}_{key}")
    if not os.path.isdir(final):
        for path in glob.glob(os.path.join(_folder(), f"{release}_{name}_*")):
            if time.time() - os.stat(path).st_mtime > DAY:  # nothing has used it since
                shutil.rmtree(path)
        cache.say(f"installing {name} in the root of Debian {release}")
        with Root(release, below).use(name) as machine:
            machine.prepare(f"install {name} in the root of Debian {release}", command,
                            binds=binds)
            os.rename(machine.written, final)
    os.utime(final)
    return final


def _forget(release):
    """The layers of older bases go; nothing newer rests on them."""
    for path in glob.glob(os.path.join(_folder(), f"{release}_*_*")):
        shutil.rmtree(path)


def _key(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _way_to_the_mirror():
    done = subprocess.run(["apt-config", "dump", "Acquire"], text=True, check=False,
                          stdout=subprocess.PIPE)
    return "".join(match.group(0) + "\n" for match in WAY.finditer(done.stdout))


def _read(path):
    with open(path, encoding="utf-8") as handle:
        return handle.read()


def _write(path, text, mode=0o644):
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
    os.chmod(path, mode)
