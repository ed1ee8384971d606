// SPDX-License-Identifier: GPL-2.0
#include "report.hpp"

#include "common/module.hpp"
#include "common/text.hpp"
#include "userspace/connection/sysv_segment.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <iterator>
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
    {STM_REASON_SNAPSHOT_TOO_OLD, "snapshot_too_old"},
};

std::string user_name(unsigned uid) {
    const struct passwd* user = ::getpwuid(uid);
    return user != nullptr ? user->pw_name : fmt::format("{}", uid);
}

std::string group_name(unsigned gid) {
    const struct group* group = ::getgrgid(gid);
    return group != nullptr ? group->gr_name : fmt::format("{}", gid);
}

const char* kind(const struct stm_info& region) {
    return kind_name(region.region_flags);
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

// Of these, those that another attempt may not meet.
std::uint64_t conflicts(const struct stm_statistics& numbers) {
    return numbers.aborts[STM_REASON_READ_LOCKED] + numbers.aborts[STM_REASON_READ_VALIDATION] +
           numbers.aborts[STM_REASON_COMMIT_LOCKED] + numbers.aborts[STM_REASON_COMMIT_VALIDATION] +
           numbers.aborts[STM_REASON_SNAPSHOT_TOO_OLD];
}

std::uint64_t aborts(const struct stm_statistics& numbers) {
    std::uint64_t sum = 0;
    for (const auto& [reason, name] : kReasons)
        sum += numbers.aborts[reason];
    return sum;
}

// Each number that only grows, of both structures.
template <typename Function>
void for_each_counter(Counters& counters, const Counters& earlier, Function function) {
    function(counters.region.reads, earlier.region.reads);
    function(counters.region.writes, earlier.region.writes);
    function(counters.region.faults, earlier.region.faults);
    struct stm_statistics& now = counters.numbers;
    const struct stm_statistics& then = earlier.numbers;
    function(now.starts, then.starts);
    function(now.commits, then.commits);
    function(now.read_only, then.read_only);
    function(now.calls, then.calls);
    for (std::size_t reason = 0; reason < STM_REASONS; ++reason)
        function(now.aborts[reason], then.aborts[reason]);
    function(now.restarts, then.restarts);
    function(now.serial, then.serial);
    function(now.waits, then.waits);
    function(now.signals, then.signals);
    function(now.extensions, then.extensions);
    function(now.load_faults, then.load_faults);
    function(now.store_faults, then.store_faults);
    function(now.predicted_used, then.predicted_used);
    function(now.predicted_unused, then.predicted_unused);
}

} // namespace

const char* kind_name(std::uint32_t region_flags) {
    if ((region_flags & STM_REGION_PLAIN) != 0)
        return "plain";
    if ((region_flags & STM_REGION_MUTEX) != 0)
        return "mutex";
    return (region_flags & STM_REGION_DIRECT) != 0 ? "direct" : "transactional";
}

Counters Counters::since(const Counters& earlier) const {
    Counters result = *this;
    for_each_counter(result, earlier, [](auto& now, auto then) { now -= then; });
    return result;
}

bool Counters::is_busy() const {
    Counters copy = *this;
    bool busy = false;
    for_each_counter(copy, copy, [&](auto& now, auto) { busy = busy || now != 0; });
    return busy;
}

std::string HexLines::of(std::uint64_t offset, const std::vector<unsigned char>& bytes) {
    constexpr std::size_t kColumns = 16;
    std::string text;
    for (std::size_t at = 0; at < bytes.size(); at += kColumns) {
        const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end = begin + static_cast<std::ptrdiff_t>(std::min(kColumns, bytes.size() - at));
        std::vector<unsigned char> line(begin, end);
        if (line == before_) {
            text += left_out_ ? "" : "*\n";
            left_out_ = true;
            continue;
        }
        left_out_ = false;
        text += fmt::format("{:08x} ", offset + at);
        std::string letters;
        for (std::size_t column = 0; column < kColumns; ++column) {
            text += column % 8 == 0 ? " " : "";
            if (column >= line.size()) {
                text += "   ";
                continue;
            }
            const unsigned char byte = line[column];
            text += fmt::format("{:02x} ", byte);
            letters += byte >= 0x20 && byte < 0x7f ? static_cast<char>(byte) : '.';
        }
        text += fmt::format(" |{}|\n", letters);
        before_ = std::move(line);
    }
    return text;
}

std::string HexLines::end(std::uint64_t offset) const {
    return fmt::format("{:08x}\n", offset);
}

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

std::string names_text(const std::vector<struct stm_info>& regions) {
    std::string text;
    for (const struct stm_info& region : regions)
        if ((region.state & STM_STATE_UNLINKED) == 0 && printable(region.name) == region.name)
            text += fmt::format("{}\n", region.name);
    return text;
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
    number("aborts", aborts(numbers));
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

std::string stat_text(const std::vector<Counters>& rows, double seconds) {
    const std::string per = seconds > 0 ? "/S" : "";
    Table table({{"COMMITS" + per, Align::right},
                 {"CALLS" + per, Align::right},
                 {"CONFLICTS" + per, Align::right},
                 {"ABORTS" + per, Align::right},
                 {"READS" + per, Align::right},
                 {"WRITES" + per, Align::right},
                 {"FAULTS" + per, Align::right},
                 {"WAITING", Align::right},
                 {"RESIDENT", Align::right},
                 {"NAME", Align::left}});
    const auto rate = [seconds](std::uint64_t number) {
        if (seconds > 0)
            return fmt::format("{:.0f}", static_cast<double>(number) / seconds);
        return fmt::format("{}", number);
    };
    for (const auto& [region, numbers] : rows)
        table.add({rate(numbers.commits), rate(numbers.calls), rate(conflicts(numbers)),
                   rate(aborts(numbers)), rate(region.reads), rate(region.writes),
                   rate(region.faults), fmt::format("{}", numbers.waiting),
                   format_size(region.resident_bytes), name_text(region)});
    return table.format();
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

std::vector<struct stm_info> sysv_segments(const std::vector<struct stm_info>& regions) {
    std::vector<struct stm_info> segments;
    std::copy_if(regions.begin(), regions.end(), std::back_inserter(segments),
                 connection::is_sysv_segment);
    // By their index for SHM_STAT: the module gives the highest minor first.
    std::sort(segments.begin(), segments.end(),
              [](const auto& one, const auto& other) { return one.minor > other.minor; });
    return segments;
}

std::string ipcs_text(const std::vector<struct stm_info>& segments) {
    std::string text = fmt::format("\n------ Shared Memory Segments --------\n{:<10} {:<10} {:<10} "
                                   "{:<10} {:<10} {:<10} {:<12}\n",
                                   "key", "shmid", "owner", "perms", "bytes", "nattch", "status");
    for (const struct stm_info& segment : segments) {
        const unsigned mode = connection::sysv_mode(segment);
        text += fmt::format("0x{:08x} {:<10} {:<10.10} {:<10o} {:<10} {:<10} {:<6} {:<6}\n",
                            static_cast<unsigned>(connection::sysv_key(segment)),
                            connection::segment_id(segment.id), user_name(segment.uid),
                            segment.mode, segment.segment_bytes, segment.mappings,
                            (mode & SHM_DEST) != 0 ? "dest" : " ",
                            (mode & SHM_LOCKED) != 0 ? "locked" : " ");
    }
    return text + "\n";
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

nlohmann::json stat_json(const std::vector<Counters>& rows, double seconds) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& [region, numbers] : rows) {
        nlohmann::json row = statistics_json(region, numbers);
        row["conflicts"] = conflicts(numbers);
        row["reads"] = region.reads;
        row["writes"] = region.writes;
        row["faults"] = region.faults;
        row["resident"] = region.resident_bytes;
        list.push_back(row);
    }
    return {{"seconds", seconds > 0 ? nlohmann::json(seconds) : nlohmann::json(nullptr)},
            {"regions", list}};
}

nlohmann::json hexdump_json(const struct stm_info& region, std::uint64_t offset,
                            const std::string& bytes) {
    return {{"name", region.name},
            {"id", region.id},
            {"offset", offset},
            {"length", bytes.size() / 2},
            {"hex", bytes}};
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
