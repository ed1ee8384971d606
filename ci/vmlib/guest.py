# SPDX-License-Identifier: GPL-2.0
"""One guest from boot to end: carries the command's streams and judges how it went."""

import collections
import dataclasses
import fcntl
import json
import os
import re
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import time
import tty

from . import cache, channel, logcheck, qemu

EXIT_REPORT, EXIT_TIMEOUT, EXIT_LOST = 99, 124, 98
END_MARK = b"stm-vm: end"
# What init says on the console when it gives up, perhaps before there is a channel. The kernel may
# begin a line of its log before that one has ended.
REFUSED = re.compile(rb"^stm-vm: cannot go on: (.*?)(?:\[ *\d+\.\d{6}\] .*)?\r?\n", re.MULTILINE)
# What init says when a processor has slept too long (ci/guest/processors.c).
OVERSLEPT = re.compile(r"stm-vm: (nothing of ours ran on processor .*)")
ESCAPE = b"\x1d"  # Ctrl-]
LOG_TAIL, LAST_WORDS = 40, 2
# A boot takes 2 to 10 seconds, and many times that on a busy host. Where the emulated
# processor fails, before any of our code has run, a second try is right.
BOOT_LIMIT, BOOT_TRIES = 180, 3
BACKLOG = 1 << 20


@dataclasses.dataclass
class Spec:  # pylint: disable=too-many-instance-attributes
    """What to run, and in what guest."""
    kernel_folder: str
    config: bytes
    initrd: list
    smp: int = 2
    mem: str = "2G"
    timeout: float = 600
    append: list = dataclasses.field(default_factory=list)
    out: list = dataclasses.field(default_factory=list)
    qemu_args: list = dataclasses.field(default_factory=list)
    counted: bool = False
    leak_check: bool = False
    gdb: bool = False
    tty: bool = False
    kvm: bool = False
    log: str = None
    on_sections: object = None
    slow: bool = False


class Interrupted(Exception):
    """A signal asks us to end."""


def _on_signal(number, _frame):
    raise Interrupted(number)


def memory_file(name, parts=()):
    """A file without a path: nothing can be left behind."""
    fd = os.memfd_create(name)
    for part in parts:
        with open(part, "rb") if isinstance(part, str) else _Bytes(part) as source:
            data = source.read()
        # The kernel wants each archive to begin at a multiple of four.
        os.write(fd, data + bytes(-len(data) % 4))
    return fd


class _Bytes:
    def __init__(self, data):
        self._data = data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def read(self):
        return self._data


class Guest:
    """A running QEMU and the loop that serves it."""

    def __init__(self, spec):
        self.spec = spec
        self.console = bytearray()
        self.parser = channel.Parser()
        self.status = None
        self.failure = None
        self.ready = False
        self.started = None
        self.stuck = bytearray()
        self.stuck_done = False
        self.leaks = bytearray()
        self.gone = False
        self.credit = 0
        self.input_open = True
        self.to_guest = bytearray()
        self.output = collections.deque()
        self.output_size = 0
        self.closed_sinks = set()
        self.window_changed = False
        self.saved_tty = None
        self.process = None
        self._start()

    # --- starting and ending ---

    def _start(self):
        spec = self.spec
        self.qmp, qmp_guest = socket.socketpair()
        if spec.counted:
            # A socket that we are slow to read would show in the guest's time.
            console_guest = self.console_file = memory_file("console")
            channel_guest = self.channel_file = memory_file("channel")
            self.file_offsets = {self.console_file: 0, self.channel_file: 0}
            passed = [console_guest, channel_guest]
        else:
            self.console_socket, console_end = socket.socketpair()
            self.channel_socket, channel_end = socket.socketpair()
            self.console_socket.setblocking(False)
            self.channel_socket.setblocking(False)
            console_guest, channel_guest = console_end.fileno(), channel_end.fileno()
            passed = [console_guest, channel_guest]
            self.to_guest += channel.frame(channel.CONFIG, spec.config)
        if len(spec.initrd) == 1:
            initrd = spec.initrd[0]
        else:
            fd = memory_file("initrd", spec.initrd)
            passed.append(fd)
            initrd = f"/proc/self/fd/{fd}"
        passed.append(qmp_guest.fileno())
        args = qemu.command(spec, initrd, console_guest, channel_guest,
                            qmp_guest.fileno(), spec.kvm)
        self.qemu_log = memory_file("qemu")
        # Its own session: a Ctrl-C is ours to handle, not QEMU's.
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            qemu.die_with_us(args), stdin=subprocess.DEVNULL, stdout=self.qemu_log,
            stderr=self.qemu_log, pass_fds=passed, start_new_session=True)
        qmp_guest.close()
        if not spec.counted:
            console_end.close()
            channel_end.close()
        self.qmp.sendall(b'{"execute":"qmp_capabilities"}\n')

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()
        if self.saved_tty:
            termios.tcsetattr(0, termios.TCSADRAIN, self.saved_tty)
            self.saved_tty = None

    def raw_terminal(self):
        self.saved_tty = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)
        signal.signal(signal.SIGWINCH, self._on_window)

    def _on_window(self, *_):
        self.window_changed = True

    # --- the loop ---

    def pump(self, until, done):
        """Serves everybody until done() or the time; returns whether it was done."""
        while True:
            if done():
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            if self.spec.counted:
                self._read_files()
                if self.process.poll() is not None and not self._read_files():
                    self.gone = True
                left = min(left, 0.02)
            self._poll(left)

    def _poll(self, left):
        poll, handlers = select.poll(), {}

        def watch(fd, events, handler):
            poll.register(fd, events)
            handlers[fd] = handler

        if not self.spec.counted and not self.gone:
            watch(self.console_socket.fileno(), select.POLLIN, self._read_console)
            events = select.POLLIN if self.output_size < BACKLOG else 0
            events |= select.POLLOUT if self.to_guest else 0
            if events:
                watch(self.channel_socket.fileno(), events, self._serve_channel)
        if self.input_open and self.credit and not self.spec.counted:
            watch(0, select.POLLIN, self._read_input)
        if self.output:
            watch(self.output[0][0], select.POLLOUT, self._write_output)
        for fd, events in poll.poll(min(left, 1.0) * 1000):
            handlers[fd](events)
        if self.window_changed:
            self.window_changed = False
            self._send(channel.WINDOW, struct.pack("<II", *window_size()))

    def _read_console(self, _events):
        data = _receive(self.console_socket)
        if data:
            self.console += data
        elif data == b"":
            self._end()

    def _end(self):
        """QEMU has closed one of its sockets: what it wrote to either before is there to read."""
        while data := _receive(self.console_socket):
            self.console += data
        while data := _receive(self.channel_socket):
            self._take(data)
        self.gone = True

    def _serve_channel(self, events):
        if events & select.POLLOUT and self.to_guest:
            try:
                sent = self.channel_socket.send(self.to_guest[:65536])
                del self.to_guest[:sent]
            except BlockingIOError:
                pass
            except OSError:
                self._end()
        if events & (select.POLLIN | select.POLLHUP):
            data = _receive(self.channel_socket)
            if data:
                self._take(data)
            elif data == b"":
                self._end()

    def _read_files(self):
        progress = False
        for fd in self.file_offsets:
            data = os.pread(fd, 1 << 20, self.file_offsets[fd])
            self.file_offsets[fd] += len(data)
            progress = progress or bool(data)
            if fd == self.console_file:
                self.console += data
            elif data:
                self._take(data)
        return progress

    def _read_input(self, _events):
        try:
            data = os.read(0, min(self.credit, channel.PART))
        except OSError:
            data = b""
        if self.spec.tty and ESCAPE in data:
            raise Interrupted(signal.SIGINT)
        if data:
            self.credit -= len(data)
            self._send(channel.STDIN, data)
        else:
            self.input_open = False
            self._send(channel.STDIN_EOF)

    def _write_output(self, _events):
        fd, data = self.output[0]
        # A pipe that is ready has room for this much, so we never block.
        size = len(data) if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        try:
            written = os.write(fd, data[:size])
        except OSError:
            self._close_sink(fd)
            return
        self.output_size -= written
        if written == len(data):
            self.output.popleft()
        else:
            self.output[0] = (fd, data[written:])

    def _close_sink(self, fd):
        self.closed_sinks.add(fd)
        self.output = collections.deque(item for item in self.output if item[0] != fd)
        self.output_size = sum(len(data) for _, data in self.output)
        self._send(channel.SINK_CLOSED, bytes([fd]))

    def _send(self, kind, data=b""):
        if not self.spec.counted:
            self.to_guest += channel.frame(kind, data)

    def _take(self, data):
        for kind, payload in self.parser.feed(data):
            if kind in (channel.STDOUT, channel.STDERR):
                fd = 1 if kind == channel.STDOUT else 2
                if fd not in self.closed_sinks and payload:
                    self.output.append((fd, payload))
                    self.output_size += len(payload)
            elif kind == channel.CREDIT:
                self.credit += struct.unpack("<I", payload)[0]
            elif kind == channel.READY:
                self.ready = True
            elif kind == channel.STARTED:
                self.started = time.monotonic()
            elif kind == channel.EXIT:
                self.status = struct.unpack("<I", payload)[0]
            elif kind == channel.FAILED:
                self.failure = payload.decode("utf-8", "replace")
            elif kind == channel.STUCK_TEXT:
                self.stuck += payload
                self.stuck_done = not payload
            elif kind == channel.LEAKS:
                self.leaks += payload
            elif kind == channel.SECTIONS and self.spec.on_sections:
                self.spec.on_sections(payload.decode())

    # --- the course of things ---

    def boot(self):
        """Until the guest is ready, or init gives up; False if it has failed before any of our code
        ran."""
        if self.spec.tty and not self.saved_tty:
            self.raw_terminal()
        limit = 1e9 if self.spec.gdb else BOOT_LIMIT
        self.pump(time.monotonic() + limit, lambda: self.gone or self.ready or self._refused())
        # What init gives as its reason is one, also if the guest has ended meanwhile.
        return self.ready or self._refused()

    def last_words(self):
        """Its first report, if there is one, and the end of its log, in one line: for people who
        wonder what went wrong."""
        lines = [line.strip() for line in logcheck.lines_of(bytes(self.console)) if line.strip()]
        reports = [lines[hit] for hit in logcheck.find(lines, logcheck.load_allowed())]
        return " | ".join(reports[:1] + lines[-LAST_WORDS:]) or "it wrote nothing"

    def _refused(self):
        """Whether init has given up, which it would do the next time, too."""
        if self.failure is None:
            found = REFUSED.search(self.console)
            if found:
                self.failure = found.group(1).decode("utf-8", "replace")
        return self.failure is not None

    def serve(self):
        """Until the end, or the end of our patience; whether that was it, and the length
        of the log at that moment."""
        timed_out, judged = False, None
        if not self.pump(time.monotonic() + self.spec.timeout, self._over):
            timed_out, judged = True, len(self.console)
            self.ask_where_stuck()
        elif not self.gone:
            self.pump(time.monotonic() + 10, lambda: self.gone or END_MARK in self.console)
        self.kill()
        if not self.spec.counted:
            # What was on its way when QEMU ended.
            self.pump(time.monotonic() + 1, lambda: self.gone)
        self.pump(time.monotonic() + 60, lambda: not self.output)
        return timed_out, judged

    def _over(self):
        return self.gone or self.failure is not None or self.status is not None

    # --- what is asked for when the time is over ---

    def ask_where_stuck(self):
        """Three ways, each for a guest in a worse state than the one before."""
        patience = 15 if self.spec.slow else 5
        if not self.spec.counted:
            self._send(channel.STUCK)
            if self._wait(patience, lambda: self.stuck_done):
                self._wait_for_silence(patience)
                return
            # init does not answer: the kernel may still serve its serial line.
            before = len(self.console)
            for key in b"lw":
                self._qmp("chardev-send-break", id="console")
                self._wait(0.2, lambda: False)
                try:
                    self.console_socket.send(bytes([key]))
                except OSError:
                    pass
                self._wait_for_silence(patience)
            if len(self.console) > before:
                return
        # Not even that: an interrupt that cannot be masked makes it panic and tell.
        self._qmp("inject-nmi")
        self._wait(1, lambda: self.gone)
        self._wait_for_silence(patience)

    def _qmp(self, command, **arguments):
        try:
            self.qmp.sendall(json.dumps({"execute": command, "arguments": arguments}).encode()
                             + b"\n")
        except OSError:
            pass

    def _wait(self, seconds, done):
        return self.pump(time.monotonic() + seconds, lambda: self.gone or done())

    def _wait_for_silence(self, most):
        end = time.monotonic() + most
        length = -1
        while length != len(self.console) and time.monotonic() < end and not self.gone:
            length = len(self.console)
            self._wait(0.5, lambda: False)


def _receive(source):
    try:
        return source.recv(1 << 16)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def window_size():
    """Rows and columns of our terminal."""
    try:
        packed = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        return struct.unpack("HHHH", packed)[:2]
    except OSError:
        return 0, 0


def run(spec):
    """Runs the guest; returns the exit status for ours."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _on_signal)
    for attempt in range(1, BOOT_TRIES + 1):
        guest = Guest(spec)
        try:
            if not guest.boot() and attempt < BOOT_TRIES:
                cache.say(f"the guest's kernel did not come up ({guest.last_words()}); "
                          "trying again")
                continue
            timed_out, judged = guest.serve()
        except Interrupted as interrupt:
            return 128 + interrupt.args[0]
        finally:
            guest.kill()
        break
    return _judge(guest, timed_out, judged)


def _judge(guest, timed_out, judged):
    spec = guest.spec
    lines = [line for line in logcheck.lines_of(bytes(guest.console))
             if END_MARK.decode() not in line]
    if spec.log:
        with open(spec.log, "w", encoding="utf-8") as handle:
            handle.write("\n".join(lines))
    before = lines if judged is None else logcheck.lines_of(bytes(guest.console[:judged]))
    for found in filter(None, map(OVERSLEPT.search, before)):
        cache.say(f"note: {found.group(1)}")
    for names in logcheck.races_of_linux(before).values():
        cache.say(f"note: Linux raced with itself, without the module: {names}")
    hits = logcheck.find(before, logcheck.load_allowed())
    if hits:
        _tell("the guest's kernel reports trouble:", logcheck.excerpt(before, hits))
    if guest.leaks:
        _tell("lost memory:", guest.leaks.decode("utf-8", "replace"))
    if timed_out:
        _tell(f"no end after {spec.timeout:g} s"
              + ("" if guest.started else " (the command had not begun)"))
        _tell("the last lines of the guest's log:", "\n".join(before[-LOG_TAIL:]).strip())
        if guest.stuck:
            _tell("where its tasks are:", guest.stuck.decode("utf-8", "replace").strip())
        after = "\n".join(lines[len(before) - 1:]).strip()
        if after:
            _tell("what its processors do:", after)
    if hits or guest.leaks:
        return EXIT_REPORT
    if timed_out:
        return EXIT_TIMEOUT
    if guest.failure is not None:
        _tell(guest.failure)
        _tell("the last lines of the guest's log:", "\n".join(lines[-LOG_TAIL:]).strip())
        return EXIT_LOST
    if guest.status is None:
        _tell("the guest ended before the command did; the last lines of its log:",
              "\n".join(lines[-LOG_TAIL:]).strip())
        said = os.pread(guest.qemu_log, 1 << 16, 0).decode("utf-8", "replace").strip()
        if said:
            _tell("QEMU says:", said)
        return EXIT_LOST
    return guest.status


def _tell(title, text=""):
    sys.stderr.write(f"ci/vm: {title}\n")
    if text:
        sys.stderr.write("".join(f"  {line}\n" for line in text.split("\n")))
    sys.stderr.flush()
