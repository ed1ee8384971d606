# SPDX-License-Identifier: GPL-2.0
"""The parts of ci/vm that need no guest."""

import gzip
import lzma
import os
import struct
import subprocess
import tempfile
from unittest import mock

from vmlib import cache, channel, initramfs, kernels


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
    for name in ("7.0", "6", "6.12.", "6.12.1x", "../6.12.1", "6.12.1/..", "6.12.1\n"):
        try:
            kernels.folder(name)
        except cache.Failure as failure:
            assert "6.12" in str(failure) and "debug" in str(failure)
        else:
            raise AssertionError(f"{name} is taken")


def test_an_exact_version_is_a_name_of_a_kernel():
    assert kernels.known("6.12.117") and kernels.known("6.12") and kernels.known("debug")
    with tempfile.TemporaryDirectory() as folder, \
            mock.patch.dict(os.environ, {"XDG_CACHE_HOME": folder}):
        for name in ("6.12.1_6.12.1+deb12-amd64", "6.12_6.12.1+deb12-amd64", "no_such"):
            os.makedirs(f"{folder}/stm/kernels/{name}")
        assert kernels.folder("6.12.1") == f"{folder}/stm/kernels/6.12.1_6.12.1+deb12-amd64"
        assert kernels.folder("6.12") == f"{folder}/stm/kernels/6.12_6.12.1+deb12-amd64"
        # The archive may have lost it.
        assert kernels.stale() == [f"{folder}/stm/kernels/no_such"]
