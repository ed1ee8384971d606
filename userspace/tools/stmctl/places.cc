// SPDX-License-Identifier: GPL-2.0
#include "places.hpp"

#include "common/text.hpp"

#include <fmt/format.h>

namespace stm::tools {

std::string place_text(const std::vector<struct stm_place>& places, std::uint64_t offset) {
    const struct stm_place* best = nullptr;
    for (const struct stm_place& place : places) {
        // A conflict is about a stripe, in which several parts may begin.
        const bool inside = offset >= place.offset && offset - place.offset < place.length;
        const bool begins = place.offset >= offset && place.offset - offset < 64;
        if ((inside || begins) && (best == nullptr || place.length < best->length))
            best = &place;
    }
    if (best == nullptr)
        return fmt::format("{}", offset);
    if (offset <= best->offset)
        return printable(best->name);
    return fmt::format("{}+{}", printable(best->name), offset - best->offset);
}

std::string Places::at(std::uint64_t id, std::uint64_t offset) {
    auto found = known_.find(id);
    if (found == known_.end()) {
        std::vector<struct stm_place> places;
        try {
            places = module_.places(Selector::by_id(id));
        } catch (const Failure&) {
            // The region is gone.
        }
        found = known_.emplace(id, std::move(places)).first;
    }
    return place_text(found->second, offset);
}

} // namespace stm::tools
