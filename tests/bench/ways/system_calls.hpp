// SPDX-License-Identifier: GPL-2.0
// Counts the system calls of a function, as a tracer sees them.
#pragma once

#include <functional>

namespace stm::bench {

// Makes what is to be counted, in a process of its own.
using Counted = std::function<std::function<void()>()>;

// The system calls of one call of that function on average, when it has been called some times
// already. Throws std::runtime_error.
double system_calls_of(const Counted& counted);

} // namespace stm::bench
