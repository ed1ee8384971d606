// SPDX-License-Identifier: GPL-2.0
// What one transaction costs in each way of access, beside what people use instead. In a guest that
// counts instructions the numbers are the same every time. Otherwise they are medians of rounds in
// which all ways have their turn.
#include "../fault/report.hpp"
#include "system_calls.hpp"
#include "way.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <fmt/core.h>
#include <functional>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <vector>

namespace stm::bench {
namespace {

struct NamedWork {
    const char* name;
    Work work;
};
constexpr NamedWork kWorks[] = {
    {"read-only-8", Work::read_only_8},
    {"bank-2r2w", Work::bank_2r2w},
    {"hot-counter", Work::hot_counter},
    {"sum-1024", Work::sum_1024},
    {"ordered-map-20", Work::ordered_map_20},
    {"hash-set-20", Work::hash_set_20},
    {"list-20", Work::list_20},
};

enum class Whose { ours, others };
struct NamedWay {
    const char* name;
    Whose whose;
    std::unique_ptr<Contestant> (*make)();
};
constexpr NamedWay kWays[] = {
    {"typed", Whose::ours, make_typed},
    {"calls", Whose::ours, make_calls},
    {"vectored", Whose::ours, make_vectored},
    {"mapped", Whose::ours, make_mapped},
    {"mutex-undo", Whose::others, make_mutex_undo},
    {"libitm", Whose::others, make_libitm},
    {"lmdb", Whose::others, make_lmdb},
};

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

double time_of(Contestant& contestant, Work work, Random& random) {
    const double begin = now();
    for (int i = 0; i < Plan::kTransactions; ++i)
        contestant.run(work, random);
    return (now() - begin) / Plan::kTransactions;
}

Row measure_alone(const NamedWork& work, const NamedWay& way, Contestant& contestant,
                  Random& random) {
    Row row{work.name, way.name};
    for (int i = 0; i < Plan::kWarmUp; ++i)
        contestant.run(work.work, random);
    const long faults = faults_so_far();
    for (int i = 0; i < Plan::kTransactions; ++i)
        contestant.run(work.work, random);
    row.faults = static_cast<double>(faults_so_far() - faults) / Plan::kTransactions;
    row.system_calls = system_calls_of([&]() -> std::function<void()> {
        std::shared_ptr<Contestant> own = way.make();
        return [own, work, random]() mutable { own->run(work.work, random); };
    });
    return row;
}

std::vector<Row> measure(const NamedWork& work, const Plan& plan) {
    struct Turn {
        std::unique_ptr<Contestant> contestant;
        Random random;
        Row row;
        std::vector<double> samples;
    };
    std::vector<Turn> turns;
    for (const NamedWay& way : kWays) {
        if (plan.only_ours && way.whose == Whose::others)
            continue;
        Turn& turn = turns.emplace_back();
        turn.contestant = way.make();
        turn.row = measure_alone(work, way, *turn.contestant, turn.random);
    }
    for (int round = 0; round < plan.rounds; ++round)
        for (std::size_t i = 0; i < turns.size(); ++i) {
            Turn& turn = turns[(i + static_cast<std::size_t>(round)) % turns.size()];
            turn.samples.push_back(time_of(*turn.contestant, work.work, turn.random));
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
        fmt::format("{:16} {:12} {:>12} {:>13} {:>8}\n", "one transaction", "way",
                    plan.counted ? "instructions" : "nanoseconds", "system calls", "faults");
    for (const Row& row : rows)
        table += fmt::format("{:16} {:12} {:12.0f} {:13.2f} {:8.2f}\n", row.work, row.way, row.cost,
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
    for (const NamedWork& work : kWorks) {
        if (std::string_view(work.name).find(plan.only) == std::string_view::npos)
            continue;
        for (Row& row : measure(work, plan))
            rows.push_back(std::move(row));
    }
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
