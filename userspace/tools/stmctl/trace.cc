// SPDX-License-Identifier: GPL-2.0
// What transactions do, one line for each event, and who was in whose way.
#include "command.hpp"
#include "common/text.hpp"
#include "common/tracing.hpp"
#include "places.hpp"
#include "stopping.hpp"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

namespace stm::tools {
namespace {

struct Words {
    std::string region;
    std::string seconds;
    std::vector<std::string> events;
    bool conflicts = false;
};

// Which threads have made which versions, and lock by which numbers, as far as it was seen.
class Authors {
public:
    void learn(const Event& event) {
        if (event.name != "start" && event.name != "commit" && event.name != "abort")
            return;
        const std::string who = fmt::format("{}-{}", printable(event.command), event.thread);
        const std::uint64_t id = event.number("id");
        remember(by_owner_, {id, event.number("owner")}, who);
        if (event.name == "commit" && event.number("version") != 0)
            remember(by_version_, {id, event.number("version")}, who);
    }
    // Empty: it is not known.
    [[nodiscard]] std::string of(const Event& abort) const {
        const std::uint64_t id = abort.number("id");
        const std::uint64_t owner = abort.number("locked_by");
        const auto& map = owner != 0 ? by_owner_ : by_version_;
        const auto found = map.find({id, owner != 0 ? owner : abort.number("version")});
        return found == map.end() ? "" : found->second;
    }

private:
    using Key = std::pair<std::uint64_t, std::uint64_t>;
    static void remember(std::map<Key, std::string>& map, Key key, const std::string& who) {
        if (map.size() > 100000) // the smallest versions are the oldest
            map.erase(map.begin(), std::next(map.begin(), 50000));
        map[key] = who;
    }

    std::map<Key, std::string> by_version_;
    std::map<Key, std::string> by_owner_;
};

const std::map<std::string, std::string> kReasonTexts{
    {"read_locked", "another commit kept it locked"},
    {"read_validation", "it has changed since it was read"},
    {"commit_locked", "another commit kept it locked"},
    {"commit_validation", "it has changed since it was read"},
    {"too_big", "more than the limits allow"},
    {"no_memory", "no memory"},
    {"cancel", "cancelled by the program"},
    {"retry", "it waited for a change, or began again"},
    {"signal", "a signal ended a wait"},
    {"killed", "its thread has ended, or called exec"},
    {"serial_wait", "its own thread runs alone in another handle"},
    {"out_of_range", "behind the end of the region"},
    {"fault", "the caller's memory cannot be read or written"},
    {"closed", "the last descriptor was closed"},
    {"snapshot_too_old", "what it needs of its snapshot is not kept any more"},
};

std::string text_of(const Event& event, Places& places, const std::string& other) {
    const std::uint64_t id = event.number("id");
    const auto place = [&] { return places.at(id, event.number("offset")); };
    if (event.name == "start")
        return fmt::format("snapshot {}", event.text("snapshot"));
    if (event.name == "commit")
        return event.number("version") == 0
                   ? fmt::format("read {} stripes, wrote nothing", event.text("read"))
                   : fmt::format("version {}: read {}, wrote {} stripes", event.text("version"),
                                 event.text("read"), event.text("written"));
    if (event.name == "abort") {
        const auto reason = kReasonTexts.find(event.text("reason"));
        const std::string why =
            reason == kReasonTexts.end() ? event.text("reason") : reason->second;
        if (event.text("offset") == "-1")
            return why;
        return fmt::format("conflict at {}: {}{}", place(), why,
                           other.empty() ? "" : ", by " + other);
    }
    if (event.name == "fault")
        return fmt::format("{} at {}, {}", event.words.empty() ? "" : event.words.front(), place(),
                           event.text("result"));
    if (event.name == "wait")
        return fmt::format("waited {:.3f} ms {}",
                           static_cast<double>(event.number("nanoseconds")) / 1e6,
                           event.text("what") == "change"   ? "for a change"
                           : event.text("what") == "commit" ? "for a transaction that ran alone"
                                                            : "to run alone");
    if (event.name == "repair")
        return fmt::format("cleared away behind thread {}: {}", event.text("thread"),
                           event.text("what") == "ended" ? "its transaction"
                           : event.text("what") == "token"
                               ? "its serial token"
                               : "its serial token, which it had for too long");
    return fmt::format("{} of {} bytes at {}", event.words.empty() ? "" : event.words.front(),
                       event.text("bytes"), place());
}

nlohmann::json json_of(const Event& event, Places& places, const std::string& other) {
    nlohmann::json json{{"seconds", event.seconds},       {"event", event.name},
                        {"thread", event.thread},         {"command", event.command},
                        {"region", event.text("region")}, {"id", event.number("id")}};
    for (const auto& [field, text] : event.fields) {
        if (field == "region" || field == "id" || field == "address")
            continue;
        if (text.find_first_not_of("-0123456789") == std::string::npos)
            json[field] = std::strtoll(text.c_str(), nullptr, 10);
        else
            json[field] = text;
    }
    if (event.fields.count("offset") != 0 && event.text("offset") != "-1")
        json["place"] = places.at(event.number("id"), event.number("offset"));
    if (event.name == "abort")
        json["by"] = other.empty() ? nlohmann::json(nullptr) : nlohmann::json(other);
    if (!event.words.empty())
        json["access"] = event.words.front();
    return json;
}

void print_events(const Call& call, const std::vector<Event>& events, const Words& words,
                  Authors& authors, Places& places) {
    for (const Event& event : events)
        authors.learn(event);
    for (const Event& event : events) {
        if (words.conflicts && (event.name != "abort" || event.text("offset") == "-1"))
            continue;
        const std::string other = event.name == "abort" ? authors.of(event) : "";
        if (call.json())
            fmt::print("{}\n", json_of(event, places, other)
                                   .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
        else
            fmt::print("{:14.6f}  {:<22} {:<7} {}  {}\n", event.seconds,
                       fmt::format("{}-{}", printable(event.command), event.thread), event.name,
                       printable(event.text("region")), text_of(event, places, other));
    }
    if (std::fflush(stdout) != 0)
        throw Failure(Exit::failed, "standard output cannot be written", errno);
}

void trace(const Call& call, const Words& words) {
    using Clock = std::chrono::steady_clock;
    const Module module;
    std::string filter;
    if (!words.region.empty())
        filter = fmt::format("id == {}", module.info(Selector::by_name(words.region)).id);
    const Clock::time_point end = words.seconds.empty()
                                      ? Clock::time_point::max()
                                      : Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                           parse_seconds(call, words.seconds));
    std::vector<std::string> wanted = words.events;
    if (wanted.empty())
        wanted = words.conflicts
                     ? std::vector<std::string>{"commit", "abort"}
                     : std::vector<std::string>{"start", "commit", "abort", "wait", "repair"};
    for (const std::string& event : wanted) {
        if (std::string(" start commit abort fault wait repair access ").find(" " + event + " ") ==
            std::string::npos)
            throw call.wrong_usage(fmt::format("there is no event '{}'; there are start, commit, "
                                               "abort, fault, wait, repair and access",
                                               printable(event)));
    }
    Tracing tracing;
    for (const std::string& event : wanted)
        tracing.watch(event, filter);
    Authors authors;
    Places places(module);
    const Stopping stopping;
    std::vector<Event> held;
    for (bool over = false; !over;) {
        // A commit may be told a moment after the conflict that it has caused.
        const Clock::time_point until = Clock::now() + std::chrono::milliseconds(200);
        do {
            std::vector<Event> events = tracing.read(50);
            std::move(events.begin(), events.end(), std::back_inserter(held));
            over = Clock::now() >= end || stopping.is_due();
        } while (!over && Clock::now() < until && held.size() < 10000);
        print_events(call, held, words, authors, places);
        held.clear();
        places.look_again();
    }
}

} // namespace

void add_trace(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("trace", "what each transaction does, and which one was in its way",
             [words](const Call& call) { trace(call, *words); })
        .option("--region", words->region, "only what happens in this one")
        .option("--event", words->events,
                "start, commit, abort, fault, wait, repair or access; may be given again")
        .flag("--conflicts", words->conflicts, "only conflicts")
        .option("--seconds", words->seconds, "how long; without it until it is interrupted");
}

} // namespace stm::tools
