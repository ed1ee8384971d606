# SPDX-License-Identifier: GPL-2.0
"""Debian packages: resolved, downloaded and unpacked, never installed."""

import functools
import os
import re
import subprocess

from . import cache


def dependency(package, pattern):
    """The package that `package` depends on and that matches `pattern`."""
    for attempt in (1, 2):
        out = subprocess.run(["apt-cache", "depends", package], text=True, check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        for name in re.findall(r"Depends: <?([^\s>]+)", out):
            if re.fullmatch(pattern, name):
                return name
        if attempt == 1:
            update()
    raise cache.Failure(f"apt knows no package '{package}' (or it depends on nothing like "
                        f"'{pattern}'): check the lines in /etc/apt/sources.list, then "
                        "run 'apt-get update'")


def package(pattern):
    """The package whose name matches `pattern`."""
    prefix = re.match(r"[\w-]*", pattern).group()
    for attempt in (1, 2):
        out = subprocess.run(["apt-cache", "pkgnames", prefix], text=True, check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        found = [name for name in out.split() if re.fullmatch(pattern, name) and version(name)]
        if found:
            return min(found)
        if attempt == 1:
            update()
    raise cache.Failure(f"apt knows no package like '{pattern}': the archive keeps a point release "
                        "for some weeks only")


def version(name):
    """The version that apt would download, or None."""
    out = subprocess.run(["apt-cache", "policy", name], text=True, check=False,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    found = re.search(r"Candidate: (\S+)", out)
    return found.group(1) if found and found.group(1) != "(none)" else None


@functools.lru_cache(maxsize=None)
def update():
    """Refreshes the lists, once per process."""
    command = ["apt-get", "update", "-qq"]
    if os.geteuid() != 0:
        command = ["sudo", "-n"] + command
    with cache.progress("refreshing the package lists"):
        done = subprocess.run(command, text=True, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        cache.say("'apt-get update' failed; going on with the lists there are")


def download(packages, folder):
    """Fetches into `folder`; a stale list answers 404, so try again after an update."""
    command = ["apt-get", "download", "-qq", *packages]
    for attempt in (1, 2):
        done = subprocess.run(command, cwd=folder, text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode == 0:
            return
        if attempt == 1:
            update()
    raise cache.Failure(f"cannot download {', '.join(packages)}:\n{done.stdout.strip()}\n"
                        "The network is needed once; after that the cache serves.")


def unpack(folder, into, exclude=()):
    """Unpacks every package of `folder` and deletes it."""
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".deb"):
            continue
        path = os.path.join(folder, name)
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path],
                              stdout=subprocess.PIPE) as source:
            tar = subprocess.run(
                ["tar", "-x", "-C", into, "--no-same-owner",
                 *(f"--exclude={pattern}" for pattern in exclude)],
                stdin=source.stdout, check=False)
        if source.returncode or tar.returncode:
            raise cache.Failure(f"cannot unpack {name}")
        os.unlink(path)
