// SPDX-License-Identifier: GPL-2.0
// What places in regions are called, for those who show conflicts.
#pragma once

#include "common/module.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace stm::tools {

/** The name of the stripe at the offset, "accounts+64", or the offset where it has none. */
[[nodiscard]] std::string place_text(const std::vector<struct stm_place>& places,
                                     std::uint64_t offset);

class Places {
public:
    explicit Places(const Module& module) : module_(module) {}

    /** "accounts+64", or "8448" where no name was given. */
    [[nodiscard]] std::string at(std::uint64_t id, std::uint64_t offset);
    /** The names may have changed. */
    void look_again() { known_.clear(); }

private:
    const Module& module_;
    std::map<std::uint64_t, std::vector<struct stm_place>> known_;
};

} // namespace stm::tools
