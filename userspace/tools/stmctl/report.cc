// SPDX-License-Identifier: GPL-2.0
#include "report.hpp"

#include "common/module.hpp"
#include "common/text.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <pwd.h>

namespace stm::tools {
namespace {

// Why transactions ended, as keys.
struct Reason {
    int number;
    const char* name;
};
constexpr Reason kReasons[] = {
    {STM_REASON_READ_LOCKED, "read_locked"},
    {STM_REASON_READ_VALIDATION, "read_validation"},
    {STM_REASON_COMMIT_LOCKED, "commit_locked"},
    {STM_REASON_COMMIT_VALIDATION, "commit_validation"},
    {STM_REASON_TOO_BIG, "too_big"},
    {STM_REASON_NO_MEMORY, "no_memory"},
    {STM_REASON_CANCEL, "cancel"},
    {STM_REASON_RETRY, "retry"},
    {STM_REASON_SIGNAL, "signal"},
    {STM_REASON_KILLED, "killed"},
    {STM_REASON_SERIAL_WAIT, "serial_wait"},
    {STM_REASON_OUT_OF_RANGE, "out_of_range"},
    {STM_REASON_FAULT, "fault"},
    {STM_REASON_CLOSED, "closed"},
};

std::string user_name(unsigned uid) {
    const struct passwd* user = ::getpwuid(uid);
    return user != nullptr ? user->pw_name : fmt::format("{}", uid);
}

std::string group_name(unsigned gid) {
    const struct group* group = ::getgrgid(gid);
    return group != nullptr ? group->gr_name : fmt::format("{}", gid);
}

std::string kind(const struct stm_info& region) {
    if ((region.region_flags & STM_REGION_PLAIN) != 0)
        return "plain";
    return (region.region_flags & STM_REGION_MUTEX) != 0 ? "mutex" : "transactional";
}

std::vector<std::string> traits(const struct stm_info& region) {
    std::vector<std::string> result;
    if ((region.region_flags & STM_REGION_EPHEMERAL) != 0)
        result.emplace_back("ephemeral");
    if ((region.region_flags & STM_REGION_EXEC) != 0)
        result.emplace_back("exec");
    if ((region.state & STM_STATE_UNLINKED) != 0)
        result.emplace_back("unlinked");
    if ((region.state & STM_STATE_SIZED) == 0)
        result.emplace_back("unsized");
    return result;
}

// Control characters of a name cannot drive the terminal, and a name that is gone is said to be.
std::string name_text(const struct stm_info& region) {
    const bool gone = (region.state & STM_STATE_UNLINKED) != 0;
    return printable(region.name) + (gone ? " (deleted)" : "");
}

// What --id takes: the number of a segment of <stm/shm.h>, which is what its users have, or else
// the module's.
std::string id_text(const struct stm_info& region) {
    const int number = segment_number(region);
    return number != 0 ? fmt::format("{}", number) : fmt::format("{:#x}", region.id);
}

std::string or_dash(std::string text) {
    return text.empty() ? "-" : text;
}

std::string pid_text(int pid) {
    return pid == 0 ? "-" : fmt::format("{}", pid);
}

const char* attachment_kind(const struct stm_attachment& attachment) {
    return attachment.kind == STM_ATTACHMENT_HANDLE ? "handle" : "mapping";
}

} // namespace

std::string list_text(const std::vector<struct stm_info>& regions) {
    Table table({{"MINOR", Align::right},
                 {"KIND", Align::left},
                 {"MODE", Align::left},
                 {"OWNER", Align::left},
                 {"GROUP", Align::left},
                 {"SIZE", Align::right},
                 {"RESIDENT", Align::right},
                 {"HANDLES", Align::right},
                 {"MAPPINGS", Align::right},
                 {"CREATOR", Align::right},
                 {"TRAITS", Align::left},
                 {"ID", Align::right},
                 {"NAME", Align::left}});
    for (const struct stm_info& region : regions)
        table.add({fmt::format("{}", region.minor), kind(region), format_mode(region.mode),
                   user_name(region.uid), group_name(region.gid), format_size(region.region_size),
                   format_size(region.resident_bytes), fmt::format("{}", region.handles),
                   fmt::format("{}", region.mappings), pid_text(region.creator_pid),
                   or_dash(fmt::format("{}", fmt::join(traits(region), ","))), id_text(region),
                   name_text(region)});
    return table.format();
}

std::string region_text(const struct stm_info& region) {
    std::string text;
    auto line = [&](const char* label, const std::string& value) {
        text += fmt::format("{:<12}{}\n", fmt::format("{}:", label), value);
    };
    line("name", name_text(region));
    line("id", fmt::format("{:#x}", region.id));
    if (const int number = segment_number(region); number != 0)
        line("shm_create", fmt::format("{}", number));
    line("minor", fmt::format("{}", region.minor));
    line("kind", kind(region));
    line("traits", or_dash(fmt::format("{}", fmt::join(traits(region), ","))));
    line("owner", fmt::format("{} ({})", user_name(region.uid), region.uid));
    line("group", fmt::format("{} ({})", group_name(region.gid), region.gid));
    line("mode", fmt::format("{} ({:04o})", format_mode(region.mode), region.mode));
    line("size", fmt::format("{} ({} bytes)", format_size(region.region_size), region.region_size));
    line("resident",
         fmt::format("{} ({} bytes)", format_size(region.resident_bytes), region.resident_bytes));
    line("handles", fmt::format("{}", region.handles));
    line("mappings", fmt::format("{}", region.mappings));
    line("creator", pid_text(region.creator_pid));
    line("created", format_time(region.created_ns));
    line("reads", fmt::format("{}", region.reads));
    line("writes", fmt::format("{}", region.writes));
    line("faults", fmt::format("{}", region.faults));
    return text;
}

std::string attachments_text(const std::vector<RegionUsers>& regions) {
    Table table({{"PID", Align::right},
                 {"COMMAND", Align::left},
                 {"WHAT", Align::left},
                 {"MAY", Align::left},
                 {"ADDRESS", Align::left},
                 {"OFFSET", Align::right},
                 {"LENGTH", Align::right},
                 {"NAME", Align::left}});
    for (const RegionUsers& users : regions)
        for (const struct stm_attachment& attachment : users.attachments) {
            bool mapping = attachment.kind == STM_ATTACHMENT_MAPPING;
            table.add({pid_text(attachment.pid), or_dash(printable(attachment.command)),
                       attachment_kind(attachment), format_protection(attachment.protection),
                       attachment.address == 0
                           ? "-"
                           : fmt::format("{:#x}-{:#x}", attachment.address,
                                         attachment.address + attachment.length),
                       mapping ? format_size(attachment.offset) : "-",
                       mapping ? format_size(attachment.length) : "-", name_text(users.region)});
        }
    return table.format();
}

std::string statistics_text(const struct stm_info& region, const struct stm_statistics& numbers) {
    std::string text;
    auto line = [&](std::string label, const std::string& value) {
        text += fmt::format("{:<18}{}\n", label + ":", value);
    };
    auto number = [&](const char* label, std::uint64_t value) {
        line(label, fmt::format("{}", value));
    };
    line("name", name_text(region));
    number("starts", numbers.starts);
    line("commits", fmt::format("{} ({} read only)", numbers.commits, numbers.read_only));
    number("calls", numbers.calls);
    std::uint64_t aborts = 0;
    for (const auto& [reason, name] : kReasons)
        aborts += numbers.aborts[reason];
    number("aborts", aborts);
    for (const auto& [reason, name] : kReasons)
        if (numbers.aborts[reason] != 0)
            line(fmt::format("  {}", name), fmt::format("{}", numbers.aborts[reason]));
    number("restarts", numbers.restarts);
    number("longest streak", numbers.longest_streak);
    number("serial", numbers.serial);
    number("extensions", numbers.extensions);
    number("signals", numbers.signals);
    line("waits", fmt::format("{} ({} waiting now)", numbers.waits, numbers.waiting));
    line("page faults",
         fmt::format("{} loads, {} stores", numbers.load_faults, numbers.store_faults));
    line("predicted pages",
         fmt::format("{} used, {} not used", numbers.predicted_used, numbers.predicted_unused));
    line("last committer", pid_text(numbers.last_committer_pid));
    return text;
}

std::string limits_text(const struct stm_version& version) {
    auto bytes = [](std::uint64_t value) {
        return fmt::format("{} ({} bytes)", format_size(value), value);
    };
    std::string text;
    auto line = [&](const char* label, const std::string& value) {
        text += fmt::format("{:<18}{}\n", fmt::format("{}:", label), value);
    };
    line("interface", fmt::format("{}.{}", version.abi_major, version.abi_minor));
    line("device major", fmt::format("{}", version.device_major));
    line("page size", bytes(version.page_size));
    line("regions", fmt::format("{} of at most {}", version.regions, version.max_regions));
    line("bytes",
         fmt::format("{} of at most {}", format_size(version.bytes), bytes(version.max_bytes)));
    line("resident", bytes(version.resident_bytes));
    line("one region", fmt::format("at most {}", bytes(version.max_region_bytes)));
    line("one user", fmt::format("at most {} regions, {}", version.max_user_regions,
                                 bytes(version.max_user_bytes)));
    return text;
}

nlohmann::json region_json(const struct stm_info& region) {
    return {{"name", region.name},
            {"id", region.id},
            {"segment", segment_number(region) != 0 ? nlohmann::json(segment_number(region))
                                                    : nlohmann::json(nullptr)},
            {"minor", region.minor},
            {"kind", kind(region)},
            {"ephemeral", (region.region_flags & STM_REGION_EPHEMERAL) != 0},
            {"exec", (region.region_flags & STM_REGION_EXEC) != 0},
            {"unlinked", (region.state & STM_STATE_UNLINKED) != 0},
            {"sized", (region.state & STM_STATE_SIZED) != 0},
            {"uid", region.uid},
            {"gid", region.gid},
            {"mode", fmt::format("{:04o}", region.mode)},
            {"size", region.region_size},
            {"resident", region.resident_bytes},
            {"handles", region.handles},
            {"mappings", region.mappings},
            {"creator_pid", region.creator_pid},
            {"created_ns", region.created_ns},
            {"reads", region.reads},
            {"writes", region.writes},
            {"faults", region.faults}};
}

nlohmann::json list_json(const std::vector<struct stm_info>& regions) {
    nlohmann::json list = nlohmann::json::array();
    for (const struct stm_info& region : regions)
        list.push_back(region_json(region));
    return {{"regions", list}};
}

nlohmann::json attachments_json(const std::vector<RegionUsers>& regions) {
    nlohmann::json list = nlohmann::json::array();
    for (const RegionUsers& users : regions) {
        nlohmann::json attachments = nlohmann::json::array();
        for (const struct stm_attachment& attachment : users.attachments)
            attachments.push_back({{"kind", attachment_kind(attachment)},
                                   {"pid", attachment.pid},
                                   {"command", attachment.command},
                                   {"address", attachment.address},
                                   {"length", attachment.length},
                                   {"offset", attachment.offset},
                                   {"protection", format_protection(attachment.protection)}});
        list.push_back({{"name", users.region.name},
                        {"id", users.region.id},
                        {"minor", users.region.minor},
                        {"unlinked", (users.region.state & STM_STATE_UNLINKED) != 0},
                        {"attachments", attachments}});
    }
    return {{"regions", list}};
}

nlohmann::json statistics_json(const struct stm_info& region,
                               const struct stm_statistics& numbers) {
    nlohmann::json aborts = nlohmann::json::object();
    for (const auto& [reason, name] : kReasons)
        aborts[name] = numbers.aborts[reason];
    return {{"name", region.name},
            {"id", region.id},
            {"starts", numbers.starts},
            {"commits", numbers.commits},
            {"read_only", numbers.read_only},
            {"calls", numbers.calls},
            {"aborts", aborts},
            {"restarts", numbers.restarts},
            {"longest_streak", numbers.longest_streak},
            {"serial", numbers.serial},
            {"extensions", numbers.extensions},
            {"signals", numbers.signals},
            {"waits", numbers.waits},
            {"waiting", numbers.waiting},
            {"load_faults", numbers.load_faults},
            {"store_faults", numbers.store_faults},
            {"predicted_used", numbers.predicted_used},
            {"predicted_unused", numbers.predicted_unused},
            {"last_committer_pid", numbers.last_committer_pid}};
}

nlohmann::json limits_json(const struct stm_version& version) {
    return {{"abi_major", version.abi_major},
            {"abi_minor", version.abi_minor},
            {"device_major", version.device_major},
            {"page_size", version.page_size},
            {"regions", version.regions},
            {"max_regions", version.max_regions},
            {"bytes", version.bytes},
            {"max_bytes", version.max_bytes},
            {"resident_bytes", version.resident_bytes},
            {"max_region_bytes", version.max_region_bytes},
            {"max_user_regions", version.max_user_regions},
            {"max_user_bytes", version.max_user_bytes}};
}

} // namespace stm::tools
