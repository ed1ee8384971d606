// SPDX-License-Identifier: GPL-2.0
// Whether what was done adds up.
#pragma once

#include "../ways/way.hpp"

namespace stm::bench {

// What a task has added to the total of its work, from what it returned. Throws if no transaction
// that is isolated can have returned that.
long effect_of(const Work& work, long result);

// The total: money, counts, elements, or what all records have.
long total_of(Contestant& contestant, const Work& work);
// What it is before the first task.
long first_total(const Work& work);

} // namespace stm::bench
