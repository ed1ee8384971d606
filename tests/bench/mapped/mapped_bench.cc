// SPDX-License-Identifier: GPL-2.0
// What a transaction in a mapping costs that touches 1 to 64 pages, beside its floor (a bare page
// fault that copies, for each page) and beside a robust mutex with an undo copy. Each round
// measures all of them, one right after the other, beginning with another one each time, so that a
// machine that is busy with something else disturbs all alike; what counts are the ratios within a
// round.
#include "contestants.hpp"
#include "report.hpp"

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sched.h>
#include <string_view>
#include <sys/utsname.h>
#include <system_error>
#include <unistd.h>

namespace stm::bench {
namespace {

struct Named {
    const char* name;
    const char* goal;
    int batch; // transactions for each one of the others, so that the clock can measure them
    std::unique_ptr<Contestant> contestant;
};

struct Case {
    std::string name;
    Access access;
    std::size_t pages;
};

std::vector<Case> all_cases() {
    std::vector<Case> cases;
    for (const Access access : {Access::load, Access::store})
        for (const std::size_t pages : {1, 2, 4, 16, 64})
            cases.push_back({std::to_string(pages) + (pages == 1 ? " page, " : " pages, ") +
                                 (access == Access::load ? "loads" : "stores"),
                             access, pages});
    return cases;
}

double now() {
    struct timespec time;
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

double sample(const Named& who, const Case& one) {
    const int times = (one.pages < 4 ? 4 : 1) * who.batch;
    who.contestant->prepare();
    // Caches, memory that is kept from the time before, and what is learnt from it.
    for (int i = 0; i < 4; ++i)
        who.contestant->run(one.access, one.pages);
    const double begin = now();
    for (int i = 0; i < times; ++i)
        who.contestant->run(one.access, one.pages);
    return (now() - begin) / times;
}

std::vector<Comparison> measure(const std::vector<Named>& contestants,
                                const std::vector<Case>& cases, int rounds) {
    std::vector<Comparison> comparisons;
    for (const Case& one : cases) {
        Comparison comparison{one.name, {}};
        for (const Named& named : contestants)
            comparison.series.push_back({named.name, named.goal, {}});
        comparisons.push_back(comparison);
    }
    // The first round warms up; it does not count.
    for (int round = -1; round < rounds; ++round) {
        for (std::size_t index = 0; index < cases.size(); ++index) {
            for (std::size_t turn = 0; turn < contestants.size(); ++turn) {
                const std::size_t who =
                    (turn + static_cast<std::size_t>(round + 1)) % contestants.size();
                const double cost = sample(contestants[who], cases[index]);
                if (round >= 0)
                    comparisons[index].series[who].samples.push_back(cost);
            }
        }
    }
    return comparisons;
}

// Another processor has other caches.
void stay_on_this_processor() {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &set);
    if (::sched_setaffinity(0, sizeof(set), &set) < 0)
        throw std::system_error(errno, std::generic_category(), "sched_setaffinity");
}

// The parameter of the module that the contestants change is as before at the end.
class PredictedPages {
public:
    PredictedPages() { std::ifstream(kPath) >> before_; }
    ~PredictedPages() { std::ofstream(kPath) << before_; }
    PredictedPages(const PredictedPages&) = delete;
    PredictedPages& operator=(const PredictedPages&) = delete;

private:
    static constexpr const char* kPath = "/sys/module/stm/parameters/predicted_pages";
    std::string before_;
};

constexpr const char* kUsage =
    "usage: mapped_bench --floor FILE [--json] [--counted] [--rounds N] [--only WORD]\n"
    "  Compares a transaction in a mapping with a bare page fault and with a mutex. Needs the\n"
    "  loaded module, and root.\n"
    "  --floor    stm_floor.ko of this kernel\n"
    "  --counted  this is a guest that counts instructions: nanoseconds stand for them\n"
    "  --rounds   of which the median is taken (default 201)\n"
    "  --only     only the cases whose name contains WORD\n";

int run(int argc, char** argv) {
    Machine machine;
    bool json = false;
    int rounds = 201;
    std::string floor_module;
    std::string_view only;
    for (int index = 1; index < argc; ++index) {
        const std::string_view word = argv[index];
        if (word == "--json")
            json = true;
        else if (word == "--counted")
            machine.counted = true;
        else if (word == "--floor" && index + 1 < argc)
            floor_module = argv[++index];
        else if (word == "--rounds" && index + 1 < argc)
            rounds = std::atoi(argv[++index]);
        else if (word == "--only" && index + 1 < argc)
            only = argv[++index];
        else {
            std::fputs(kUsage, word == "--help" ? stdout : stderr);
            return word == "--help" ? 0 : 2;
        }
    }
    std::vector<Case> cases;
    for (const Case& one : all_cases())
        if (one.name.find(only) != std::string::npos)
            cases.push_back(one);
    if (rounds < 1 || cases.empty() || floor_module.empty()) {
        std::fputs(kUsage, stderr);
        return 2;
    }

    struct utsname system;
    ::uname(&system);
    machine.kernel = system.release;
    machine.processors = ::sysconf(_SC_NPROCESSORS_ONLN);
    stay_on_this_processor();
    const PredictedPages kept;
    std::vector<Named> contestants;
    contestants.push_back({"floor", "", 1, make_floor(floor_module)});
    contestants.push_back({"cold", "1.15", 1, make_transaction(Start::cold)});
    contestants.push_back({"predicted", "below 1", 1, make_transaction(Start::predicted)});
    contestants.push_back({"mutex", "", 20, make_mutex()});
    const std::vector<Comparison> comparisons = measure(contestants, cases, rounds);
    const std::string report =
        json ? json_of(machine, comparisons) : table_of(machine, comparisons);
    return std::fputs(report.c_str(), stdout) < 0 ? 1 : 0;
}

} // namespace
} // namespace stm::bench

int main(int argc, char** argv) {
    try {
        return stm::bench::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "mapped_bench: %s\n", error.what());
        return 1;
    }
}
