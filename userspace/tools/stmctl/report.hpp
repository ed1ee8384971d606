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

/** What is counted of a region; those of a plain one have no transactions. */
struct Counters {
    struct stm_info region;
    struct stm_statistics numbers;

    /** What has been counted since then; what is no counter is as it is now. */
    [[nodiscard]] Counters since(const Counters& earlier) const;
    /** Whether anything was counted. */
    [[nodiscard]] bool is_busy() const;
};

/**
 * The lines of a hexadecimal dump: the offset, 16 bytes, and what of them is text. A line of the
 * same bytes as the one before is left out, and the first of them is shown as '*'.
 */
class HexLines {
public:
    /** The lines of bytes that follow those of the call before; all calls but the last have a
     * multiple of 16. */
    [[nodiscard]] std::string of(std::uint64_t offset, const std::vector<unsigned char>& bytes);
    /** The last line, where the bytes end. */
    [[nodiscard]] std::string end(std::uint64_t offset) const;

private:
    std::vector<unsigned char> before_;
    bool left_out_ = false;
};

/** How its transactions work; "plain": it has none. Of STM_REGION_*. */
[[nodiscard]] const char* kind_name(std::uint32_t region_flags);
[[nodiscard]] std::string list_text(const std::vector<struct stm_info>& regions);
/** One name on a line, as a command takes it. Those that do not fit on a line are left out, and
 * those of regions that cannot be opened by them. */
[[nodiscard]] std::string names_text(const std::vector<struct stm_info>& regions);
[[nodiscard]] std::string region_text(const struct stm_info& region);
[[nodiscard]] std::string attachments_text(const std::vector<RegionUsers>& regions);
[[nodiscard]] std::string statistics_text(const struct stm_info& region,
                                          const struct stm_statistics& numbers);
/** `seconds` is the time in which it was counted; 0: since the regions' creation. */
[[nodiscard]] std::string stat_text(const std::vector<Counters>& rows, double seconds);
[[nodiscard]] std::string limits_text(const struct stm_version& version);

/** Those of them that are System V segments, in the order in which ipcs lists them. */
[[nodiscard]] std::vector<struct stm_info>
sysv_segments(const std::vector<struct stm_info>& regions);
/** What 'ipcs -m' prints of them. */
[[nodiscard]] std::string ipcs_text(const std::vector<struct stm_info>& segments);

// Numbers are in bytes and nanoseconds, "segment" is the number of shm_create() or null, ids and
// addresses are numbers too, modes are octal strings as chmod takes them.
[[nodiscard]] nlohmann::json list_json(const std::vector<struct stm_info>& regions);
[[nodiscard]] nlohmann::json region_json(const struct stm_info& region);
[[nodiscard]] nlohmann::json attachments_json(const std::vector<RegionUsers>& regions);
[[nodiscard]] nlohmann::json statistics_json(const struct stm_info& region,
                                             const struct stm_statistics& numbers);
[[nodiscard]] nlohmann::json stat_json(const std::vector<Counters>& rows, double seconds);
[[nodiscard]] nlohmann::json hexdump_json(const struct stm_info& region, std::uint64_t offset,
                                          const std::string& bytes);
[[nodiscard]] nlohmann::json limits_json(const struct stm_version& version);

} // namespace stm::tools
