# SPDX-License-Identifier: LGPL-2.1-or-later
"""Typed transactions in Python: <stm/tx.h> and <stm/heap.h> by ctypes. And <stm/access.h>.

    bank = stm.Region("bank", 65536)

    def transfer(tx):
        tx[0:"q"] -= 10         # a number of 8 bytes at offset 0, as struct has it
        tx[8:"q"] += 10
    bank.atomically(transfer)

A function runs again, from its beginning, if what it has read has changed meanwhile. An exception
undoes everything.

Several reads and writes by one system call, which are a transaction together:

    balances = bank.access(stm.get(0, "q"), stm.get(8, "q"), stm.put(16, "q", 1))

or the begin and the end of one:

    def transfer():
        here, there = bank.begin_access(stm.get(0, "q"), stm.get(8, "q"))
        bank.access_and_commit(stm.put(0, "q", here - 10), stm.put(8, "q", there + 10))
    stm.again(transfer)
"""

import ctypes
import errno
import os
import struct

CREATE, RDONLY = 0x01000000, 0x20000000
_AGAIN, _READ_ONLY = 1, 1

_lib = ctypes.CDLL(os.environ.get("STM_LIBRARY", "libstm.so.0"), use_errno=True)
_P, _U64, _SIZE, _INT = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int


def _declare(result, name, *arguments):
    function = getattr(_lib, name)
    function.restype, function.argtypes = result, arguments
    return function


_open = _declare(_P, "stm_region_open", ctypes.c_char_p, _SIZE, _INT, ctypes.c_uint)
_close = _declare(None, "stm_region_close", _P)
_unlink = _declare(_INT, "stm_unlink", ctypes.c_char_p)
_size = _declare(_SIZE, "stm_region_size", _P)
_begin = _declare(_P, "stm_tx_begin", _P, _INT)
_load = _declare(_INT, "stm_tx_load", _P, _P, _U64, _P, _SIZE)
_store = _declare(_INT, "stm_tx_store", _P, _P, _U64, ctypes.c_char_p, _SIZE)
_commit = _declare(_INT, "stm_tx_commit", _P)
_cancel = _declare(None, "stm_tx_cancel", _P)
_wait = _declare(_INT, "stm_tx_wait", _P, ctypes.c_int64)
_allocate = _declare(_INT, "stm_heap_allocate", _P, _P, _SIZE, _SIZE, ctypes.POINTER(_U64))
_free = _declare(_INT, "stm_heap_free", _P, _P, _U64)
_fd = _declare(_INT, "stm_region_fd", _P)
_stop = _declare(_INT, "stm_cancel", _INT)
_access = _declare(_INT, "stm_access", _INT, _P, ctypes.c_uint)
_begin_access = _declare(_INT, "stm_begin_access", _INT, _P, ctypes.c_uint)
_access_and_commit = _declare(_INT, "stm_access_and_commit", _INT, _P, ctypes.c_uint)


def unlink(name):
    """Destroys a region that is not in use."""
    if _unlink(name.encode()) < 0:
        raise _error()


class _Restart(BaseException):
    """Leaves the function; `wait` is how long to wait for a change, in ns, or None."""

    def __init__(self, wait=None):
        super().__init__()
        self.wait = wait


class Conflict(Exception):
    """A transaction by begin_access() has read something old. It is over, and has no effect."""


def again(function):
    """Calls it, again as long as it raises Conflict, and returns what it returns."""
    while True:
        try:
            return function()
        except Conflict:
            pass


class _Piece(ctypes.Structure):
    _fields_ = [("offset", _U64), ("memory", _P), ("bytes", ctypes.c_uint),
                ("flags", ctypes.c_uint)]


def get(offset, form):
    """A piece that reads values, as struct has them, at an offset."""
    return offset, form, None


def put(offset, form, *values):
    """A piece that writes values."""
    return offset, form, struct.pack(form, *values)


def _error():
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def _check(result):
    if result == _AGAIN:
        raise _Restart()
    if result < 0:
        raise _error()


class Transaction:
    """What the function gets. It is valid until the function returns."""

    def __init__(self, region, tx):
        self._region, self._tx = region, tx

    def load(self, offset, size, region=None):
        """Bytes at an offset, of this region or of another one."""
        to = ctypes.create_string_buffer(size)
        _check(_load(self._tx, (region or self._region).handle, offset, to, size))
        return to.raw

    def store(self, offset, data, region=None):
        """Stores bytes, at the commit."""
        _check(_store(self._tx, (region or self._region).handle, offset, bytes(data), len(data)))

    def __getitem__(self, place):  # tx[offset:"format of struct"]
        values = struct.unpack(place.stop, self.load(place.start, struct.calcsize(place.stop)))
        return values[0] if len(values) == 1 else values

    def __setitem__(self, place, value):
        values = value if isinstance(value, tuple) else (value,)
        self.store(place.start, struct.pack(place.stop, *values))

    def allocate(self, size):
        """The offset of a new block."""
        offset = _U64()
        _check(_allocate(self._tx, self._region.handle, size, 16, ctypes.byref(offset)))
        return offset.value

    def free(self, offset):
        """Frees a block."""
        _check(_free(self._tx, self._region.handle, offset))

    def retry(self, seconds=None):
        """Undoes everything, and runs the function again when something it has read changes."""
        raise _Restart(-1 if seconds is None else int(seconds * 1e9))


class Region:
    """A region that this process has attached; a context manager."""

    def __init__(self, name, size=0, flags=CREATE, mode=0o600):
        self.handle = _open(name.encode(), size, flags, mode)
        if not self.handle:
            raise _error()

    def close(self):
        """Detaches it."""
        if self.handle:
            _close(self.handle)
            self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __len__(self):
        return _size(self.handle)

    def access(self, *pieces):
        """Does all pieces, one after the other, by one system call. Returns what those read that
        read something: a value for each, or a tuple of values. Alone they are a transaction."""
        return self._do(_access, pieces)

    def begin_access(self, *pieces):
        """The same, and begins a transaction of this thread, which the pieces belong to."""
        return self._do(_begin_access, pieces)

    def access_and_commit(self, *pieces):
        """The same, and commits it. It is over in any case."""
        return self._do(_access_and_commit, pieces)

    def cancel(self):
        """Undoes what a transaction of begin_access() has done; it is over."""
        if _stop(_fd(self.handle)) < 0:
            raise _error()

    def _do(self, call, pieces):
        memory = [ctypes.create_string_buffer(data or b"", struct.calcsize(form))
                  for _, form, data in pieces]
        listed = (_Piece * len(pieces))(*(
            (offset, ctypes.addressof(memory[i]), len(memory[i]), data is not None)
            for i, (offset, _, data) in enumerate(pieces)))
        result = call(_fd(self.handle), listed, len(pieces))
        if result < 0 and ctypes.get_errno() != errno.EAGAIN:
            raise _error()
        if result != 0:
            if result < 0:
                self.cancel()  # nothing else is left to be done with it
            raise Conflict()
        values = [struct.unpack(form, memory[i]) for i, (_, form, data) in enumerate(pieces)
                  if data is None]
        return tuple(value[0] if len(value) == 1 else value for value in values)

    def read_only(self, function):
        """As atomically(), for a function that does not store."""
        return self.atomically(function, _READ_ONLY)

    def atomically(self, function, flags=0):
        """Runs function(Transaction) as a whole or not at all, and returns what it returns."""
        tx = self._begin(flags)
        while True:
            try:
                result = function(Transaction(self, tx))
            except _Restart as restart:
                ended = _commit(tx) if restart.wait is None else _wait(tx, restart.wait)
            except BaseException:
                _cancel(tx)
                raise
            else:
                ended = _commit(tx)
                if ended == 0:
                    return result
            if ended < 0:
                if ctypes.get_errno() != errno.EINTR:
                    raise _error()
                tx = self._begin(flags)

    def _begin(self, flags):
        tx = _begin(self.handle, flags)
        if not tx:
            raise _error()
        return tx
