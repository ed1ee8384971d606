# SPDX-License-Identifier: GPL-2.0
"""The parts of ci/vm that need no guest."""

import gzip
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from unittest import mock

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "..", "tests", "guest"))
import load  # pylint: disable=wrong-import-position
from vmlib import apt, cache, channel, compilers, failures, initramfs, kbuild, kernels, roots


def test_frames_survive_any_cut():
    stream = channel.frame(channel.STDOUT, b"a\0b") + channel.frame(channel.EXIT, b"\1\0\0\0")
    whole = [(channel.STDOUT, b"a\0b"), (channel.EXIT, b"\1\0\0\0")]
    for cut in range(len(stream) + 1):
        parser = channel.Parser()
        assert [*parser.feed(stream[:cut]), *parser.feed(stream[cut:])] == whole


def test_cpio_is_what_cpio_reads():
    archive = initramfs.Archive()
    archive.file("a/b/file", b"content")
    archive.link("link", "a/b/file")
    archive.file("a/b/file", b"the first one stays")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cpio", "-idm", "--quiet"], input=archive.bytes(), cwd=folder, check=True)
        with open(f"{folder}/link", "rb") as handle:
            assert handle.read() == b"content"


def test_a_packed_program_brings_its_libraries():
    archive = initramfs.Archive()
    initramfs.add_program(archive, os.path.realpath(cache.find_program("sh")))
    names = archive.bytes()
    assert b"libc.so.6" in names and b"ld-linux" in names


def test_kernel_images_are_unpacked():
    elf = b"\x7fELF" + bytes(range(256)) * 10
    length = struct.pack("<I", len(elf))
    for packed in (gzip.compress(elf), lzma.compress(elf, check=lzma.CHECK_CRC32) + length,
                   subprocess.run(["zstd", "-qc"], input=elf, stdout=subprocess.PIPE,
                                  check=True).stdout + length):
        head = bytearray(1024)
        head[0x1f1] = 1
        head[0x202:0x206] = b"HdrS"
        struct.pack_into("<II", head, 0x248, 16, len(packed))
        assert kernels.unpack_image(bytes(head) + bytes(16) + packed) == elf


def test_an_unknown_kernel_is_refused_with_the_names_of_the_known():
    for name in ("7", "6", "6.12.", "6.12.1x", "../6.12.1", "6.12.1/..", "6.12.1\n", "7.3-fast",
                 "7.3-rt-cloud", "7.3@",
                 "7.3@trixie/x", "7.3@a b", "@trixie"):
        try:
            kernels.folder(name)
        except cache.Failure as failure:
            assert "6.12" in str(failure) and "debug" in str(failure)
        else:
            raise AssertionError(f"{name} is taken")


def test_an_exact_version_is_a_name_of_a_kernel():
    for name in ("6.12.117", "6.12", "6.1.0-47", "6.1.0-47-rt", "debug", "7.3", "7.3-rt",
                 "6.12-cloud@trixie",
                 "6.12.95-rt@trixie-backports"):
        assert kernels.known(name), name
    with tempfile.TemporaryDirectory() as folder, \
            mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}):
        for name in ("6.12.1_6.12.1+deb12-amd64", "6.12_6.12.1+deb12-amd64", "no_such"):
            os.makedirs(f"{folder}/stm/kernels/{name}")
        assert kernels.folder("6.12.1") == f"{folder}/stm/kernels/6.12.1_6.12.1+deb12-amd64"
        assert kernels.folder("6.12") == f"{folder}/stm/kernels/6.12_6.12.1+deb12-amd64"
        # The archive may have lost it.
        assert kernels.stale() == [f"{folder}/stm/kernels/no_such"]


class Archive:
    """A release with images of these kernels, and the headers of all but those in brackets."""

    def __init__(self, name, *kernels_there):
        self.name, self.updates = name, 0
        self._names = [f"linux-image-{each.strip('()')}" for each in kernels_there]
        self._names += [f"linux-headers-{each}" for each in kernels_there
                        if not each.startswith("(")]

    def packages(self, prefix, pattern):
        return [name for name in self._names if name.startswith(prefix)
                and re.fullmatch(pattern, name)]

    def update(self):
        self.updates += 1


def test_of_a_symbol_the_last_fragment_counts():
    # pylint: disable=protected-access
    lines = kbuild._config(("base", "debug", "rt"))
    assert "CONFIG_PREEMPT_RT=y" in lines and "CONFIG_KASAN=y" in lines
    assert "# CONFIG_PREEMPT_DYNAMIC is not set" in lines
    assert "CONFIG_PREEMPT_DYNAMIC=y" not in lines
    assert "CONFIG_PREEMPT_DYNAMIC=y" in kbuild._config(("base", "debug"))


def found(name, *archives):
    """'RELEASE uname -r' of what a name leads to."""
    by_name = {each.name: each for each in archives}
    with mock.patch.object(kernels, "RELEASES", tuple(by_name)), \
            mock.patch.object(kernels.apt, "release", by_name.__getitem__):
        origin, release = kernels._find(name)  # pylint: disable=protected-access
    return f"{origin.name} {release}"


def test_the_oldest_kernels_are_those_that_can_still_be_fetched():
    archives = [Archive("bookworm", "6.1.0-9-amd64", "6.1.0-56-amd64", "6.12-amd64",
                        "(6.12.95+deb12-amd64)", "6.12.107+deb12-amd64", "6.12.117+deb12-amd64"),
                Archive("trixie", "6.12.90+deb13-amd64", "6.12.90+deb13.1-amd64",
                        "6.12.118+deb13-amd64"),
                Archive("trixie-backports", "7.2.6+deb13-amd64", "7.2.12+deb13-amd64",
                        "7.3.4+deb13-amd64")]
    by_name = {each.name: each for each in archives}
    with mock.patch.object(kernels, "RELEASES", tuple(by_name)), \
            mock.patch.object(kernels.apt, "release", by_name.__getitem__):
        assert kernels.oldest() == ["6.1.0-9", "6.12.107", "6.12.90@trixie", "7.2.6"]
    assert all(kernels.known(name) for name in ("6.1.0-9", "6.12.90@trixie"))


def test_a_kernel_is_the_newest_of_its_series_in_the_first_release_that_has_it():
    old = Archive("old", "6.1.0-9-amd64", "6.1.0-56-amd64", "6.1.0-57-rt-amd64",
                  "6.12.9+deb12-amd64",
                  "6.12.117+deb12-amd64", "6.12.117+deb12-cloud-amd64",
                  "6.12.118+deb12-amd64-unsigned", "6.12-amd64",
                  "amd64", "6.12.119+deb12-amd64-dbg", "(6.12.120+deb12-amd64)")
    new = Archive("new", "6.12.118+deb13-amd64", "6.12.90+deb13-amd64", "6.12.90+deb13.1-amd64",
                  "7.3.4+deb13-rt-amd64")
    for name, expected in (
            ("6.1", "old 6.1.0-56-amd64"), ("6.1-rt", "old 6.1.0-57-rt-amd64"),
            ("6.12", "old 6.12.117+deb12-amd64"),
            ("6.12-cloud", "old 6.12.117+deb12-cloud-amd64"),
            ("6.12@new", "new 6.12.118+deb13-amd64"),
            ("6.12.90", "new 6.12.90+deb13.1-amd64"), ("6.12.9", "old 6.12.9+deb12-amd64"),
            ("7.3-rt", "new 7.3.4+deb13-rt-amd64")):
        assert found(name, old, new) == expected, name


def test_a_kernel_that_no_release_has_is_looked_for_in_new_lists_once():
    archive = Archive("old", "6.12.117+deb12-amd64")
    try:
        found("7.3", archive)
    except cache.Failure as failure:
        assert "7.3" in str(failure) and "old" in str(failure)
    else:
        raise AssertionError("found")
    assert archive.updates == 1


def test_the_mirror_is_that_of_the_hosts_sources():
    others = ["nodistro https://other/x/ main Other", "bookworm cdrom:/x/ main Debian",
              "bookworm http://other/y/ main Other"]
    for lines, expected in (
            (["bookworm http://mirror/debian/ main Debian",
              "bookworm-security http://safe/ main Debian"],
             ("http://mirror/debian/", "http://safe/")),
            # No lists were fetched yet.
            (["trixie http://mirror/debian/ main "],
             ("http://mirror/debian/", "http://mirror/debian-security")),
            (["stable http://mirror/else/ main "], ("http://mirror/else/", None))):
        assert apt.choose_mirrors(others + lines) == expected
    try:
        apt.choose_mirrors(["noble http://other/ubuntu/ main Ubuntu"])
    except cache.Failure as failure:
        assert "STM_DEBIAN_MIRROR" in str(failure)
    else:
        raise AssertionError("taken")


def test_the_sources_of_a_release_have_its_updates():
    with mock.patch.object(apt, "mirrors", lambda: ("http://m/debian", "http://s/debian-security")):
        assert "Suites: trixie trixie-updates\n" in apt.sources("trixie")
        assert "Suites: trixie-security\n" in apt.sources("trixie")
        assert "Suites: trixie-backports\n" in apt.sources("trixie-backports")
        assert "updates" not in apt.sources("testing")
        assert "Suites: testing-security\n" in apt.sources("testing")
        for name in ("trixie-backports", "sid"):
            assert "updates" not in apt.sources(name) and "-security" not in apt.sources(name), name


def test_an_old_root_serves_where_no_new_one_can_be_made():
    def no_network(_release, _final):
        raise cache.Failure("no network")

    with tempfile.TemporaryDirectory(prefix="stm-test.") as folder, \
            mock.patch.object(cache, "root", lambda: folder), \
            mock.patch.object(roots, "_new_base", no_network), \
            mock.patch.object(cache, "quiet", True):
        old = os.path.join(folder, "roots", "13_base_20260101")
        for fresh, expected in ((False, None), (False, old), (True, None)):
            if expected:
                os.makedirs(old)
            try:
                found = roots._base("13", fresh)  # pylint: disable=protected-access
            except cache.Failure:
                found = None
            assert found == expected, (fresh, found)


def test_a_limit_follows_the_load_of_the_machine():
    slowness, now = [1.0], [0.0]
    clock = load.WorkClock(measure=lambda: slowness[0], clock=lambda: now[0])

    def pass_seconds(count):
        for _ in range(count):
            now[0] += 1
            clock.step()

    pass_seconds(100)
    assert abs(clock.now() - 100) < 1e-6
    slowness[0] = 4.0
    pass_seconds(100)
    # 25 and what the first seconds counted before the load was seen to stay.
    assert 125 < clock.now() < 130 and clock.load() > 3.9, clock.now()
    slowness[0] = 1000.0
    before = clock.now()
    pass_seconds(100)
    assert clock.now() - before > 100 / load.MOST  # what hangs ends, whatever the load


def test_a_program_that_does_not_run_here_runs_by_the_libraries_beside_it():
    """All programs of a folder are taken for such; the host's libraries stand in."""
    with tempfile.TemporaryDirectory() as folder:
        libraries, programs = f"{folder}/of the compiler", f"{folder}/programs/usr/bin"
        os.makedirs(f"{libraries}/lib")
        os.symlink("/lib/x86_64-linux-gnu", f"{libraries}/lib/x86_64-linux-gnu")
        os.makedirs(programs)
        shutil.copy(shutil.which("echo"), f"{programs}/say")
        with mock.patch.object(compilers, "runs_here", lambda path: False):
            compilers.wrap(f"{folder}/programs", libraries, f"{folder}/programs")
        assert os.path.exists(f"{programs}/say.real")
        said = subprocess.run([f"{programs}/say", "two words", "*"], stdout=subprocess.PIPE,
                              check=True, text=True).stdout
        assert said == "two words *\n", said


def test_of_a_long_output_the_end_of_a_run_shows_why_it_failed():
    output = """ok     calls_test                25 passed (11.0 s)
FAILED interface_test           100 passed, 1 skipped (1.9 s)
       | [ RUN      ] Interface.TakesWhatItShould
       | ../../tests/guest/interface_test.cc:20: Skipped
       | [  SKIPPED ] Interface.Left (3 ms)
       | ../../tests/guest/interface_test.cc:30: Failure
       | Expected equality of these values:
       |   count
       |     Which is: 3
       | [  FAILED  ] Interface.TakesWhatItShould (2 ms)
       | what the program says besides
FAILED Interface.TakesWhatItShould
124 passed, 1 failed
"""
    assert failures.gist(output) == [
        "FAILED interface_test           100 passed, 1 skipped (1.9 s)",
        "../../tests/guest/interface_test.cc:30: Failure", "Expected equality of these values:",
        "count", "Which is: 3", "[  FAILED  ] Interface.TakesWhatItShould (2 ms)",
        "FAILED Interface.TakesWhatItShould"]
    assert len(failures.gist(output, most=3)) == 3
    assert not [line for line in failures.lines_in(output) if "SKIPPED" in line]
    assert failures.gist("one\ntwo\nthree\n", most=2) == ["two", "three"]
