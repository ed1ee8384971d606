// SPDX-License-Identifier: GPL-2.0
// Tries every site with its first, second, third, … failure until it succeeds without one.
#include "injection.hpp"
#include "memory_limit.hpp"
#include "module.hpp"
#include "pages.hpp"
#include "site.hpp"
#include "state.hpp"

#include <algorithm>
#include <cstdio>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <sstream>
#include <sys/ioctl.h>

namespace stm::sweep {
namespace {

constexpr unsigned kMostPoints = 5000; // more is a call that cannot succeed

struct Outcome {
    unsigned points = 0;
    std::vector<std::string> problems;
};

std::string error_text(int error) {
    return error >= kSignal ? ::strsignal(error - kSignal) : std::strerror(error);
}

// A call in the transaction had no memory, or a load or store in a mapping had none and still has
// none when it tries again: the transaction is over, and its commit says so.
bool expect_over(const Site& site, Try& attempt, const State& before) {
    auto now = test::make<struct stm_transaction>();
    if (!attempt.fd || ::ioctl(attempt.fd.get(), STM_IOC_TRANSACTION, &now) != 0 ||
        now.depth == 0 || now.doom != STM_REASON_NO_MEMORY)
        return false;
    errno = 0;
    attempt.expect(::ioctl(attempt.fd.get(), STM_IOC_COMMIT, 0) != 0 && errno == ENOMEM,
                   "a transaction without memory can be committed, or fails with another error: " +
                       error_text(errno));
    before.expect_nothing_committed(attempt);
    attempt.more[0].reset();
    attempt.more[1].reset();
    attempt.map.reset();
    site.prepare(attempt);
    return true;
}

// A part of it was done, told, and may be kept; here it is taken back.
void check_part(const Site& site, Try& attempt, const State& before) {
    site.part(attempt);
    if (!attempt.plain())
        attempt.expect(::ioctl(attempt.fd.get(), STM_IOC_CANCEL, STM_CANCEL_ALL) == 0,
                       "the transaction is over");
    attempt.map.reset();
    attempt.expect(before.contents() == attempt.contents(), "the bytes of the region have changed");
    site.prepare(attempt);
}

void check_failure(const Site& site, const Failures& failures, Try& attempt, const State& before,
                   int error) {
    const bool over = (failures.persist() || error == ENOMEM) && expect_over(site, attempt, before);
    const bool part = !over && failures.persist() && attempt.part != 0 && site.part;
    if (part)
        check_part(site, attempt, before);
    else if (!over)
        before.expect_unchanged(attempt, site);
    if (site.errors.count(error) == 0)
        attempt.wrong("fails with an error that is not documented: " + error_text(error));
    if (site.undone && !part)
        site.undone(attempt);
    if (!site.repeatable)
        return;
    if (site.ends_transaction && site.prepare && !over && !part)
        site.prepare(attempt);
    if (const int again = site.act(attempt); again != 0)
        attempt.wrong("after a failure it fails again: " + error_text(again));
    else if (site.done)
        site.done(attempt);
}

// One try; whether a failure was injected.
bool sweep_point(const Site& site, const Failures& injection, unsigned n,
                 std::vector<std::string>& all_problems) {
    const Totals before = Totals::now();
    bool injected = false;
    std::vector<std::string> problems;
    {
        Try attempt(site.flags);
        if (site.prepare)
            site.prepare(attempt);
        if (!attempt.problems.empty()) {
            all_problems.push_back("cannot be prepared: " + attempt.problems.front());
            return false;
        }
        const State state = State::of(attempt);
        injection.arm(n);
        const int error = site.act(attempt);
        injected = injection.disarm();
        if (error != 0 && !injected)
            attempt.wrong("fails without an injected failure: " + error_text(error));
        else if (error != 0)
            check_failure(site, injection, attempt, state, error);
        else if (site.done)
            site.done(attempt);
        if (const std::string trouble = injection.trouble(); !trouble.empty())
            attempt.wrong(trouble);
        problems = attempt.problems;
    }
    if (const Totals after = Totals::now(); !(after == before))
        problems.push_back("leaves " + after.text() + "; before: " + before.text());
    for (const std::string& problem : problems)
        all_problems.push_back("failure " + std::to_string(n) + ": " + problem);
    return injected;
}

enum class Extent { every_point, quick, quickest };

// The quick forms leave some points out of calls that have many: most of these are alike.
unsigned next(unsigned n, Extent extent) {
    switch (extent) {
    case Extent::quick:
        return n + 1 + n / 12;
    case Extent::quickest:
        return n + 1 + n / 2;
    default:
        return n + 1;
    }
}

// The default region lives as long as the module: its pages are there from the start.
void fill_default() {
    const test::Fd device(::open("/dev/stm", O_RDWR | O_CLOEXEC));
    const std::vector<char> zeros(1 << 16);
    if (::pwrite(device.get(), zeros.data(), zeros.size(), 0) < 0)
        std::perror("/dev/stm");
}

// The sites that tests/sweep/sites.txt names, with their points.
std::map<std::string, unsigned> read_list(const std::string& path) {
    std::map<std::string, unsigned> list;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string entry, region, way;
        unsigned points = 0;
        if (line.rfind("#", 0) != 0 && words >> entry >> region >> way >> points)
            list[entry + " " + region + " " + way] = points;
    }
    return list;
}

struct Options {
    std::string list;
    std::string module; // its file; none: it is not loaded anew
    std::vector<std::string> filters;
    Extent extent = Extent::every_point;
    bool write = false;  // the lines of a new list
    bool limits = false; // of memory, instead of single failures
};

// Sweeps what it is asked for, and keeps account of it.
class Run {
public:
    explicit Run(const Options& options) : options_(options), listed_(read_list(options.list)) {}

    void add(const std::string& id, const std::function<Outcome()>& sweep) {
        const auto entry = listed_.find(id);
        const bool known = entry != listed_.end();
        const unsigned before = known ? entry->second : 0;
        if (known)
            listed_.erase(entry);
        if (!is_wanted(id))
            return;
        Outcome outcome = sweep();
        if (!options_.write && !known)
            outcome.problems.push_back("is not in " + options_.list);
        if (!options_.write && !options_.limits && before != 0 && outcome.points == 0)
            outcome.problems.push_back("has no points any more; there were " +
                                       std::to_string(before));
        report(id, outcome);
        lines_ += id + " " + std::to_string(outcome.points) + "\n";
    }

    // All has been swept; the exit status.
    int finish() {
        unsigned lost = 0;
        if (options_.filters.empty() && !options_.write && !options_.limits) {
            for (const auto& [id, unused] : listed_) {
                std::printf("FAILED %s: in %s, but not swept\n", id.c_str(), options_.list.c_str());
                ++lost;
            }
        }
        if (options_.write)
            std::printf("%s", lines_.c_str());
        std::printf("%u sites with %u points of failure\n", swept_, points_);
        std::printf("%u passed, %u failed\n", swept_ - failed_, failed_ + lost);
        // Limits have no part in what is not a site: loading the module.
        const bool none = options_.filters.empty() ? points_ == 0 : swept_ == 0 && !options_.limits;
        return failed_ + lost == 0 && !none ? 0 : 1;
    }

private:
    [[nodiscard]] bool is_wanted(const std::string& id) const {
        const auto in_name = [&](const std::string& filter) {
            return id.find(filter) != std::string::npos;
        };
        return options_.filters.empty() ||
               std::any_of(options_.filters.begin(), options_.filters.end(), in_name);
    }

    void report(const std::string& id, const Outcome& outcome) {
        ++swept_;
        points_ += outcome.points;
        failed_ += outcome.problems.empty() ? 0 : 1;
        std::printf("%-6s %4u points  %s\n", outcome.problems.empty() ? "ok" : "FAILED",
                    outcome.points, id.c_str());
        for (const std::string& problem : outcome.problems)
            std::printf("         %s\n", problem.c_str());
        std::fflush(stdout);
    }

    const Options& options_;
    std::map<std::string, unsigned> listed_;
    std::string lines_;
    unsigned swept_ = 0, points_ = 0, failed_ = 0;
};

// What one try finds is told with its number.
template <typename Point>
bool numbered(unsigned n, std::vector<std::string>& problems, Point try_point) {
    std::vector<std::string> own;
    const bool injected = try_point(own);
    for (const std::string& problem : own)
        problems.push_back("failure " + std::to_string(n) + ": " + problem);
    return injected;
}

// The points of one call, with try_point(n, problems) for each.
template <typename Point>
Outcome sweep_points(Extent extent, Point try_point) {
    Outcome outcome;
    for (unsigned n = 1; try_point(n, outcome.problems); n = next(n, extent)) {
        outcome.points = n;
        if (n >= kMostPoints) {
            outcome.problems.push_back("does not succeed after so many failures one by one");
            break;
        }
        if (outcome.problems.size() > 10)
            break;
    }
    return outcome;
}

// To load a module is mostly Linux's own work, with points by the thousand, and ours comes last: so
// finds the last point, and tries the ones before it, and some of the others.
template <typename Point>
Outcome sweep_load(Extent extent, Point try_point) {
    constexpr unsigned kOurs = 100;
    Outcome outcome;
    unsigned injected = 0, free = 64;
    while (try_point(free, outcome.problems)) {
        injected = free;
        free *= 2;
    }
    while (free - injected > 1) {
        const unsigned middle = injected + (free - injected) / 2;
        (try_point(middle, outcome.problems) ? injected : free) = middle;
    }
    outcome.points = injected;
    const unsigned step = extent == Extent::quick ? 97 : 7;
    for (unsigned n = 1; n + kOurs < injected && outcome.problems.empty(); n += step)
        try_point(n, outcome.problems);
    const unsigned ours = extent == Extent::quick ? kOurs / 2 : kOurs;
    for (unsigned n = injected > ours ? injected - ours : 1; n <= injected; ++n) {
        if (outcome.problems.empty())
            try_point(n, outcome.problems);
    }
    return outcome;
}

// The same sites, with the limit of a memory cgroup reached at the first, second, third, … page.
int run_limits(const Options& options) {
    // Here one call has many more points, and each takes longer.
    const Extent extent = options.extent == Extent::quick ? Extent::quickest : options.extent;
    constexpr long kKeptByLinux = 512;
    fill_default();
    const long pages = pages_of_module();
    return in_memory_group([&](const std::string& group) {
        Try::use_present_page_table();
        const MemoryLimit limit(group);
        const long charged = limit.pages();
        Run all(options);
        for (const Site& site : sites())
            all.add(site.id(), [&] {
                return sweep_points(extent, [&](unsigned n, auto& problems) {
                    return sweep_point(site, limit, n, problems);
                });
            });
        all.add("pages any kept-at-the-end", [&] {
            Outcome outcome;
            if (const long now = pages_of_module(); now != pages)
                outcome.problems.push_back(std::to_string(now) + " pages, not " +
                                           std::to_string(pages));
            // Linux keeps some for a while; of thousands of tries each would have lost one.
            if (const long now = limit.pages(); now > charged + kKeptByLinux)
                outcome.problems.push_back(std::to_string(now) + " pages are charged, at first " +
                                           std::to_string(charged));
            return outcome;
        });
        return all.finish();
    });
}

int run(const Options& options) {
    if (const std::string problem = prepare_injection(); !problem.empty()) {
        std::fprintf(stderr, "sweep: %s\n", problem.c_str());
        return 2;
    }
    fill_default();
    const long pages = pages_of_module();
    const Injection injection;
    Run all(options);
    for (const Site& site : sites())
        all.add(site.id(), [&] {
            return sweep_points(options.extent, [&](unsigned n, auto& problems) {
                return sweep_point(site, injection, n, problems);
            });
        });
    // Objects are kmemleak's to find (ci/vm run --leak-check); pages it does not know.
    if (pages >= 0)
        all.add("pages any kept-at-the-end", [&] {
            Outcome outcome;
            if (const long now = pages_of_module(); now != pages)
                outcome.problems.push_back(std::to_string(now) + " pages, not " +
                                           std::to_string(pages));
            return outcome;
        });
    if (!options.module.empty()) {
        const Module module(options.module);
        all.add("module:init any finit_module", [&] {
            return sweep_load(options.extent, [&](unsigned n, auto& problems) {
                return numbered(n, problems,
                                [&](auto& own) { return module.sweep_load(injection, n, own); });
            });
        });
        all.add("module:exit any delete_module", [&] {
            return sweep_points(options.extent, [&](unsigned n, auto& problems) {
                return numbered(n, problems,
                                [&](auto& own) { return module.sweep_unload(injection, n, own); });
            });
        });
    }
    return all.finish();
}

void usage(std::FILE* to) {
    std::fprintf(
        to,
        "usage: sweep [--quick] [--limits | --write] [--module=FILE] LIST [FILTER…]\n"
        "  in a guest with the kernel `debug` and the module loaded: ci/sweep does it\n"
        "  LIST     tests/sweep/sites.txt\n"
        "  FILTER   only sites whose line contains it\n"
        "  --quick  leave out some points of calls that have many\n"
        "  --limits  the limit of a memory cgroup is reached at each page instead; any kernel\n"
        "  --write  print the lines of a new LIST at the end, and do not look at the old one\n");
}

} // namespace
} // namespace stm::sweep

int main(int argc, char** argv) {
    stm::sweep::Options options;
    for (const std::string& word : std::vector<std::string>(argv + 1, argv + argc)) {
        if (word == "--help") {
            stm::sweep::usage(stdout);
            return 0;
        }
        if (word == "--quick")
            options.extent = stm::sweep::Extent::quick;
        else if (word.rfind("--module=", 0) == 0)
            options.module = word.substr(std::strlen("--module="));
        else if (word == "--limits")
            options.limits = true;
        else if (word == "--write")
            options.write = true;
        else if (options.list.empty())
            options.list = word;
        else
            options.filters.push_back(word);
    }
    if (options.list.empty()) {
        stm::sweep::usage(stderr);
        return 2;
    }
    stm::sweep::stop_restartable_sequences();
    return options.limits ? stm::sweep::run_limits(options) : stm::sweep::run(options);
}
