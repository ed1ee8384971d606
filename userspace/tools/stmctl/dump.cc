// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "contents.hpp"

namespace stm::tools {

void add_dump(Program& program) {
    auto words = std::make_shared<RegionWords>();
    program
        .add("dump", "write a region's bytes to standard output",
             [words](const Call& call) {
                 const Place at(call, *words);
                 dump_region(at.module, at.region);
             })
        .region(*words);
}

} // namespace stm::tools
