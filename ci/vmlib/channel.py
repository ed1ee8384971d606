# SPDX-License-Identifier: GPL-2.0
"""Frames between the host and the guest's init; ci/guest/guest.h is the other side."""

import struct

HEADER = struct.Struct("<II")
PART = 16384

# to the guest
CONFIG, STDIN, STDIN_EOF, SINK_CLOSED, WINDOW, STUCK = (ord(c) for c in "CIEZWD")
# from the guest
STDOUT, STDERR, CREDIT, READY, STARTED, EXIT, FAILED, STUCK_TEXT, SECTIONS, LEAKS = (
    ord(c) for c in "OecRSXFTAK")


def frame(kind, data=b""):
    return HEADER.pack(kind, len(data)) + data


def config(pairs):
    """The strings that ci/guest/config.c reads."""
    return b"".join(key.encode() + b"=" + value + b"\0" for key, value in pairs)


class Parser:
    """Cuts a stream of bytes into frames."""

    def __init__(self):
        self._data = bytearray()

    def feed(self, data):
        self._data += data
        while len(self._data) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._data)
            end = HEADER.size + length
            if len(self._data) < end:
                return
            payload = bytes(self._data[HEADER.size:end])
            del self._data[:end]
            yield kind, payload
