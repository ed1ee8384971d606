// SPDX-License-Identifier: GPL-2.0
// What stmctl prints, from what the module told: as text and as JSON. No system calls but the
// look-up of user names.
#pragma once

#include <nlohmann/json.hpp>
#include <stm/ioctl.h>
#include <string>
#include <vector>

namespace stm::tools {

struct RegionUsers {
    struct stm_info region;
    std::vector<struct stm_attachment> attachments;
};

[[nodiscard]] std::string list_text(const std::vector<struct stm_info>& regions);
[[nodiscard]] std::string region_text(const struct stm_info& region);
[[nodiscard]] std::string attachments_text(const std::vector<RegionUsers>& regions);
[[nodiscard]] std::string statistics_text(const struct stm_info& region,
                                          const struct stm_statistics& numbers);
[[nodiscard]] std::string limits_text(const struct stm_version& version);

// Numbers are in bytes and nanoseconds, "segment" is the number of shm_create() or null, ids and
// addresses are numbers too, modes are octal strings as chmod takes them.
[[nodiscard]] nlohmann::json list_json(const std::vector<struct stm_info>& regions);
[[nodiscard]] nlohmann::json region_json(const struct stm_info& region);
[[nodiscard]] nlohmann::json attachments_json(const std::vector<RegionUsers>& regions);
[[nodiscard]] nlohmann::json statistics_json(const struct stm_info& region,
                                             const struct stm_statistics& numbers);
[[nodiscard]] nlohmann::json limits_json(const struct stm_version& version);

} // namespace stm::tools
