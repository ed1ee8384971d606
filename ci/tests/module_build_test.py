# SPDX-License-Identifier: GPL-2.0
"""The build of the module, in a copy of its sources."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile

from vmlib import cache

PARTS = ("Makefile", "Kbuild", "ci", "kernel", "runtime", "include")
BROKEN = "kernel/core/plain_calls.cc"
MODULE = "build/kernel/6.12/stm.ko"


@contextlib.contextmanager
def sources():
    """The folder of a copy, without anything built."""
    with tempfile.TemporaryDirectory(prefix="stm-test.") as folder:
        for part in PARTS:
            origin = os.path.join(cache.REPO, part)
            copy = shutil.copytree if os.path.isdir(origin) else shutil.copy2
            copy(origin, os.path.join(folder, part))
        yield folder


def make(folder, *words):
    """(exit status, output) of make there."""
    env = {name: value for name, value in os.environ.items()
           if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "CXX")}
    done = subprocess.run(["make", "-C", folder, *words], env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def add(folder, text):
    with open(os.path.join(folder, BROKEN), "a", encoding="ascii") as handle:
        handle.write(text)


def expect_failure(folder):
    code, said = make(folder, "module")
    assert code != 0 and f"{os.path.basename(BROKEN)}:" in said and "error" in said, (code, said)


def test_an_error_in_a_source_fails_the_build_each_time():
    with sources() as folder:
        add(folder, "this is no C++\n")
        expect_failure(folder)
        expect_failure(folder)
        assert not os.path.exists(f"{folder}/{MODULE}")


def test_an_error_in_a_source_fails_the_build_after_a_good_one():
    with sources() as folder:
        code, said = make(folder, "module")
        assert code == 0, said
        with open(f"{folder}/{BROKEN}", encoding="ascii") as handle:
            good = handle.read()
        add(folder, "this is no C++\n")
        expect_failure(folder)
        expect_failure(folder)
        with open(f"{folder}/{BROKEN}", "w", encoding="ascii") as handle:
            handle.write(good)
        code, said = make(folder, "module")
        assert code == 0, said


def test_a_tool_that_fails_after_the_compiler_fails_the_build_each_time():
    with sources() as folder:
        for _ in range(2):
            code, said = make(folder, "module", "OBJCOPY=false")
            assert code != 0, said


def test_the_compiler_of_the_command_line_is_taken():
    with sources() as folder:
        compiler = os.path.join(folder, "compiler")
        with open(compiler, "w", encoding="ascii") as handle:
            handle.write(f'#!/bin/sh\n: >"{folder}/called"\nexec g++ "$@"\n')
        os.chmod(compiler, 0o755)
        code, said = make(folder, "module", f"CXX={compiler}")
        assert code == 0 and os.path.exists(f"{folder}/called"), said


def test_a_kernel_without_what_the_module_needs_is_told_what_is_missing():
    """A stand-in for a kernel of tomorrow: no way of Linux that is known is there any more."""
    with sources() as folder:
        for name in os.listdir(f"{folder}/kernel/features"):
            if name.endswith(".c"):
                with open(f"{folder}/kernel/features/{name}", "w", encoding="ascii") as handle:
                    handle.write("#error this kernel does it otherwise\n")
        code, said = make(folder, "module", "VERSION=99")
        assert code != 0 and "Linux 99.12 is newer than " in said, said
        for missing in ("vm_flags_mod()", "class_create()", "devnode()", "inode_permission()",
                        "copy_splice_read()", "system_dfl_wq", "get_dumpable()"):
            assert re.search(rf"error: #error .*{re.escape(missing)}", said), (missing, said)


def test_a_kernel_that_clang_has_built_is_refused_in_one_sentence():
    """A stand-in for one: its configuration says so, or its compiler is called so."""
    with sources() as folder:
        compiler = os.path.join(folder, "clang-19")
        with open(compiler, "w", encoding="ascii") as handle:
            handle.write('#!/bin/sh\nexec gcc "$@"\n')
        os.chmod(compiler, 0o755)
        for word in ("CONFIG_CC_IS_CLANG=y", f"CC={compiler}"):
            code, said = make(folder, "module", word)
            refusals = re.findall("^.*clang: the module is for kernels that gcc has built.*$", said,
                                  re.MULTILINE)
            assert code != 0 and len(refusals) == 1, (word, said)
            assert "error: " not in said and not os.path.exists(f"{folder}/{MODULE}"), (word, said)
            farm = f"{folder}/{os.path.dirname(MODULE)}"
            kernel = cache.run([os.path.join(cache.CI, "kernel"), "path", "6.12"]).strip()
            code, said = make(f"{kernel}/build", f"M={farm}", word, "clean")
            assert code == 0, (word, said)


def test_a_function_that_a_kernel_exports_no_more_is_named():
    with sources() as folder:
        with open(f"{folder}/kernel/glue/module.c", "a", encoding="ascii") as handle:
            handle.write("\nvoid stm_of_yesterday(void);\nvoid stm_caller(void);\n"
                         "void stm_caller(void)\n{\n\tstm_of_yesterday();\n}\n")
        code, said = make(folder, "module")
        assert code != 0 and "stm_of_yesterday" in said and "undefined" in said, said
        assert "is newer than" not in said, said


def cxx(*words):
    """What CXX is, where these words are on make's command line."""
    text = ("obj := o\nsrc := s\nall: ; @echo '$(CXX)'\n"
            f"include {os.path.join(cache.REPO, 'kernel', 'cxx.mk')}\n")
    env = dict(os.environ, CXX="of-the-environment")
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
        env.pop(name, None)
    return subprocess.run(["make", "-s", "-f", "-", *words], input=text, env=env, text=True,
                          stdout=subprocess.PIPE, check=True).stdout.strip()


def test_the_cxx_compiler_is_the_neighbour_of_the_c_compiler():
    for cc, expected in (
            ("gcc", "g++"), ("gcc-12", "g++-12"), ("ccache gcc-12", "ccache g++-12"),
            ("x86_64-linux-gnu-gcc-12", "x86_64-linux-gnu-g++-12"),
            ("/opt/gcc-12/bin/gcc-12", "/opt/gcc-12/bin/g++-12"),
            ("/gcc/ccache /gcc/bin.gcc/gcc -B/gcc/gcc", "/gcc/ccache /gcc/bin.gcc/g++ -B/gcc/gcc"),
            ("clang", "clang")):
        assert cxx(f"CC={cc}") == expected, (cc, cxx(f"CC={cc}"))
    assert cxx("CC=gcc", "CXX=/a/gcc/of mine") == "/a/gcc/of mine"


def test_depmod_takes_the_module_without_a_word():
    cache.run([os.path.join(cache.CI, "module"), "6.12"], cwd=cache.REPO)
    with tempfile.TemporaryDirectory(prefix="stm-test.") as folder:
        modules = f"{folder}/lib/modules/6.12"
        os.makedirs(f"{modules}/updates")
        shutil.copy(os.path.join(cache.REPO, MODULE), f"{modules}/updates")
        for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
            with open(f"{modules}/{name}", "wb"):
                pass
        done = subprocess.run([cache.find_program("depmod"), "-b", folder, "6.12"], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout
        with open(f"{modules}/modules.dep", encoding="ascii") as handle:
            assert "updates/stm.ko:" in handle.read()
