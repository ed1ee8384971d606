// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "contents.hpp"

namespace stm::tools {

void add_load(Program& program) {
    auto words = std::make_shared<RegionWords>();
    program
        .add("load", "write standard input to a region, from its beginning",
             [words](const Call& call) {
                 const Place at(call, *words);
                 load_region(at.module, at.region);
             })
        .region(*words);
}

} // namespace stm::tools
