# SPDX-License-Identifier: GPL-2.0
"""ci/vm as its users see it: each test boots a guest or two."""

import concurrent.futures
import functools
import hashlib
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from vmlib import cache, channel, guest, kernels

VM = os.path.join(cache.CI, "vm")
OUR_OWN = threading.Lock()
FOLDERS = []
# The emulation fails now and then before any of our code has run: what ci/vm writes about that is
# right in each of these tests.
RETRY = re.compile(r"^vm: the guest's kernel did not come up \((.*)\); trying again\n",
                   re.MULTILINE)


def vm(*words, **kwargs):
    """(exit status, stdout, stderr) of a run; without a module unless told, and without what is
    written about boots that are tried again."""
    code, out, err = vm_with_retries(*words, **kwargs)
    return code, out, RETRY.sub("", err)


def vm_with_retries(*words, verb="run", module=False, **kwargs):
    """The same, with all that is written."""
    options = [] if module else ["--no-module"]
    kwargs.setdefault("stdin", None if "input" in kwargs else subprocess.DEVNULL)
    done = subprocess.run([VM, verb, *options, *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False, **kwargs)
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")


@functools.lru_cache(maxsize=None)
def _stand_in(kernel):
    FOLDERS.append(tempfile.mkdtemp(prefix="stm-test."))
    folder = os.path.join(FOLDERS[-1], "module")
    shutil.copytree(os.path.join(cache.CI, "tests", "module"), folder)
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    cache.run(["make", "-s", "-C", f"{kernels.folder(kernel)}/build", f"M={folder}", "modules"],
              env=env)
    return os.path.join(folder, "stm.ko")


def stand_in(how, kernel="6.12"):
    """Options for a module that misbehaves as it is told."""
    with OUR_OWN:
        path = _stand_in(kernel)
    return ["--kernel", kernel, "--module", path, "--module-args", f"how={how}"]


def clean_up():
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)


def test_status_output_and_folder():
    code, out, err = vm("--", "sh", "-c", "pwd; echo problem >&2; exit 7")
    assert (code, out, err) == (7, os.getcwd().encode() + b"\n", "problem\n"), (code, out, err)


def test_status_output_and_folder_on_6_1():
    code, out, _ = vm("--kernel", "6.1", "--", "sh", "-c", "uname -r; exit 7")
    assert code == 7 and out.startswith(b"6.1."), (code, out)


def test_a_stage_finds_the_module_of_a_kernel_that_is_given_by_its_folder():
    kernel = kernels.folder("6.12")
    code, out, err = vm("--kernel", kernel, "--", "tests/stages/stage1-hello-module",
                        module=True)
    assert code == 0 and b"insmod" in out, (code, out, err)


def test_a_processor_on_which_nothing_of_init_runs_is_woken_and_told():
    # 6.1 has no deadline server that would let others run beside a real-time task.
    code, out, err = vm("--kernel", "6.1", "--smp", "3", "--", "sh", "-c",
                        # Each thread that is missed later has looked once by then.
                        "sleep 5; "
                        "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; taskset -p 1 $$; "
                        "taskset 2 chrt -f 90 sh -c 'while :; do :; done' & spinning=$!; "
                        # Where the host is busy the clocks of those that look may begin late.
                        "for i in $(seq 150); do sleep 1; [ $(dmesg | "
                        "grep -c 'nothing of ours ran on processor 1') -ge 2 ] && break; done; "
                        "kill -9 $spinning; "
                        "dmesg | grep -c 'NMI backtrace for cpu 1'; "
                        "dmesg | grep -c 'nothing of ours ran on processor 1'")
    backtraces, told = (int(word) for word in out.split()[-2:])
    assert code == 0 and backtraces >= 1, (code, out, err)
    assert told == 2, "each 20 s, by one of the two that look"
    assert "note: nothing of ours ran on processor 1 for 20 s; all are woken" in err, err


def test_streams_are_exact():
    data = os.urandom(1 << 20) + bytes(4096) + b"\r\n\x04\x03\xff"
    done = subprocess.run([VM, "run", "--no-module", "--", "tee", "/dev/stderr"], input=data,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    assert hashlib.sha256(done.stderr).digest() == hashlib.sha256(data).digest()


def test_streams_are_live():
    with subprocess.Popen([VM, "run", "--no-module", "--", "sh", "-c",
                           "echo first; read answer; echo got $answer"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"first\n"
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"got hello\n"


def test_a_reader_that_leaves_ends_the_command():
    done = subprocess.run(["bash", "-c", f"{VM} run --no-module --timeout 60 -- yes | head -n 2; "
                           "echo ${PIPESTATUS[0]}"], stdout=subprocess.PIPE, check=False)
    assert done.stdout == b"y\ny\n141\n", done.stdout


def test_a_folder_under_tmp_is_there_and_what_is_written_vanishes():
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/here", "wb"):
            pass
        code, out, err = vm("--", "sh", "-c", "echo new > new; ls", cwd=folder)
        assert (code, out) == (0, b"here\nnew\n"), (code, out, err)
        assert os.listdir(folder) == ["here"]


def test_out_is_on_the_host_afterwards():
    with tempfile.TemporaryDirectory() as folder:
        code, _, err = vm("--out", "a/out", "--", "sh", "-c", "echo data > a/out/file; touch no",
                          cwd=folder)
        assert code == 0, err
        with open(f"{folder}/a/out/file", "rb") as handle:
            assert handle.read() == b"data\n"
        assert os.listdir(folder) == ["a"]


def test_the_host_is_read_only_and_the_guest_is_furnished():
    script = """
        touch /usr/written 2>/dev/null && echo "the host's root can be written"
        for path in /proc/self/stat /sys/kernel/debug/sched /dev/pts/ptmx /dev/ptmx \
            /dev/shm /sys/kernel/tracing/trace; do test -e $path || echo "no $path"; done
        grep -qw memory /sys/fs/cgroup/cgroup.subtree_control || echo no memory controller
        mkdir /sys/fs/cgroup/a && echo 8M > /sys/fs/cgroup/a/memory.max || echo no limit
        touch /run/x /tmp/x /dev/shm/x /var/tmp/x || echo not writable
        python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0))
socket.create_connection(s.getsockname())' || echo no loopback
        test "$(hostname)" = guest || echo no host name
        test "$STM_ANSWER" = 42 -a "$EXTRA" = 'a b' || echo no environment
    """
    code, out, err = vm("--env", "EXTRA=a b", "--", "sh", "-c", script,
                        env=dict(os.environ, STM_ANSWER="42"))
    assert (code, out) == (0, b""), (code, out, err)


def test_a_boot_that_init_gives_up_is_told_by_its_reason_and_not_tried_again():
    # The drivers that init loads first are not as Debian has signed them.
    code, out, err = vm_with_retries("--append", "module.sig_enforce=1", "--", "echo", "never")
    assert (code, out) == (98, b""), (code, out, err)
    reason = r"ci/vm: cannot load /modules/\S+: Key was rejected by service\n"
    assert re.match(reason, RETRY.sub("", err)), err
    # A boot that the emulation did not carry as far as init may have been tried again before.
    assert not [words for words in RETRY.findall(err) if "stm-vm:" in words], err
    assert len(re.findall(reason, err)) == 1 and err.index("cannot load") > err.rfind("again"), err


def test_a_reason_that_the_kernel_writes_behind_is_told_alone():
    for behind in (b"", b"[    2.442066] stm-vm: end"):
        found = guest.REFUSED.search(b"[ 1.2] x\nstm-vm: cannot go on: no [such] key" + behind
                                     + b"\r\nmore\n")
        assert found and found.group(1) == b"no [such] key", found


def test_a_kernel_that_does_not_come_up_is_tried_again():
    code, _, err = vm_with_retries("--append", "rdinit=/no/such/program", "--", "true")
    retries = RETRY.findall(err)
    assert code == 99 and "Unable to mount root" in err and len(retries) == 2, (code, err)


def test_what_was_written_before_the_end_is_read_whichever_socket_tells_of_it():
    for side in ("_read_console", "_serve_channel"):
        ours, theirs = zip(socket.socketpair(), socket.socketpair())
        ended = guest.Guest.__new__(guest.Guest)
        ended.console, ended.failure = bytearray(), None
        ended.console_socket, ended.channel_socket = ours
        ended.gone, ended.to_guest, ended.parser = False, b"", channel.Parser()
        for one in ours:
            one.setblocking(False)
        getattr(ended, side)(select.POLLIN)
        theirs[0].sendall(b"stm-vm: cannot go on: no key\n")
        theirs[1].sendall(channel.frame(channel.FAILED, b"no key"))
        for one in theirs:
            one.close()
        while not ended.gone:
            getattr(ended, side)(select.POLLIN)
        assert (bytes(ended.console), ended.failure) == (b"stm-vm: cannot go on: no key\n",
                                                         "no key"), side


def test_a_command_that_is_not_there():
    code, _, err = vm("--", "no-such-command")
    assert code == 127 and "no-such-command" in err, (code, err)


def test_a_signal_in_the_guest_is_told_as_a_shell_does():
    assert vm("--", "sh", "-c", "kill -SEGV $$")[0] == 139


def test_a_fake_report_in_the_log_gives_99():
    code, out, err = vm("--", "sh", "-c", "echo output; echo '<4>WARNING: planted' > /dev/kmsg")
    assert (code, out) == (99, b"output\n") and "WARNING: planted" in err, (code, err)


def test_a_crash_gives_99():
    code, out, err = vm("--", "sh", "-c", "echo output; sleep 0.3; echo c > /proc/sysrq-trigger")
    assert (code, out) == (99, b"output\n"), (code, out)
    assert "sysrq triggered crash" in err and "write_sysrq_trigger" in err, err


def test_a_warning_of_the_module_gives_99():
    code, _, err = vm(*stand_in("warn"), "--", "true", module=True)
    assert code == 99 and "planted warning" in err and "end trace" in err, (code, err)


def test_an_oops_of_the_module_gives_99():
    code, _, err = vm(*stand_in("oops"), "--", "true", module=True)
    assert code == 99 and "NULL pointer dereference" in err, (code, err)


def test_a_module_that_does_not_load_gives_98():
    code, _, err = vm(*stand_in("refuse"), "--", "true", module=True)
    assert code == 98 and "Invalid argument" in err, (code, err)


def test_a_module_that_stays_gives_99():
    code, _, err = vm(*stand_in("hold"), "--", "true", module=True)
    assert code == 99 and "cannot be unloaded" in err, (code, err)


def test_a_module_that_the_command_removes_is_fine():
    code, _, err = vm(*stand_in("good"), "--", "sh", "-c", "test -d /sys/module/stm; rmmod stm",
                      module=True)
    assert (code, err) == (0, ""), (code, err)


def test_modules_of_the_kernel_are_loaded_before_the_command_with_what_they_need():
    code, out, err = vm("--load", "unix_diag", "--load", "crc32c_generic", "--load",
                        "nf_tables", "--", "cat", "/proc/modules")
    loaded = {line.split()[0] for line in out.decode().splitlines()}
    assert code == 0 and {"unix_diag", "nf_tables", "nfnetlink"} <= loaded, (code, out, err)


def test_a_module_that_the_kernel_does_not_have_is_named():
    # An archive without drivers is called bare in the cache.
    for name in ("nonsense", "bare", "unix_diag-tun"):
        code, _, err = vm("--load", name, "--", "true")
        assert code == 125 and f"no module {name}" in err, (code, err)


def test_a_timeout_tells_who_sleeps():
    code, out, err = vm("--timeout", "5", "--", "sh", "-c", "echo begun; sleep 1000")
    assert (code, out) == (124, b"begun\n"), (code, out, err)
    assert re.search(r"task \d+ \(sleep\) state S +sleep 1000", err), err
    assert "nanosleep" in err, err


def test_a_timeout_tells_what_spins():
    code, _, err = vm("--timeout", "5", "--", "sh", "-c", "while :; do :; done")
    assert code == 124 and re.search(r"\(sh\) state R", err) and "NMI backtrace" in err, err


def test_a_timeout_of_a_dead_kernel_has_its_log():
    code, _, err = vm(*stand_in("dead"), "--smp", "1", "--timeout", "5", "--", "true",
                      module=True)
    assert code == 124 and "out-of-tree module" in err, (code, err)
    assert re.search(r"RIP: .*start\+|init_module", err), err


def test_termination_leaves_nothing():
    def left():
        text = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, check=True).stdout
        return [line for line in text.decode().split("\n")
                if line.startswith("qemu-system") and "stm_test_mark" in line]

    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        with subprocess.Popen([VM, "run", "--no-module", "--append", "stm_test_mark", "--",
                               "sh", "-c", "echo begun; sleep 1000"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"begun\n"
            assert left()
            process.send_signal(number)
            assert process.wait() == code
        for _ in range(50):
            if not left():
                break
            time.sleep(0.1)
        assert not left()


def test_two_at_once_do_not_meet():
    def one(number):
        return vm("--", "sh", "-c", f"echo {number} > /tmp/x; sleep 1; cat /tmp/x")[1]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, (1, 2))) == [b"1\n", b"2\n"]


def test_deterministic_runs_are_identical():
    script = "cat /proc/uptime /proc/interrupts; head -c 8 /dev/urandom | od -t x1; exit 3"
    runs = []
    logs = []
    # Where there is none yet, the first run would tell of the building of it.
    subprocess.run([os.path.join(os.path.dirname(VM), "kernel"), "--quiet", "path", "base"],
                   stdout=subprocess.DEVNULL,
                   check=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("one", "two"):
            code, out, err = vm("--deterministic", "--kernel", "base", "--log",
                                f"{folder}/{name}", "--", "sh", "-c", script)
            # A host that is slow says what it is doing meanwhile.
            told = [line for line in err.splitlines() if line != "vm: packing the guest's files"]
            runs.append((code, out, told))
            with open(f"{folder}/{name}", "rb") as handle:
                logs.append(handle.read())
    assert runs[0][0] == 3 and runs[0][1], runs[0]
    assert runs[0] == runs[1], runs
    # The guest is ended by its host as soon as the command is over: where its log stops, in what it
    # says of itself meanwhile, is up to the host.
    both = min(map(len, logs))
    assert both and logs[0][:both] == logs[1][:both], logs


def test_deterministic_takes_input_from_a_file():
    with tempfile.TemporaryFile() as file:
        file.write(b"from a file\n")
        file.seek(0)
        code, out, err = vm("--deterministic", "--kernel", "base", "--", "cat", stdin=file)
    assert (code, out) == (0, b"from a file\n"), (code, out, err)


def test_a_shell_has_a_terminal():
    master, slave = pty.openpty()
    with subprocess.Popen([VM, "shell", "--no-module", "--timeout", "60"], stdin=slave,
                          stdout=slave, stderr=slave, start_new_session=True) as process:
        os.close(slave)
        seen = b""
        typed = sent = False
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if not select.select([master], [], [], 0.2)[0]:
                continue
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            seen += data
            if b"guest:" in seen and not typed:
                typed = True
                os.write(master, b"tty; echo $((6 * 7)); sleep 1000\n")
            if b"\n42\r\n" in seen and not sent:
                sent = True
                # Ctrl-C must reach the sleeping program in the guest, not us.
                time.sleep(1)
                os.write(master, b"\x03")
                time.sleep(0.5)
                os.write(master, b"exit 5\n")
        code = process.wait()
    os.close(master)
    assert b"/dev/pts/0" in seen and code == 5, (code, seen)


def test_gdb_finds_the_module():
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
            [VM, "gdb", *stand_in("good", "base"), "--timeout", "90", "--",
             "sh", "-c", "until test -e /sys/module/stm; do sleep 0.1; done; sleep 20"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said) as process:
        script = None
        for _ in range(200):
            said.seek(0)
            found = re.search(r"gdb (.*vmlinux\S*) -x (\S+)", said.read())
            if found:
                script = found.group(2)
                break
            time.sleep(0.1)
        assert script, "no gdb command was printed"
        symbols = os.path.join(os.path.dirname(script), "module.gdb")
        waiting = ("python\nimport threading, time\ndef later():\n"
                f"  while 'add-symbol' not in open('{symbols}').read(): time.sleep(0.1)\n"
                "  gdb.post_event(lambda: gdb.execute('interrupt'))\n"
                "threading.Thread(target=later, daemon=True).start()")
        steps = [waiting, "continue", "stm-symbols", "info symbol &how", "kill"]
        command = ["gdb", "-batch", os.path.join(kernels.folder("base"), "vmlinux"), "-x", script]
        for step in steps:
            command += ["-ex", step]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=90, check=False)
        process.wait(timeout=30)
    assert re.search(r"^how in section \.data", done.stdout, re.M), done.stdout


def slow_test_debug_kernel_finds_a_leak():
    code, _, err = vm(*stand_in("leak", "debug"), "--leak-check", "--", "true", module=True)
    assert code == 99 and "unreferenced object" in err, (code, err)


def slow_test_debug_kernel_has_no_leak_without_one():
    code, _, err = vm(*stand_in("good", "debug"), "--leak-check", "--", "true", module=True)
    assert code == 0, (code, err)


def slow_test_kcsan_kernel_boots():
    code, out, err = vm("--kernel", "kcsan", "--", "uname", "-r")
    assert code == 0 and b"kcsan" in out, (code, out, err)
