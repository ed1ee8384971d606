// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "report.hpp"

#include <fmt/format.h>

namespace stm::tools {

void add_ipcs(Program& program) {
    program.add("ipcs", "list the System V segments that are regions, as 'ipcs -m' does",
                [](const Call& call) {
                    const std::vector<struct stm_info> segments = sysv_segments(Module().regions());
                    if (call.json())
                        print(list_json(segments));
                    else
                        fmt::print("{}", ipcs_text(segments));
                });
}

} // namespace stm::tools
