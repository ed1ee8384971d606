// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "report.hpp"

#include <fmt/format.h>

namespace stm::tools {

void add_limits(Program& program) {
    program.add("limits", "the module's limits and how much of them is used", [](const Call& call) {
        const struct stm_version version = Module().version();
        if (call.json())
            print(limits_json(version));
        else
            fmt::print("{}", limits_text(version));
    });
}

} // namespace stm::tools
