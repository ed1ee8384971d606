// SPDX-License-Identifier: GPL-2.0
// Regions that come and go, and processes that have not enough memory.
#pragma once

#include "tests/storm/access.hpp"

#include <string>

namespace stm::storm {

/** Makes a region or finds one, uses it, and destroys it, in some order. */
void churn(const Self& self, const std::string& prefix);
/** Destroys what killed processes have left of these regions. */
void clean_up_churn(const std::string& prefix);

/** Uses far more memory than its control group allows; ends with kNoMemory when it is told. */
void exceed(const Self& self, const std::string& prefix);

} // namespace stm::storm
