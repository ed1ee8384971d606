// SPDX-License-Identifier: GPL-2.0
// What our own ways have in common: how they make a region, and what they do when something fails.
#pragma once

#include <cerrno>
#include <stm/stm.h>
#include <system_error>

namespace stm::bench {

[[noreturn]] inline void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// A new region, which lives as long as it is in use.
inline constexpr int kNew = STM_CREATE | STM_EXCL | STM_EPHEMERAL;

} // namespace stm::bench
