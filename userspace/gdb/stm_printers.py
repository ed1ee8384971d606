# SPDX-License-Identifier: LGPL-2.1-or-later
"""What gdb shows of variables, pointers and containers in regions (<stm/stm.hpp>).

gdb loads it with the installed library; otherwise: (gdb) source stm_printers.py

It works on a running process and on a core file. A core file has regions only if the program asked
for that (stm_set_dump, or STM_DUMP=1); what it does not have is said to be missing. Everything is
read as it is committed at that moment. While other processes go on to commit, a container may be
shown half as it was before and half after.
"""

import re

import gdb
import gdb.printing

# The windows of a region, in offsets of its file: see <stm/ioctl.h>.
_WINDOW = 1 << 56
_COMMITTED, _CLOCK = 1, 3
_STRIPE_SIZE_AT = 72  # of struct stm_clock

_LINE = re.compile(r"\s*0x(\w+)\s+0x(\w+)\s+0x\w+\s+0x(\w+)\s+(?:[-rwxsp]{4}\s+)?(\S.*)$")
_PREFIX = "anon_inode:stm:"


class _Mapping:
    """A mapping of a region's bytes, or of another window of it."""

    def __init__(self, start, end, offset, name):
        self.start, self.end, self.name = start, end, name
        self.window, self.offset = divmod(offset, _WINDOW)

    @property
    def base(self):
        """Where offset 0 of the region would be."""
        return self.start - self.offset


class _Mappings:
    """Those of the inferior. They are asked for once for each stop."""

    def __init__(self):
        self._of = {}
        for event in (gdb.events.stop, gdb.events.cont, gdb.events.exited,
                      gdb.events.new_objfile, gdb.events.clear_objfiles):
            event.connect(lambda _: self._of.clear())

    def _all(self):
        number = gdb.selected_inferior().num
        if number not in self._of:
            try:
                text = gdb.execute("info proc mappings", to_string=True)
            except gdb.error:
                text = ""
            found = []
            for line in text.splitlines():
                match = _LINE.match(line)
                if not match:
                    continue
                start, end, offset = (int(match[i], 16) for i in (1, 2, 3))
                if offset >= _WINDOW or match[4].startswith(_PREFIX):
                    name = match[4][len(_PREFIX):] if match[4].startswith(_PREFIX) else match[4]
                    found.append(_Mapping(start, end, offset, name))
            self._of[number] = found
        return self._of[number]

    def of(self, address):
        """The mapping that the address is in, or None."""
        for mapping in self._all():
            if mapping.start <= address < mapping.end:
                return mapping
        return None

    def only_one(self):
        """The mapping of the variables, if the process has one region alone."""
        found = [one for one in self._all() if one.window == _COMMITTED]
        return found[0] if len(found) == 1 else None

    def is_missing(self, mapping):
        """Whether the core file leaves it out; gdb reads zeros then. No region's clock page is
        empty."""
        for clock in self._all():
            if clock.window == _CLOCK and clock.name == mapping.name:
                memory = gdb.selected_inferior().read_memory(clock.start + _STRIPE_SIZE_AT, 4)
                return bytes(memory) == bytes(4)
        return False


_mappings = _Mappings()
_MISSING = "<not in the core file: see stm_set_dump(3)>"


def _address(value):
    return None if value.address is None else int(value.address.cast(_long()))


def _long():
    return gdb.lookup_type("unsigned long")


def _region_of(value):
    """The mapping that the value lies in, or for one elsewhere the only one that there is."""
    address = _address(value)
    found = _mappings.of(address) if address is not None else None
    return found or _mappings.only_one()


def _missing(value):
    address = _address(value)
    found = _mappings.of(address) if address is not None else None
    return found is not None and _mappings.is_missing(found)


def _plain(value):
    """What a var holds, and a var in it; any other value as it is."""
    while re.match(r"stm::var<", str(value.type.strip_typedefs().unqualified())):
        value = value["value_"]
    return value


def _offset(pointer):
    return int(_plain(pointer)["offset_"])


def _at(base, offset, kind):
    """The object of that type at an offset of the region."""
    return gdb.Value(base + offset).cast(kind.pointer()).dereference()


def _element(pointer):
    """The type that a stm::ptr, or a var of one, points to."""
    return _plain(pointer).type.strip_typedefs().template_argument(0)


class _Printer:
    """Of a value that lies in a region."""

    def __init__(self, value):
        self.value = value
        self.missing = _missing(value)
        region = _region_of(value)
        self.base = None if region is None else region.base

    def object(self, pointer):
        """What a stm::ptr in the region points to; None for null."""
        offset = _offset(pointer)
        return None if offset == 0 else _at(self.base, offset, _element(pointer))

    def name(self):
        """The type as the program calls it, without what it has by default."""
        return str(self.value.type.strip_typedefs().unqualified())


class _Var(_Printer):
    def to_string(self):
        return _MISSING if self.missing else self.value["value_"]


class _Ptr(_Printer):
    def to_string(self):
        if self.missing:
            return _MISSING
        offset = _offset(self.value)
        if offset == 0:
            return "null"
        if self.base is None:
            return f"offset {offset:#x}"
        return f"({_element(self.value)} *) {self.base + offset:#x}"


class _String(_Printer):
    def to_string(self):
        if self.missing:
            return _MISSING
        size = int(_plain(self.value["size_"]))
        first = self.object(self.value["data_"])
        if first is None or size == 0:
            return ""
        return _plain(first).address.lazy_string(length=size)

    def display_hint(self):
        return None if self.missing else "string"


class _Container(_Printer):
    """A generator `entries` gives what it holds."""

    hint = "array"

    def to_string(self):
        return f"{self.name()} {_MISSING}" if self.missing else f"{self.name()} with {self.size()}"

    def children(self):
        if self.missing or self.base is None:
            return
        # What changes while it is read may lead in a circle.
        seen = set()
        number = 0
        for entry in self.entries():
            key = entry if isinstance(entry, tuple) else (entry,)
            if _address(key[0]) in seen:
                return
            seen.add(_address(key[0]))
            for value in key:
                yield f"[{number}]", _plain(value)
                number += 1

    def display_hint(self):
        return None if self.missing else self.hint

    def entries(self):
        raise NotImplementedError

    def size(self):
        raise NotImplementedError

    @staticmethod
    def _elements(count):
        return "1 element" if count == 1 else f"{count} elements"


class _Vector(_Container):
    def size(self):
        return self._elements(int(_plain(self.value["size_"])))

    def entries(self):
        first = self.object(self.value["data_"])
        for index in range(int(_plain(self.value["size_"])) if first is not None else 0):
            yield (first.address + index).dereference()


class _Queue(_Container):
    def size(self):
        return self._elements(int(_plain(self.value["back_"]["count"])) -
                              int(_plain(self.value["front_"]["count"])))

    def entries(self):
        before = self.object(self.value["front_"]["node"])
        while before is not None:
            node = self.object(before["next"])
            if node is None:
                return
            yield node["value"]
            before = node


class _Map(_Container):
    hint = "map"

    def size(self):
        root = _offset(self.value["root_"])
        return "entries" if root else "0 entries"

    def entries(self):
        # Smaller keys are on the left; no recursion, since gdb may stop in the middle.
        waiting, node, seen = [], self.object(self.value["root_"]), set()
        while node is not None or waiting:
            while node is not None:
                if _address(node) in seen:
                    return
                seen.add(_address(node))
                waiting.append(node)
                node = self.object(node["child"][0])
            node = waiting.pop()
            yield node["key"], node["value"]
            node = self.object(node["child"][1])


class _UnorderedMap(_Container):
    hint = "map"
    FIRST = 16  # buckets of the first segment

    def size(self):
        buckets = int(_plain(self.value["buckets_"]))
        return "1 bucket" if buckets == 1 else f"{buckets} buckets"

    def _bucket(self, index):
        number = 0 if index < self.FIRST else (index // self.FIRST).bit_length()
        first = 0 if number == 0 else self.FIRST << (number - 1)
        segment = self.object(self.value["segments_"][number])
        return None if segment is None else (segment.address + (index - first)).dereference()

    def entries(self):
        for index in range(int(_plain(self.value["buckets_"]))):
            bucket = self._bucket(index)
            node = None if bucket is None else self.object(bucket)
            while node is not None:
                yield node["key"], node["value"]
                node = self.object(node["next"])


class _Region:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        attached = int(self.value.address.cast(_long().pointer()).dereference())
        if attached == 0:
            return "no region"
        # struct attachment: handle, base, size.
        words = gdb.Value(attached).cast(_long().pointer())
        base, size = int(words[1]), int(words[2])
        found = _mappings.of(base)
        name = "" if found is None else f" '{found.name}'"
        missing = " " + _MISSING if found is not None and _mappings.is_missing(found) else ""
        return f"region{name} of {size} bytes at {base:#x}{missing}"


class _Object(gdb.Function):
    """$stm(p): the address of what a stm::ptr points to: print *$stm(p), print $stm(p)->next"""

    def __init__(self):
        super().__init__("stm")

    def invoke(self, pointer):
        region = _region_of(pointer)
        if region is None:
            raise gdb.GdbError("no region that this pointer could point into")
        return gdb.Value(region.base + _offset(pointer)).cast(_element(pointer).pointer())


def _printers():
    printers = gdb.printing.RegexpCollectionPrettyPrinter("stm")
    for name, printer in (("var", _Var), ("ptr", _Ptr), ("vector", _Vector), ("map", _Map),
                          ("unordered_map", _UnorderedMap), ("queue", _Queue)):
        printers.add_printer(f"stm::{name}", f"^stm::{name}<.*>$", printer)
    printers.add_printer("stm::string", "^stm::string$", _String)
    printers.add_printer("stm::region", "^stm::region$", _Region)
    return printers


_Object()
gdb.printing.register_pretty_printer(gdb.current_objfile(), _printers(), replace=True)
