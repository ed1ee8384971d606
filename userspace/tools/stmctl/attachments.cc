// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "report.hpp"

#include <fmt/format.h>

namespace stm::tools {
namespace {

std::vector<RegionUsers> all_users() {
    std::vector<RegionUsers> result;
    const Module module;
    for (const struct stm_info& region : module.regions()) {
        try {
            result.push_back({region, module.attachments(Selector::by_id(region.id))});
        } catch (const Failure&) {
            // Destroyed since it was listed.
        }
    }
    return result;
}

std::vector<RegionUsers> users_of(const Place& at) {
    return {{at.module.info(at.region), at.module.attachments(at.region)}};
}

} // namespace

void add_attachments(Program& program) {
    auto words = std::make_shared<RegionWords>();
    program
        .add("attachments", "who uses a region, or each region",
             [words](const Call& call) {
                 const std::vector<RegionUsers> users =
                     words->empty() ? all_users() : users_of(Place(call, *words));
                 if (call.json())
                     print(attachments_json(users));
                 else
                     fmt::print("{}", attachments_text(users));
             })
        .region(*words, "the region's name; without it, all regions");
}

} // namespace stm::tools
