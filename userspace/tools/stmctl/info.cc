// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "report.hpp"

#include <fmt/format.h>

namespace stm::tools {

void add_info(Program& program) {
    auto words = std::make_shared<RegionWords>();
    program
        .add("info", "show one region",
             [words](const Call& call) {
                 const Place at(call, *words);
                 const struct stm_info region = at.module.info(at.region);
                 if (call.json())
                     print(region_json(region));
                 else
                     fmt::print("{}", region_text(region));
             })
        .region(*words);
}

} // namespace stm::tools
