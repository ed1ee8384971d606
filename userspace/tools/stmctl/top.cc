// SPDX-License-Identifier: GPL-2.0
// Regions, processes and the hottest places, again and again on a full screen.
#include "command.hpp"
#include "common/text.hpp"
#include "common/tracing.hpp"
#include "places.hpp"
#include "report.hpp"
#include "stopping.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>
#define NCURSES_NOMACROS 1 // functions alone
#include <curses.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>
#include <unistd.h>

namespace stm::tools {
namespace {

struct Words {
    std::string interval = "2";
    bool once = false;
    bool no_events = false;
};

struct Hot {
    std::uint64_t id = 0;
    std::uint64_t offset = 0;
    std::string region;
    std::string place;
    std::uint64_t conflicts = 0;
};

struct Busy {
    std::string command;
    std::uint64_t commits = 0;
    std::uint64_t aborts = 0;
    std::vector<std::uint64_t> regions; // their ids
};

// What happened in `seconds`.
struct View {
    double seconds = 0;
    struct stm_version limits {};
    std::vector<Counters> regions; // the busiest first
    std::map<std::string, std::uint64_t> causes;
    std::vector<Hot> hot;
    std::map<int, Busy> processes;
    std::string without; // why there are no places and processes

    /** What a region is called; one that is gone has its id alone. */
    [[nodiscard]] std::string name(std::uint64_t id) const {
        for (const Counters& counters : regions) {
            if (counters.region.id == id)
                return printable(counters.region.name);
        }
        return fmt::format("{:#x}", id);
    }
    /** Those that the process uses, by their names, each once. */
    [[nodiscard]] std::set<std::string> names(const Busy& process) const {
        std::set<std::string> all;
        for (const std::uint64_t id : process.regions)
            all.insert(name(id));
        return all;
    }
    [[nodiscard]] std::string rate(std::uint64_t number) const {
        return fmt::format("{:.{}f}", static_cast<double>(number) / seconds,
                           static_cast<double>(number) / seconds < 100 ? 1 : 0);
    }
};

std::uint64_t activity(const Counters& counters) {
    const struct stm_statistics& numbers = counters.numbers;
    return numbers.starts + numbers.calls + counters.region.reads + counters.region.writes +
           counters.region.faults;
}

class Source {
public:
    explicit Source(bool events) : places_(module_) {
        without_ = events ? Tracing::why_not() : "not asked for";
        if (without_.empty())
            count_events();
        look(); // from now on
    }

    View look() {
        const auto now = std::chrono::steady_clock::now();
        View view;
        view.seconds = std::max(1e-3, std::chrono::duration<double>(now - then_).count());
        then_ = now;
        view.limits = module_.version();
        std::map<std::uint64_t, Counters> all;
        std::vector<Counters> regions;
        for (const struct stm_info& region : module_.regions()) {
            Counters counters{region, {}};
            try {
                if ((region.region_flags & STM_REGION_PLAIN) == 0)
                    counters.numbers = module_.statistics(Selector::by_id(region.id));
            } catch (const Failure&) {
                continue; // destroyed since it was listed
            }
            all[region.id] = counters;
            const auto before = before_.find(region.id);
            regions.push_back(before == before_.end() ? counters : counters.since(before->second));
        }
        before_ = std::move(all);
        // Not the counters are sorted, which are large.
        std::vector<std::pair<std::uint64_t, std::size_t>> order;
        for (std::size_t place = 0; place < regions.size(); ++place)
            order.emplace_back(activity(regions[place]), place);
        std::stable_sort(order.begin(), order.end(), [](const auto& left, const auto& right) {
            return left.first > right.first;
        });
        view.regions.reserve(order.size());
        for (const auto& [busy, place] : order)
            view.regions.push_back(regions[place]);
        struct stm_statistics sum {};
        for (const Counters& counters : view.regions)
            for (std::size_t reason = 0; reason < STM_REASONS; ++reason)
                sum.aborts[reason] += counters.numbers.aborts[reason];
        const nlohmann::json json = statistics_json({}, sum);
        for (const auto& [cause, number] : json["aborts"].items())
            view.causes[cause] = number.get<std::uint64_t>();
        view.without = without_;
        if (tracing_)
            look_at_events(view);
        return view;
    }

private:
    void count_events() {
        try {
            tracing_.emplace();
            tracing_->count("abort", "id,offset", "offset >= 0", 4096);
            tracing_->count("commit", "common_pid.execname,id", "", 8192);
            tracing_->count("abort", "common_pid.execname,id", "", 8192);
        } catch (const Failure& failure) {
            tracing_.reset();
            without_ = failure.what();
        }
    }

    void look_at_events(View& view) {
        if (++looks_ % 32 == 0)
            processes_.clear(); // numbers of threads that have ended come again
        places_.look_again();
        const Tallies aborts = tracing_->take("abort");
        for (const Tally& tally : aborts.all) {
            if (!tally.text("offset").empty())
                view.hot.push_back(
                    {tally.number("id"), tally.number("offset"), "", "", tally.hits});
        }
        std::sort(view.hot.begin(), view.hot.end(), [](const Hot& left, const Hot& right) {
            return left.conflicts > right.conflicts;
        });
        if (view.hot.size() > 100)
            view.hot.resize(100);
        for (Hot& hot : view.hot) {
            hot.region = view.name(hot.id);
            hot.place = places_.at(hot.id, hot.offset);
        }
        const Tallies commits = tracing_->take("commit");
        for (const auto* tallies : {&commits, &aborts}) {
            for (const Tally& tally : tallies->all) {
                const std::string_view task = tally.text("common_pid");
                const auto bracket = task.rfind('[');
                if (bracket == std::string_view::npos)
                    continue;
                // A bracket follows the number, and ends it.
                Busy& process = view.processes[process_of(std::atoi(task.data() + bracket + 1))];
                if (process.command.empty())
                    process.command = printable(
                        std::string(task.substr(0, task.find_last_not_of(" [", bracket) + 1)));
                const std::uint64_t id = tally.number("id");
                if (std::find(process.regions.begin(), process.regions.end(), id) ==
                    process.regions.end())
                    process.regions.push_back(id);
                (tallies == &commits ? process.commits : process.aborts) += tally.hits;
            }
        }
    }

    // Of a thread's id. It is asked for once: with a thousand of them that is most of a look.
    int process_of(int thread) {
        const auto [known, is_new] = processes_.try_emplace(thread, thread);
        if (!is_new)
            return known->second;
        std::ifstream status(fmt::format("/proc/{}/status", thread));
        for (std::string line; std::getline(status, line);) {
            if (line.rfind("Tgid:", 0) != 0)
                continue;
            known->second = std::atoi(line.c_str() + 5);
            break;
        }
        return known->second;
    }

    Module module_;
    Places places_;
    std::optional<Tracing> tracing_;
    std::string without_;
    std::map<std::uint64_t, Counters> before_;
    std::map<int, int> processes_; // of threads
    unsigned looks_ = 0;
    std::chrono::steady_clock::time_point then_ = std::chrono::steady_clock::now();
};

void add_lines(std::vector<std::string>& lines, const std::string& text, std::size_t most) {
    std::istringstream all(text);
    for (std::string line; most != 0 && std::getline(all, line); --most)
        lines.push_back(line);
}

// At most `height` lines: of each part the busiest rows.
std::vector<std::string> draw(const View& view, std::size_t height) {
    std::uint64_t commits = 0;
    std::uint64_t handles = 0;
    std::uint64_t waiting = 0;
    for (const Counters& counters : view.regions) {
        commits += counters.numbers.commits + counters.numbers.calls;
        handles += counters.region.handles;
        waiting += counters.numbers.waiting;
    }
    std::vector<std::string> lines;
    lines.push_back(fmt::format("stm top  {:%H:%M:%S}  {} regions, {} handles, {} of {} in memory",
                                fmt::localtime(std::time(nullptr)), view.regions.size(), handles,
                                format_size(view.limits.resident_bytes),
                                format_size(view.limits.max_bytes)));
    std::vector<std::pair<std::uint64_t, std::string>> causes;
    std::uint64_t aborts = 0;
    for (const auto& [cause, number] : view.causes) {
        aborts += number;
        if (number != 0)
            causes.emplace_back(number, cause);
    }
    std::sort(causes.rbegin(), causes.rend());
    lines.push_back(fmt::format("{}/s committed, {}/s aborted, {} waiting", view.rate(commits),
                                view.rate(aborts), waiting));
    std::string why = "aborts/s:";
    for (const auto& [number, cause] : causes)
        why += fmt::format(" {} {}", cause, view.rate(number));
    lines.push_back(causes.empty() ? "aborts/s: none" : why);
    lines.emplace_back();

    const std::size_t rest = height > 6 ? height - 6 : 0;
    const std::size_t part = std::max<std::size_t>(rest / 3, 3);
    Table regions({{"COMMITS/s", Align::right},
                   {"CALLS/s", Align::right},
                   {"ABORTS/s", Align::right},
                   {"FAULTS/s", Align::right},
                   {"WAITING", Align::right},
                   {"HANDLES", Align::right},
                   {"RESIDENT", Align::right},
                   {"REGION", Align::left}});
    // A heading is one line of each part. What is not shown need not be laid out.
    for (std::size_t row = 0; row < std::min(part, view.regions.size()); ++row) {
        const Counters& counters = view.regions[row];
        const struct stm_statistics& numbers = counters.numbers;
        std::uint64_t ended = 0;
        for (const std::uint64_t number : numbers.aborts)
            ended += number;
        regions.add(
            {view.rate(numbers.commits),
             view.rate(numbers.calls + ((counters.region.region_flags & STM_REGION_PLAIN) != 0
                                            ? counters.region.reads + counters.region.writes
                                            : 0)),
             view.rate(ended), view.rate(counters.region.faults),
             fmt::format("{}", numbers.waiting), fmt::format("{}", counters.region.handles),
             format_size(counters.region.resident_bytes), printable(counters.region.name)});
    }
    add_lines(lines, regions.format(), part);
    lines.emplace_back();
    if (!view.without.empty()) {
        lines.push_back("no places and processes: " + view.without);
        return lines;
    }
    Table hot({{"CONFLICTS/s", Align::right}, {"PLACE", Align::left}, {"REGION", Align::left}});
    for (const Hot& place : view.hot)
        hot.add({view.rate(place.conflicts), place.place, place.region});
    add_lines(lines, hot.format(), part);
    lines.emplace_back();
    std::vector<const std::pair<const int, Busy>*> busiest;
    for (const auto& process : view.processes)
        busiest.push_back(&process);
    std::stable_sort(busiest.begin(), busiest.end(), [](const auto* left, const auto* right) {
        return left->second.commits + left->second.aborts >
               right->second.commits + right->second.aborts;
    });
    const std::size_t room = height > lines.size() ? height - lines.size() : 1;
    busiest.resize(std::min(room, busiest.size()));
    Table processes({{"PID", Align::right},
                     {"COMMITS/s", Align::right},
                     {"ABORTS/s", Align::right},
                     {"COMMAND", Align::left},
                     {"REGIONS", Align::left}});
    for (const auto* one : busiest) {
        const auto& [pid, process] = *one;
        std::string names;
        for (const std::string& name : view.names(process))
            names += (names.empty() ? "" : " ") + name;
        processes.add({fmt::format("{}", pid), view.rate(process.commits),
                       view.rate(process.aborts), process.command, names});
    }
    add_lines(lines, processes.format(), room);
    return lines;
}

nlohmann::json json_of(const View& view) {
    nlohmann::json json = stat_json(view.regions, view.seconds);
    json["aborts"] = view.causes;
    json["places"] = nlohmann::json::array();
    for (const Hot& hot : view.hot)
        json["places"].push_back({{"region", hot.region},
                                  {"id", hot.id},
                                  {"offset", hot.offset},
                                  {"place", hot.place},
                                  {"conflicts", hot.conflicts}});
    json["processes"] = nlohmann::json::array();
    for (const auto& [pid, process] : view.processes)
        json["processes"].push_back({{"pid", pid},
                                     {"command", process.command},
                                     {"commits", process.commits},
                                     {"aborts", process.aborts},
                                     {"regions", view.names(process)}});
    json["without"] = view.without.empty() ? nlohmann::json(nullptr) : nlohmann::json(view.without);
    return json;
}

// A terminal in full-screen mode, as long as it lives.
class Terminal {
public:
    Terminal() : screen_(::newterm(nullptr, stdout, stdin)) {
        if (screen_ == nullptr)
            throw Failure(Exit::failed,
                          "this is no terminal for a full screen; try 'stmctl top --once'");
        ::cbreak();
        ::noecho();
        ::curs_set(0);
        ::keypad(stdscr, TRUE);
    }
    ~Terminal() {
        ::endwin();
        ::delscreen(screen_);
    }
    Terminal(const Terminal&) = delete;

    [[nodiscard]] std::size_t height() const { return static_cast<std::size_t>(LINES); }
    void show(const std::vector<std::string>& lines) {
        ::erase();
        for (std::size_t row = 0; row < lines.size() && row < height(); ++row) {
            const bool heading = lines[row].find("/s ") != std::string::npos && row > 3;
            if (heading)
                ::attron(A_REVERSE);
            ::mvaddnstr(static_cast<int>(row), 0, lines[row].c_str(), COLS);
            if (heading)
                ::attroff(A_REVERSE);
        }
        ::refresh();
    }
    // A key, or ERR after that time.
    [[nodiscard]] int key(std::chrono::duration<double> time) {
        ::timeout(std::max(1, static_cast<int>(time.count() * 1000)));
        return ::getch();
    }

private:
    SCREEN* screen_;
};

void top(const Call& call, const Words& words) {
    using Clock = std::chrono::steady_clock;
    const auto interval = parse_seconds(call, words.interval);
    const Stopping stopping;
    Source source(!words.no_events);
    if (words.once || call.json()) {
        stopping.sleep(interval);
        const View view = source.look();
        if (call.json()) {
            print(json_of(view));
            return;
        }
        for (const std::string& line : draw(view, 200))
            fmt::print("{}\n", line);
        return;
    }
    if (::isatty(STDOUT_FILENO) == 0)
        throw Failure(Exit::failed, "standard output is no terminal; try 'stmctl top --once'");
    Terminal terminal;
    terminal.show({"stm top", "", fmt::format("the first numbers come in {} s", words.interval)});
    View view;
    for (auto due = Clock::now() + interval; !stopping.is_due();) {
        const int key = terminal.key(due - Clock::now());
        if (key == 'q')
            return;
        if (Clock::now() >= due) {
            view = source.look();
            due = Clock::now() + std::chrono::duration_cast<Clock::duration>(interval);
        }
        if (view.seconds > 0)
            terminal.show(draw(view, terminal.height()));
    }
}

} // namespace

void add_top(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("top", "regions, processes and the hottest places, on a full screen; q ends it",
             [words](const Call& call) { top(call, *words); })
        .option("--interval", words->interval, "seconds between two looks, 2 if it is not given")
        .flag("--once", words->once, "print it once, after one interval, and end")
        .flag("--no-events", words->no_events, "do without the module's tracepoints");
}

} // namespace stm::tools
