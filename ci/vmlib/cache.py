# SPDX-License-Identifier: GPL-2.0
"""The cache folder, its locks, and the words we say while work takes time."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

REPO = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
CI = os.path.join(REPO, "ci")

quiet = False


class Failure(Exception):
    """Something the user can act on; printed without a traceback."""


def say(text):
    if not quiet:
        sys.stderr.write(f"{os.path.basename(sys.argv[0])}: {text}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def progress(text, after=2.0):
    """Says `text` only when the body takes longer than `after` seconds."""
    timer = threading.Timer(after, say, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def root():
    """The cache, which outlives the clone."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(
        os.path.expanduser("~"), ".cache")
    path = os.path.join(base, "stm")
    os.makedirs(path, exist_ok=True)
    return path


@contextlib.contextmanager
def lock(name):
    """One process at a time; the kernel drops the lock if we die."""
    folder = os.path.join(root(), "locks")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w", encoding="ascii") as handle:
        with progress(f"waiting for another process that prepares {name}"):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def scratch(purpose):
    """A folder beside the cache's own, so that its content can be renamed into place."""
    folder = os.path.join(root(), "tmp")
    os.makedirs(folder, exist_ok=True)
    _sweep(folder)
    path = tempfile.mkdtemp(prefix=purpose + ".", dir=folder)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _sweep(folder, age=86400):
    """What a killed process left behind goes a day later."""
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):
            if time.time() - entry.stat().st_mtime > age:
                shutil.rmtree(entry.path, ignore_errors=True)


def need(*programs):
    """Fails with the remedy when a host program is missing."""
    missing = [p for p in programs if not find_program(p)]
    if missing:
        raise Failure(f"missing: {', '.join(missing)} - run 'make deps' "
                      "(the packages are listed in ci/packages.txt)")


def find_program(name):
    # sbin is not on every user's PATH, and depmod lives there.
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(name, path=path)


def run(command, **kwargs):
    """A host command whose output matters only when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **kwargs)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-20:])
        raise Failure(f"'{' '.join(command)}' failed:\n{tail}")
    return done.stdout
