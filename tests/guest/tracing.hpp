// SPDX-License-Identifier: GPL-2.0
// What the tests of tracepoints share.
#pragma once

#include <filesystem>
#include <gtest/gtest.h>
#include <unistd.h>

// When an event is switched on, Linux patches code. The emulated processors do not always survive
// that while another one executes this code, so these tests are for guests with one.
#define SKIP_UNLESS_TRACED()                                                                       \
    do {                                                                                           \
        if (!std::filesystem::exists("/sys/kernel/tracing/events/stm"))                            \
            GTEST_SKIP() << "this kernel has no tracepoints";                                      \
        if (::sysconf(_SC_NPROCESSORS_ONLN) != 1)                                                  \
            GTEST_SKIP() << "this is for a guest with one processor";                              \
    } while (false)
