// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "report.hpp"

#include <fmt/format.h>

namespace stm::tools {

void add_ls(Program& program) {
    auto names = std::make_shared<bool>(false);
    program
        .add("ls", "list all regions, also those that were removed and are still used",
             [names](const Call& call) {
                 const std::vector<struct stm_info> regions = Module().regions();
                 if (*names)
                     fmt::print("{}", names_text(regions));
                 else if (call.json())
                     print(list_json(regions));
                 else
                     fmt::print("{}", list_text(regions));
             })
        .flag("--names", *names, "only the names that lead to a region, one on a line");
}

} // namespace stm::tools
