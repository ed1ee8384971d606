# SPDX-License-Identifier: GPL-2.0
"""Checks of ci/lint, on sources with a line more."""

import importlib.machinery
import importlib.util
import os

from vmlib import cache


def lint():
    loader = importlib.machinery.SourceFileLoader("lint", os.path.join(cache.CI, "lint"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("lint", loader))
    loader.exec_module(module)
    return module


def test_what_depends_on_a_kernel_is_found_where_it_does_not_belong():
    check = lint().check_differences
    for line in ("#ifdef CONFIG_MEMCG", "#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)",
                 "# elif defined(STM_HAS_idmap)", "#ifndef S_ANON_INODE",
                 "\tif (IS_ENABLED(CONFIG_PREEMPT_RT))"):
        for name in ("kernel/glue/view.c", "kernel/core/view.cc", "runtime/support/atomic.hpp"):
            found = list(check({name: f"int first;\n{line}\n"}))
            assert found and found[0].startswith(f"{name}:2: "), (name, line, found)
        assert not list(check({"kernel/glue/compat.h": line})), line
    for line in ("#ifdef __cplusplus", "#ifdef STM_TEST_HOOKS", "#ifndef STM_GLUE_H",
                 "#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)",
                 "#ifndef STM_KERNEL_CORE /* the core has its own */"):
        assert not list(check({"kernel/interface/types.h": line})), line
