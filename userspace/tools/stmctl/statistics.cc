// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "report.hpp"

#include <fmt/format.h>

namespace stm::tools {

void add_statistics(Program& program) {
    auto words = std::make_shared<RegionWords>();
    program
        .add("statistics", "what the transactions of a region did",
             [words](const Call& call) {
                 const Place at(call, *words);
                 const struct stm_info what = at.module.info(at.region);
                 const struct stm_statistics numbers = at.module.statistics(at.region);
                 if (call.json())
                     print(statistics_json(what, numbers));
                 else
                     fmt::print("{}", statistics_text(what, numbers));
             })
        .region(*words);
}

} // namespace stm::tools
