// SPDX-License-Identifier: GPL-2.0
// The module's parameters, most of which may change at any time.
#pragma once

#include "kernel/interface/settings.h"

namespace stm::kernel {

// How many pages are predicted at most for one site, whatever the parameter says.
inline constexpr unsigned kMostPredictedPages = 256;

// The value of a setting at this moment.
template <typename T>
[[nodiscard]] T current(const T& setting) noexcept {
    return __atomic_load_n(&setting, __ATOMIC_RELAXED);
}

// Whether each of them is in its range.
[[nodiscard]] bool are_valid(const stm_settings& settings) noexcept;

} // namespace stm::kernel
