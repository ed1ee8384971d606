# SPDX-License-Identifier: GPL-2.0
"""Debian packages of any release: resolved, downloaded and unpacked, never installed.

Each release has package lists of its own in the cache, which apt is pointed at; the host's lists
and sources stay as they are, and no root is needed. The mirror is that of the host's sources, with
the name of another release.
"""

import functools
import os
import re
import shutil
import subprocess
import time

from . import cache

# The environment's word goes before the host's sources; a host that is not Debian needs it.
MIRROR = "STM_DEBIAN_MIRROR"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DAY = 86400

CONFIG = """\
Dir::State::lists "{folder}/lists";
Dir::Cache "{folder}/cache";
Dir::Etc::sourcelist "{folder}/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::status "/dev/null";
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "{user}";
Acquire::GzipIndexes "true";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


class Release:
    """What one release of Debian has: 'bookworm', 'trixie-backports', 'testing', …"""

    def __init__(self, name, architecture):
        self.name = name
        self._architecture = architecture
        self._folder = os.path.join(cache.root(), "apt", name if architecture == "amd64"
                                    else f"{name}-{architecture}")
        self._updated = False
        self.said = ""

    def __str__(self):
        return self.name

    def packages(self, prefix, pattern):
        """The names that begin with `prefix` and match `pattern`."""
        self._prepare()
        found = self._ask("apt-cache", "pkgnames", prefix).split()
        return [name for name in found if re.fullmatch(pattern, name)]

    def depends(self, package):
        """The packages that `package` depends on."""
        self._prepare()
        return re.findall(r"Depends: <?([^\s>]+)", self._ask("apt-cache", "depends", package))

    def version(self, package):
        """The version that apt would download, or None."""
        self._prepare()
        found = re.search(r"Candidate: (\S+)", self._ask("apt-cache", "policy", package))
        return found.group(1) if found and found.group(1) != "(none)" else None

    def closure(self, packages):
        """`packages` and all that they need on a machine where nothing is installed."""
        self._prepare()
        said = self._ask("apt-get", "install", "--simulate", "--no-install-recommends", *packages)
        found = re.findall(r"^Inst (\S+)", said, re.MULTILINE)
        if not found:
            raise cache.Failure(f"apt cannot resolve {', '.join(packages)} in {self}")
        return found

    def download(self, packages, folder):
        """Fetches into `folder`; whether all of them were to be had."""
        done = self._run(["apt-get", "download", "-qq", *packages], cwd=folder)
        self.said = done.stdout.strip()
        return done.returncode == 0

    def fetch(self, packages, folder):
        """The same, with newer lists if it fails: an old list names what the archive has no
        more."""
        if not self.download(packages, folder):
            self.update()
            if not self.download(packages, folder):
                raise cache.Failure(f"cannot download {', '.join(packages)}:\n{self.said}\n"
                                    "The network is needed once; after that the cache serves.")

    def update(self):
        """Refreshes the lists, once per process."""
        if self._updated:
            return
        self._updated = True
        self._prepare(update=False)
        with cache.lock(f"apt-{os.path.basename(self._folder)}"), \
                cache.progress(f"refreshing the package lists of {self}"):
            done = self._run(["apt-get", "update", "-qq"])
        if done.returncode:
            cache.say(f"'apt-get update' failed for {self}; going on with the lists there are:\n"
                      f"{done.stdout.strip()}")
        else:
            with open(os.path.join(self._folder, "updated"), "w", encoding="ascii"):
                pass

    def _prepare(self, update=True):
        """Has lists, at most a day old; without a network old ones will do."""
        cache.need("apt-get", "apt-cache", "dpkg-deb")
        for part in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(self._folder, part), exist_ok=True)
        user = "root" if os.geteuid() == 0 else ""
        _write(f"{self._folder}/debian.sources", sources(self.name))
        _write(f"{self._folder}/apt.conf", CONFIG.format(
            folder=self._folder, user=user, architecture=self._architecture))
        stamp = os.path.join(self._folder, "updated")
        if update and (not os.path.exists(stamp) or time.time() - os.path.getmtime(stamp) > DAY):
            self.update()

    def _run(self, command, **kwargs):
        command = [command[0], "-c", f"{self._folder}/apt.conf", *command[1:]]
        return subprocess.run(command, text=True, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=dict(os.environ, LC_ALL="C"), **kwargs)

    def _ask(self, *command):
        return self._run(list(command)).stdout


@functools.lru_cache(maxsize=None)
def release(name, architecture="amd64"):
    """One object for each release, which refreshes its lists once."""
    return Release(name, architecture)


def sources(name):
    """The text of a sources file for a release."""
    main, security = mirrors()
    plain = not re.search(r"-|^(sid|unstable|experimental)$", name)
    text = _entry(main, [name, f"{name}-updates"] if plain and name != "testing" else [name])
    if plain and security:
        text += "\n" + _entry(security, [f"{name}-security"])
    return text


def _entry(mirror, suites):
    signed = f"Signed-By: {KEYRING}\n" if os.path.exists(KEYRING) else ""
    return f"Types: deb\nURIs: {mirror}\nSuites: {' '.join(suites)}\nComponents: main\n{signed}"


@functools.lru_cache(maxsize=None)
def mirrors():
    """(archive, archive of security updates or None), from the environment or the host's
    sources."""
    given = os.environ.get(MIRROR)
    if given:
        return given, _security_of(given)
    done = subprocess.run(
        ["apt-get", "indextargets", "--format",
         "$(RELEASE) $(REPO_URI) $(COMPONENT) $(ORIGIN)", "Created-By: Packages"],
        text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return choose_mirrors(done.stdout.splitlines())


def choose_mirrors(targets):
    """Those of lines 'RELEASE URI COMPONENT [ORIGIN]', as apt tells of the host's sources.

    The origin is known only where lists have been fetched; on a machine without any the names of
    releases have to do.
    """
    main = security = None
    for line in targets:
        suite, uri, component, *origin = line.split()
        if component != "main" or uri.startswith("cdrom:") or (origin and origin[0] != "Debian"):
            continue
        if re.fullmatch(r"[a-z]+-security|[a-z]+/updates", suite):
            security = security or uri
        elif origin or re.fullmatch(r"(old){0,2}stable|testing|unstable|sid|bookworm|trixie|forky",
                                    suite):
            main = main or uri
    if not main:
        raise cache.Failure("this host's apt has no archive of Debian; name one in the "
                            "environment: "
                            f"{MIRROR}=URI, as in a line of sources.list")
    return main, security or _security_of(main)


def _security_of(main):
    """Debian's mirrors have the two side by side."""
    bare = main.rstrip("/")
    return bare + "-security" if bare.endswith("/debian") else None


def _write(path, text):
    """In one step, and only when it is another: others may read it."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as handle:
            if handle.read() == text:
                return
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as handle:
        handle.write(text)
    os.rename(temporary, path)


def unpack(folder, into, exclude=()):
    """Unpacks every package of `folder` and deletes it."""
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".deb"):
            continue
        path = os.path.join(folder, name)
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path],
                              stdout=subprocess.PIPE) as source:
            # A folder may be a link there, as /lib is one to /usr/lib.
            tar = subprocess.run(
                ["tar", "-x", "-C", into, "--no-same-owner", "--keep-directory-symlink",
                 *(f"--exclude={pattern}" for pattern in exclude)],
                stdin=source.stdout, check=False)
        if source.returncode or tar.returncode:
            raise cache.Failure(f"cannot unpack {name}")
        os.unlink(path)


def merged_root(into):
    """An empty folder to unpack packages in, which may have their files in /lib or in /usr/lib."""
    shutil.rmtree(into, ignore_errors=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        os.makedirs(os.path.join(into, "usr", name))
        os.symlink(f"usr/{name}", os.path.join(into, name))
