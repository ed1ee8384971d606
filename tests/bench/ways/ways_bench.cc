// SPDX-License-Identifier: GPL-2.0
// What one transaction costs in each way of access, beside what people use instead. In a guest that
// counts instructions the numbers are the same every time. Otherwise they are medians of rounds in
// which all ways have their turn.
#include "../fault/report.hpp"
#include "somebody_else.hpp"
#include "system_calls.hpp"
#include "way.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <fmt/core.h>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <sys/resource.h>
#include <vector>

namespace stm::bench {
namespace {

constexpr Work kWorks[] = {
    kReadOnly8,
    kBank,
    kHotCounter,
    kSum,
    kChangingTable,
    kVacation,
    {"ordered-map-20", Kind::ordered_map, 2},
    {"hash-set-20", Kind::hash_set, 2},
    {"list-20", Kind::list, 2},
};

// What it costs that a transaction is over two regions.
constexpr Work kInOneRegion{"bank-one-region", Kind::bank};
constexpr Work kInTwoRegions{"bank-two-regions", Kind::bank};
constexpr NamedWay kOneRegion{"typed", Whose::ours, [] { return make_halves(1); }};
constexpr NamedWay kTwoRegions{"typed", Whose::ours, [] { return make_halves(2); }};

struct Row {
    std::string work;
    std::string way;
    double cost = 0; // nanoseconds, or instructions where they stand for them
    double system_calls = 0;
    double faults = 0;
};

struct Plan {
    bool counted = false;
    bool only_ours = false;
    int rounds = 31;
    std::string only;

    // The first ones bring caches and what is learnt into their steady state.
    static constexpr int kWarmUp = 300;
    static constexpr int kTransactions = 1000;
};

double now() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

long faults_so_far() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

// A contestant with its random numbers, and who else there is.
struct Contender {
    std::unique_ptr<Contestant> contestant;
    Random random;
    std::unique_ptr<SomebodyElse> other;

    Contender(const NamedWay& way, const Work& work) : contestant(way.make()) {
        if (work.meanwhile != nullptr)
            other = std::make_unique<SomebodyElse>(*contestant, *work.meanwhile, way.workers);
        contestant->enter();
    }
    void run(const Work& work) { contestant->run(work, random, 0); }
    // What happens before a transaction, and is not counted.
    void wait_for_other() {
        if (other != nullptr)
            other->act();
    }
};

// What it costs to look at the clock, which is in the time between two looks.
double time_of_clock() {
    double time = 0;
    for (int i = 0; i < Plan::kTransactions; ++i) {
        const double begin = now();
        time += now() - begin;
    }
    return time / Plan::kTransactions;
}

// Somebody else acts between the spans that are timed. The difference of two runs, with and without
// that, would be wrong, because the transaction is another one where nobody has changed anything.
double time_between_acts(Contender& contender, const Work& work) {
    double time = 0;
    for (int i = 0; i < Plan::kTransactions; ++i) {
        contender.wait_for_other();
        const double begin = now();
        contender.run(work);
        time += now() - begin;
    }
    return time / Plan::kTransactions - time_of_clock();
}

double time_of(Contender& contender, const Work& work) {
    if (contender.other != nullptr)
        return time_between_acts(contender, work);
    const double begin = now();
    for (int i = 0; i < Plan::kTransactions; ++i)
        contender.run(work);
    return (now() - begin) / Plan::kTransactions;
}

double faults_of(Contender& contender, const Work& work) {
    long faults = 0;
    for (int i = 0; i < Plan::kTransactions; ++i) {
        contender.wait_for_other();
        const long before = faults_so_far();
        contender.run(work);
        faults += faults_so_far() - before;
    }
    return static_cast<double>(faults) / Plan::kTransactions;
}

double system_calls_with_others_of(const Contender& like, const NamedWay& way, const Work& work,
                                   bool with_own) {
    return system_calls_of([&]() -> std::function<void()> {
        const auto own = std::make_shared<Contender>(way, work);
        own->random = like.random;
        return [own, work, with_own] {
            own->wait_for_other();
            if (with_own)
                own->run(work);
        };
    });
}

Row measure_alone(const Work& work, const NamedWay& way, Contender& contender) {
    Row row{work.name, way.name};
    for (int i = 0; i < Plan::kWarmUp; ++i) {
        contender.wait_for_other();
        contender.run(work);
    }
    row.faults = faults_of(contender, work);
    // Waiting for somebody else is the same number of calls each time.
    row.system_calls = system_calls_with_others_of(contender, way, work, true);
    if (work.meanwhile != nullptr)
        row.system_calls -= system_calls_with_others_of(contender, way, work, false);
    return row;
}

std::vector<Row> measure(const Work& work, std::span<const NamedWay> ways, const Plan& plan) {
    struct Turn {
        Contender contender;
        Row row;
        std::vector<double> samples;
    };
    std::vector<Turn> turns;
    for (const NamedWay& way : ways) {
        if (plan.only_ours && way.whose == Whose::others)
            continue;
        Turn& turn = turns.emplace_back(Turn{Contender(way, work), {}, {}});
        turn.row = measure_alone(work, way, turn.contender);
    }
    for (int round = 0; round < plan.rounds; ++round)
        for (std::size_t i = 0; i < turns.size(); ++i) {
            Turn& turn = turns[(i + static_cast<std::size_t>(round)) % turns.size()];
            turn.samples.push_back(time_of(turn.contender, work));
        }
    std::vector<Row> rows;
    for (Turn& turn : turns) {
        turn.row.cost = quartiles_of(turn.samples).median;
        rows.push_back(turn.row);
    }
    return rows;
}

std::string json_of(const std::vector<Row>& rows, const Plan& plan) {
    std::string text = "[";
    for (const Row& row : rows) {
        const nlohmann::ordered_json object{
            {"work", row.work},
            {"way", row.way},
            {plan.counted ? "instructions" : "nanoseconds", static_cast<long>(row.cost + 0.5)},
            {"system_calls", row.system_calls},
            {"faults", row.faults}};
        text += (text.size() == 1 ? "\n  " : ",\n  ") + object.dump();
    }
    return text + "\n]\n";
}

std::string table_of(const std::vector<Row>& rows, const Plan& plan) {
    std::string table =
        fmt::format("{:18} {:12} {:>12} {:>13} {:>8}\n", "one transaction", "way",
                    plan.counted ? "instructions" : "nanoseconds", "system calls", "faults");
    for (const Row& row : rows)
        table += fmt::format("{:18} {:12} {:12.0f} {:13.2f} {:8.2f}\n", row.work, row.way, row.cost,
                             row.system_calls, row.faults);
    return table;
}

int run(int argc, char** argv) {
    CLI::App app{"Compares the ways to use a region with what people use instead. Needs the loaded "
                 "module."};
    Plan plan;
    bool json = false;
    app.add_flag("--json", json, "print JSON");
    app.add_flag("--counted", plan.counted,
                 "this is a guest that counts instructions: nanoseconds stand for them");
    app.add_flag("--ours", plan.only_ours, "only our ways");
    app.add_option("--rounds", plan.rounds, "of which the median is taken")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--only", plan.only, "only the works whose name contains this word");
    CLI11_PARSE(app, argc, argv);
    std::vector<Row> rows;
    const auto add = [&](const Work& work, std::span<const NamedWay> ways) {
        if (std::string_view(work.name).find(plan.only) == std::string_view::npos)
            return;
        for (Row& row : measure(work, ways, plan))
            rows.push_back(std::move(row));
    };
    for (const Work& work : kWorks)
        add(work, all_ways());
    add(kInOneRegion, {&kOneRegion, 1});
    add(kInTwoRegions, {&kTwoRegions, 1});
    const std::string report = json ? json_of(rows, plan) : table_of(rows, plan);
    return std::fputs(report.c_str(), stdout) < 0 ? 1 : 0;
}

} // namespace
} // namespace stm::bench

int main(int argc, char** argv) {
    try {
        return stm::bench::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "ways_bench: %s\n", error.what());
        return 1;
    }
}
