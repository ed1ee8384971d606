// SPDX-License-Identifier: GPL-2.0
// The module's parameters, most of which may change at any time.
#pragma once

#include "kernel/interface/settings.h"

namespace stm::kernel {

// The most pages that are predicted for one site, whatever the parameter says.
inline constexpr unsigned kMostPredictedPages = 256;

// The most pages that a context keeps in warm mappings, whatever the parameter says. Each counts as
// read by all of the thread's transactions: more would make each of them a large commit
// (kMaxConcurrentCost).
inline constexpr unsigned kMostWarmPages = 128;

// The current value of a setting.
template <typename T>
[[nodiscard]] T current(const T& setting) noexcept {
    return __atomic_load_n(&setting, __ATOMIC_RELAXED);
}

// Whether each of them is in its range.
[[nodiscard]] bool are_valid(const stm_settings& settings) noexcept;

} // namespace stm::kernel
