#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""In the guest: touches pages of a region at whose place in the page table there is a marker, in
each way there is."""

import ctypes
import os
import signal
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
STM = ctypes.CDLL("libstm.so.0", use_errno=True)
STM.stm_open.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long)
CREATE, PLAIN = 0x01000000, 0x04000000
PAGE, PAGES, MARKED = 4096, 8, 3
SECONDS = 20


def mapping(kind, resident):
    """A new mapping of a region, with a marker in the middle."""
    region = STM.stm_open(f"marked {kind} {resident}".encode(), PAGES * PAGE, CREATE | kind, 0o600)
    for page in range(PAGES if resident else 0):
        os.pwrite(region, b"x", page * PAGE)
    address = LIBC.mmap(None, PAGES * PAGE, 3, 1, region, 0)
    with open("/dev/stm-markers", "wb", buffering=0) as markers:
        markers.write(struct.pack("=Q", address + MARKED * PAGE))
    return address, b"x" if resident else b"\0"


def load(address):
    return ctypes.string_at(address + MARKED * PAGE, 1)


def load_after_a_neighbour(address):
    ctypes.string_at(address + (MARKED - 1) * PAGE, 1)
    ctypes.string_at(address + (MARKED + 1) * PAGE, 1)
    return load(address)


def load_by_the_kernel(address):
    ends = os.pipe()
    if LIBC.write(ends[1], ctypes.c_void_p(address + MARKED * PAGE), ctypes.c_size_t(1)) != 1:
        raise OSError(ctypes.get_errno(), "write")
    return os.read(ends[0], 1)


def load_of_all_by_the_kernel(address):
    ends = os.pipe()
    if LIBC.write(ends[1], ctypes.c_void_p(address), ctypes.c_size_t(PAGES * PAGE)) != PAGES * PAGE:
        raise OSError(ctypes.get_errno(), "write")
    return os.read(ends[0], PAGES * PAGE)[MARKED * PAGE:MARKED * PAGE + 1]


def in_time(touch, kind, resident):
    """What is wrong with it, in a process of its own that may have to be left behind; or None."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        address, expected = mapping(kind, resident)
        os._exit(0 if touch(address) == expected else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGALRM:
        return f"no end after {SECONDS} s"
    return f"exit status {status}" if status else None


def main():
    passed = failed = 0
    for kind, name in ((PLAIN, "plain"), (0, "transactional")):
        for resident in (True, False):
            for touch in (load, load_after_a_neighbour, load_by_the_kernel,
                          load_of_all_by_the_kernel):
                what = f"{name}, {'resident' if resident else 'untouched'}: {touch.__name__}"
                trouble = in_time(touch, kind, resident)
                passed, failed = passed + (trouble is None), failed + (trouble is not None)
                print(f"{'FAILED' if trouble else 'ok':6}  {what.replace('_', ' ')}"
                      f"{': ' + trouble if trouble else ''}", flush=True)
                if trouble and "no end" in trouble:
                    # The next one might be in a system call, where no signal ends it.
                    print(f"{passed} passed, {failed} failed")
                    return 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
