// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "report.hpp"

#include <fmt/format.h>

namespace stm::tools {

void add_ls(Program& program) {
    program.add("ls", "list all regions, also those that were removed and are still used",
                [](const Call& call) {
                    const std::vector<struct stm_info> regions = Module().regions();
                    if (call.json())
                        print(list_json(regions));
                    else
                        fmt::print("{}", list_text(regions));
                });
}

} // namespace stm::tools
