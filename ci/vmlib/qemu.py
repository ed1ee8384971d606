# SPDX-License-Identifier: GPL-2.0
"""The QEMU command line, and whether this host's KVM can be trusted."""

import os
import subprocess
import tempfile

from . import cache, initramfs

PROGRAM = "qemu-system-x86_64"

# Quiet until init says otherwise; a panic ends QEMU at once (with -no-reboot). The last
# two save time: ACPI's interrupt links cost a debug kernel with a 9p device 15 seconds.
APPEND = ["console=ttyS0", "loglevel=5", "panic=-1", "oops=panic", "rdinit=/init",
          "no_timer_check", "tsc=reliable", "unknown_nmi_panic",
          "rcupdate.rcu_cpu_stall_timeout=60", "pci=noacpi", "cryptomgr.notests"]

# What is emulated. Linux and the C library take "rep movsb" and "rep stosb" for the fastest way to
# copy and to fill, where the processor says so: the emulator takes them byte by byte, and clearing
# a page costs twice as much. (Where instructions are counted, the processor says so.)
EMULATED = "max,-erms,-fsrm"

# Instruction-counted time: with these the boot neither waits for nor measures a clock
# that the count cannot pass in time.
APPEND_COUNTED = ["noapictimer", "lpj=4000000", "tsc_early_khz=1000000", "nokaslr"]


def append(spec):
    """The kernel's arguments; on most of them the last one given wins."""
    words = list(APPEND)
    config = kernel_config(spec.kernel_folder)
    if spec.counted:
        words += APPEND_COUNTED
    elif not spec.kvm:
        words += [f"tsc_early_khz={tsc_khz()}"]
    if spec.gdb:
        words += ["nokaslr"]
    if "CONFIG_KASAN=y" in config:
        # Not for KCSAN: a race that Linux has with itself is no reason to stop (races.py).
        words += ["panic_on_warn=1"]
    if "CONFIG_DEBUG_KMEMLEAK=y" in config and not spec.leak_check:
        # More than half of the debug kernel's cost.
        words += ["kmemleak=off"]
    return " ".join(words + spec.append)


def tsc_khz():
    """The rate of the counter that an emulated processor shows as its own.

    A guest on a busy host measures it wrongly, and then lives in a time of its own.
    """
    path = os.path.join(cache.root(), "tsc-khz")
    boot = _boot_id()
    known = _read_verdict(path, boot)
    if known is None:
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "tsc")
            cache.run(["gcc", "-O2", "-o", program, os.path.join(cache.CI, "vmlib", "tsc.c")])
            known = cache.run([program]).strip()
        _write_verdict(path, boot, known)
    return known


def kernel_config(folder):
    path = os.path.join(folder, "config")
    if not os.path.exists(path):
        return frozenset()
    with open(path, encoding="ascii") as handle:
        return frozenset(line for line in handle.read().splitlines()
                         if line.startswith("CONFIG_"))


def command(spec, initrd, console, channel, qmp, kvm):
    """`console` and `channel` are sockets, or files when instructions are counted."""
    args = [PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "pc,usb=off,vmport=off", "-m", spec.mem, "-smp", str(spec.smp),
            "-kernel", os.path.join(spec.kernel_folder, "boot.elf"),
            "-initrd", initrd, "-append", append(spec),
            "-chardev", f"socket,id=qmp,fd={qmp}", "-mon", "chardev=qmp,mode=control"]
    if spec.counted:
        args += ["-accel", "tcg,thread=single", "-cpu", "max",
                 "-icount", "shift=0,sleep=off", "-seed", "42",
                 "-rtc", "base=2024-01-01T00:00:00,clock=vm",
                 "-chardev", f"file,id=console,path=/proc/self/fd/{console}",
                 "-serial", "chardev:console",
                 "-chardev", f"file,id=channel,path=/proc/self/fd/{channel}",
                 "-serial", "chardev:channel"]
        return args + spec.qemu_args
    args += ["-accel", "kvm", "-cpu", "host"] if kvm else [
        "-accel", "tcg,thread=multi", "-cpu", EMULATED]
    args += ["-chardev", f"socket,id=console,fd={console}", "-serial", "chardev:console",
             "-device", "virtio-serial-pci,max_ports=2",
             "-chardev", f"socket,id=channel,fd={channel}",
             "-device", "virtserialport,chardev=channel,nr=1"]
    shares = [("host", "/", ",readonly=on")]
    shares += [(f"out{number}", path, "") for number, path in enumerate(spec.out)]
    for tag, path, mode in shares:
        args += ["-fsdev", f"local,id={tag},path={path.replace(',', ',,')},"
                           f"security_model=none,multidevs=remap{mode}",
                 "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return args + spec.qemu_args


def die_with_us(args):
    """QEMU must not survive us, not even a SIGKILL."""
    return ["setpriv", "--pdeathsig", "KILL", "--", *args]


def kvm_works(kernel_folder):
    """Tried once per boot of the host: the device may be there and run no kernel."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = _boot_id()
    path = os.path.join(cache.root(), "kvm-verdict")
    verdict = _read_verdict(path, boot)
    if verdict is None:
        with cache.lock("kvm"):
            verdict = _read_verdict(path, boot)
            if verdict is None:
                verdict = "yes" if _try_kvm(kernel_folder) else "no"
                _write_verdict(path, boot, verdict)
    return verdict == "yes"


def _boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as handle:
        return handle.read().strip()


def _read_verdict(path, boot):
    if not os.path.exists(path):
        return None
    with open(path, encoding="ascii") as handle:
        words = handle.read().split()
    return words[1] if len(words) == 2 and words[0] == boot else None


def _write_verdict(path, boot, verdict):
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="ascii") as handle:
        handle.write(f"{boot} {verdict}\n")
    os.rename(temporary, path)


def _try_kvm(kernel_folder, limit=2.0):
    """Boots until our init complains that nobody is there to talk to."""
    with tempfile.TemporaryFile() as output:
        args = [PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", "pc", "-accel", "kvm", "-cpu", "host", "-m", "512M", "-smp", "2",
                "-kernel", os.path.join(kernel_folder, "boot.elf"),
                "-initrd", initramfs.base(kernel_folder),
                "-append", " ".join(APPEND + ["stm_vm_trial"]), "-serial", "stdio"]
        with subprocess.Popen(die_with_us(args), stdin=subprocess.DEVNULL, stdout=output,
                              stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
        output.seek(0)
        return b"stm-vm: trial" in output.read()
