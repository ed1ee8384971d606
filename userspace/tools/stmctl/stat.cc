// SPDX-License-Identifier: GPL-2.0
// The counters of regions, again and again, as iostat shows those of disks.
#include "command.hpp"
#include "common/text.hpp"
#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

namespace stm::tools {
namespace {

struct Words {
    std::vector<std::string> names;
    std::string interval;
    std::string count;
    bool no_first = false;
    bool all = false;
};

using Clock = std::chrono::steady_clock;

double positive(const Call& call, const std::string& text, const char* what) {
    double number = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || rest != text.data() + text.size() || !(number > 0) ||
        number > 86400.0 * 365)
        throw call.wrong_usage(
            fmt::format("'{}' is no {}; it is a positive number", printable(text), what));
    return number;
}

bool is_wanted(const Words& words, const struct stm_info& region) {
    return words.names.empty() ||
           std::find(words.names.begin(), words.names.end(), region.name) != words.names.end();
}

// The counters of all regions that are wanted, by their ids.
std::map<std::uint64_t, Counters> look(const Module& module, const Words& words) {
    std::map<std::uint64_t, Counters> result;
    for (const struct stm_info& region : module.regions()) {
        if (!is_wanted(words, region))
            continue;
        try {
            const Selector selector = Selector::by_id(region.id);
            result[region.id] = {region, (region.region_flags & STM_REGION_PLAIN) != 0
                                             ? stm_statistics{}
                                             : module.statistics(selector)};
        } catch (const Failure&) {
            // Destroyed since it was listed.
        }
    }
    return result;
}

// Standard output is gone, as in `stmctl stat 1 | head`.
void flush() {
    if (std::fflush(stdout) != 0)
        throw Failure(Exit::failed, "standard output cannot be written", errno);
}

void show(const Call& call, const Words& words) {
    const bool repeat = !words.interval.empty();
    const double interval = repeat ? positive(call, words.interval, "INTERVAL") : 0;
    if (words.no_first && !repeat)
        throw call.wrong_usage("--no-first leaves nothing without an INTERVAL");
    std::uint64_t left = ~std::uint64_t{0};
    if (!words.count.empty())
        left = static_cast<std::uint64_t>(positive(call, words.count, "COUNT"));
    if (!repeat)
        left = 1;
    const Module module;
    for (const std::string& name : words.names)
        (void)module.info(Selector::by_name(name)); // who asks for one that is not there hears it
    std::map<std::uint64_t, Counters> before;
    Clock::time_point then = Clock::now();
    // The first report is about everything since each region's creation.
    for (bool first = true;; first = false) {
        const Clock::time_point now = Clock::now();
        std::map<std::uint64_t, Counters> counters = look(module, words);
        if (!first || !words.no_first) {
            const double seconds = first ? 0 : std::chrono::duration<double>(now - then).count();
            std::vector<Counters> rows;
            for (const auto& [id, region] : counters) {
                const auto found = before.find(id);
                const Counters row =
                    first || found == before.end() ? region : region.since(found->second);
                if (first || words.all || !words.names.empty() || row.is_busy())
                    rows.push_back(row);
            }
            if (call.json())
                fmt::print("{}\n",
                           stat_json(rows, seconds)
                               .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
            else
                fmt::print("{}{}", first || words.no_first ? "" : "\n", stat_text(rows, seconds));
            flush();
            if (--left == 0)
                return;
        }
        before = std::move(counters);
        then = now;
        std::this_thread::sleep_until(now + std::chrono::duration<double>(interval));
    }
}

} // namespace

void add_stat(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("stat", "what happens in the regions, once or every INTERVAL seconds",
             [words](const Call& call) { show(call, *words); })
        .word("INTERVAL", words->interval, "seconds between two reports, such as 1 or 0.5",
              Needed::no)
        .word("COUNT", words->count, "how many reports; without it forever", Needed::no)
        .option("--region", words->names, "only this one; may be given again")
        .flag("--all", words->all, "also those in which nothing happened")
        .flag("--no-first", words->no_first,
              "leave out the first report, which is about all that has happened so far");
}

} // namespace stm::tools
