// SPDX-License-Identifier: GPL-2.0
// How many transactions one, two and four processes make in a second, in each way of access and in
// what people use instead, and how far the goals in time are met. Everybody has a short turn in
// each round. Prints JSON with the rates of all rounds; ci/bench-report makes tables and plots of
// it.
#include "goals.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/utsname.h>
#include <unistd.h>

namespace stm::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Measured {
    Work work;
    std::size_t most; // processes
};
constexpr Measured kWorks[] = {
    {kReadOnly8, 4},
    {kBank, 4},
    {kBankWithSums, 2},
    {{"hash-set-0", Kind::hash_set, 0}, 2},
    {{"hash-set-20", Kind::hash_set, 2}, 2},
    {{"hash-set-100", Kind::hash_set, 10}, 2},
    {{"ordered-map-0", Kind::ordered_map, 0}, 2},
    {{"ordered-map-20", Kind::ordered_map, 2}, 2},
    {{"ordered-map-100", Kind::ordered_map, 10}, 2},
    {{"list-0", Kind::list, 0}, 2},
    {{"list-20", Kind::list, 2}, 2},
    {{"list-100", Kind::list, 10}, 2},
    {kHotCounter, 4},
    {kDisjoint, 4},
    {kQueueWork, 4},
};

struct Plan {
    int rounds = 21;
    int goal_rounds = 101;
    unsigned milliseconds = 20;
    std::string only;
    // This is a guest that counts instructions, where nanoseconds stand for them.
    bool counted = false;
};

bool wanted(const std::string& name, const Plan& plan) {
    return name.find(plan.only) != std::string::npos;
}

// Tells how far it is, and how long the rest takes.
class Progress {
public:
    explicit Progress(double seconds) : seconds_(seconds) {}
    void begin(const std::string& what, double seconds) {
        const double passed = std::chrono::duration<double>(Clock::now() - began_).count();
        // What the parts before took beyond their turns, the others will take, too.
        const double slowness = expected_ > 0 ? passed / expected_ : 1.2;
        fmt::print(stderr, "{} … about {:.0f} s are left\n", what,
                   (seconds_ - expected_) * slowness);
        expected_ += seconds;
    }

private:
    double seconds_;
    double expected_ = 0;
    Clock::time_point began_ = Clock::now();
};

// One series of rates for each setup.
std::vector<std::vector<double>> take_turns(const std::vector<Setup>& setups, int rounds,
                                            unsigned milliseconds) {
    std::vector<std::unique_ptr<Group>> groups;
    for (const Setup& setup : setups)
        groups.push_back(std::make_unique<Group>(setup));
    std::vector<std::vector<double>> rates(setups.size());
    // The first round warms up.
    for (int round = -1; round < rounds; ++round)
        for (std::size_t turn = 0; turn < groups.size(); ++turn) {
            const std::size_t i = (turn + static_cast<std::size_t>(round + 1)) % groups.size();
            const double rate = groups[i]->turn(milliseconds);
            if (round >= 0)
                rates[i].push_back(rate);
        }
    for (const auto& group : groups)
        group->check();
    return rates;
}

nlohmann::ordered_json numbers(const std::vector<double>& rates) {
    auto list = nlohmann::ordered_json::array();
    for (const double rate : rates) {
        // Of some that are made in a second once or twice more than that is to be seen.
        if (rate < 1000)
            list.push_back(std::round(rate * 1000) / 1000);
        else
            list.push_back(static_cast<long>(rate + 0.5));
    }
    return list;
}

std::vector<Setup> setups_of(const Measured& measured) {
    std::vector<Setup> setups;
    for (const NamedWay& way : all_ways())
        for (std::size_t workers = 1; workers <= measured.most; workers *= 2)
            setups.push_back({way.name, way.make, measured.work, workers, way.workers});
    return setups;
}

nlohmann::ordered_json all_rates(const Plan& plan, Progress& progress) {
    auto rows = nlohmann::ordered_json::array();
    for (const Measured& measured : kWorks) {
        if (!wanted(measured.work.name, plan))
            continue;
        const std::vector<Setup> setups = setups_of(measured);
        progress.begin(measured.work.name, static_cast<double>(setups.size()) * (plan.rounds + 1) *
                                               plan.milliseconds / 1e3);
        const auto rates = take_turns(setups, plan.rounds, plan.milliseconds);
        for (std::size_t i = 0; i < setups.size(); ++i)
            rows.push_back({{"work", measured.work.name},
                            {"way", setups[i].name},
                            {"processes", setups[i].workers},
                            {"rates", numbers(rates[i])}});
    }
    return rows;
}

double seconds_of(const Goal& goal, const Plan& plan) {
    return 2.0 * (plan.goal_rounds + 1) * plan.milliseconds * goal.stretch / 1e3;
}

nlohmann::ordered_json all_goal_rates(const Plan& plan, Progress& progress) {
    auto rows = nlohmann::ordered_json::array();
    for (const Goal& goal : all_goals()) {
        if (!wanted(goal.name, plan))
            continue;
        progress.begin(goal.name, seconds_of(goal, plan));
        const auto rates = take_turns({goal.base, goal.variant}, plan.goal_rounds,
                                      plan.milliseconds * goal.stretch);
        rows.push_back({{"goal", goal.name},
                        {"least", goal.least},
                        {"base", numbers(rates[0])},
                        {"rates", numbers(rates[1])}});
    }
    return rows;
}

// -- Counted: in this process, and by turns of so many transactions --

constexpr int kWarmUp = 300;
constexpr int kTransactions = 500;

struct Contender {
    explicit Contender(const Setup& setup) : work(setup.work), contestant(setup.make()) {
        contestant->enter();
    }
    // How many transactions are made in a thousand million instructions.
    double turn(int transactions) {
        contestant->before_turn();
        const auto begin = Clock::now();
        for (int i = 0; i < transactions; ++i)
            contestant->run(work, random, 0);
        const std::chrono::duration<double> passed = Clock::now() - begin;
        contestant->after_turn();
        return transactions / passed.count();
    }

    Work work;
    std::unique_ptr<Contestant> contestant;
    Random random;
};

nlohmann::ordered_json all_counted_goals(const Plan& plan) {
    auto rows = nlohmann::ordered_json::array();
    for (const Goal& goal : all_goals()) {
        if (!wanted(goal.name, plan) || goal.base.workers != 1 || goal.variant.workers != 1 ||
            goal.in == Goal::In::time)
            continue;
        Contender base(goal.base);
        Contender variant(goal.variant);
        base.turn(kWarmUp);
        variant.turn(kWarmUp);
        std::vector<double> rates[2];
        for (int round = 0; round < plan.goal_rounds; ++round) {
            const int transactions = kTransactions * static_cast<int>(goal.stretch);
            rates[0].push_back(base.turn(transactions));
            rates[1].push_back(variant.turn(transactions));
        }
        rows.push_back({{"goal", goal.name},
                        {"least", goal.least},
                        {"base", numbers(rates[0])},
                        {"rates", numbers(rates[1])}});
    }
    return rows;
}

double seconds_of_all(const Plan& plan) {
    double seconds = 0;
    for (const Measured& measured : kWorks)
        if (wanted(measured.work.name, plan))
            seconds += static_cast<double>(setups_of(measured).size()) * (plan.rounds + 1) *
                       plan.milliseconds / 1e3;
    for (const Goal& goal : all_goals())
        if (wanted(goal.name, plan))
            seconds += seconds_of(goal, plan);
    return seconds;
}

int run(int argc, char** argv) {
    CLI::App app{"Measures how much several processes do at once, in turns. Needs the loaded "
                 "module."};
    Plan plan;
    app.add_option("--rounds", plan.rounds, "turns of each way")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--goal-rounds", plan.goal_rounds, "turns for each goal")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--milliseconds", plan.milliseconds, "of a turn")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--only", plan.only, "only the works and goals whose name contains this word");
    app.add_flag("--counted", plan.counted,
                 "only goals of one process; this is a guest that counts instructions");
    CLI11_PARSE(app, argc, argv);
    utsname system{};
    ::uname(&system);
    Progress progress(seconds_of_all(plan));
    nlohmann::ordered_json report{{"kernel", system.release},
                                  {"processors", ::sysconf(_SC_NPROCESSORS_ONLN)},
                                  {"milliseconds", plan.milliseconds}};
    report["works"] = plan.counted ? nlohmann::ordered_json::array() : all_rates(plan, progress);
    report["goals"] = plan.counted ? all_counted_goals(plan) : all_goal_rates(plan, progress);
    return std::fputs((report.dump() + "\n").c_str(), stdout) < 0 ? 1 : 0;
}

} // namespace
} // namespace stm::bench

int main(int argc, char** argv) {
    try {
        return stm::bench::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "rates_bench: %s\n", error.what());
        return 1;
    }
}
