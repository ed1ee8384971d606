// SPDX-License-Identifier: GPL-2.0
// What a storm counted, in the order in which it is shown.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace stm::storm {

struct Figures {
    struct Figure {
        std::string name; // in JSON
        std::string text; // in the report
        std::uint64_t value;
    };
    std::vector<Figure> list;

    void add(std::string name, std::string text, std::uint64_t value) {
        list.push_back({std::move(name), std::move(text), value});
    }
};

} // namespace stm::storm
