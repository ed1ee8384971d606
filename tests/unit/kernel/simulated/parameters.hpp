// SPDX-License-Identifier: GPL-2.0
// The module's parameters, as small as tests want them.
#pragma once

#include "kernel/interface/settings.h"

namespace stm::simulated {

// One user may have less than all of them, and no limit is far away. A test changes what it is
// about.
stm_settings usual_parameters();

} // namespace stm::simulated
