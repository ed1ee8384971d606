// SPDX-License-Identifier: GPL-2.0
// The rows of the table of memory calls: one group of them in each source file.
#pragma once

#include "subject.hpp"

#include <functional>
#include <string>
#include <vector>

namespace stm::test {

/** One call. What it returns is the cell of the table: the result, and an effect where the result
 * does not tell it. */
struct Row {
    std::string call;
    std::function<std::string(Subject&)> run;
};
using Rows = std::vector<Row>;

Rows advice_rows();
Rows protection_rows();
Rows move_rows();
Rows watching_rows();
Rows futex_rows();
Rows foreign_rows();
Rows device_rows();

/** The letters of the line VmFlags of the mapping in /proc/self/smaps contain these two. */
bool has_flag(const void* address, const std::string& letters);

} // namespace stm::test
