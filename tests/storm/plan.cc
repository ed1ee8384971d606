// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/plan.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <random>

namespace stm::storm {

namespace {

struct Weight {
    Action action;
    const char* name;
    unsigned weight;
    unsigned longest_ms; // 0: it has no length
};

constexpr std::array<Weight, kActions> kWeights{{
    {Action::kill, "kill", 40, 0},
    {Action::stop, "stop", 15, 200},
    {Action::fork, "fork", 10, 0},
    {Action::exec, "exec", 5, 0},
    {Action::leave, "leave", 4, 0},
    {Action::unmap, "unmap", 8, 0},
    {Action::advise, "advise", 6, 0},
    {Action::unload, "unload", 4, 0},
    {Action::destroy, "destroy", 4, 0},
    {Action::hog, "hog", 2, 500},
    {Action::cpu, "cpu", 2, 1000},
    {Action::close, "close", 6, 0},
    {Action::share, "share", 3, 0},
    {Action::first, "first", 3, 0},
}};

// Two rows of decisions beside each other, so that what is added to the second leaves those of a
// seed in the first as they were.
struct Row {
    std::size_t first; // of the weights
    std::size_t end;
    std::uint64_t begin_ms;
    unsigned longest_pause_ms;
};
constexpr Row kRows[] = {{0, 11, 0, 60}, {11, kActions, 1000, 250}};

const Weight& weight_of(Action action) {
    return kWeights[static_cast<std::size_t>(action)];
}

const Weight& choose(const Row& row, std::uint64_t number) {
    unsigned sum = 0;
    for (std::size_t i = row.first; i < row.end; ++i)
        sum += kWeights[i].weight;
    unsigned left = static_cast<unsigned>(number % sum);
    for (std::size_t i = row.first; i < row.end; ++i) {
        if (left < kWeights[i].weight)
            return kWeights[i];
        left -= kWeights[i].weight;
    }
    return kWeights[row.first];
}

// No distribution of the standard library: what they give for a number is not the same everywhere.
std::vector<Decision> make_row(const Row& row, std::uint64_t seed, std::uint64_t seconds,
                               unsigned slots) {
    std::vector<Decision> plan;
    std::mt19937_64 random(seed + row.first);
    std::uint64_t now = row.begin_ms;
    for (;;) {
        now += 1 + random() % row.longest_pause_ms;
        const Weight& weight = choose(row, random());
        const auto slot = static_cast<unsigned>(random() % slots);
        const std::uint64_t length = random();
        if (now >= seconds * 1000)
            return plan;
        plan.push_back(
            {now, weight.action, slot,
             weight.longest_ms == 0 ? 0 : 1 + static_cast<unsigned>(length % weight.longest_ms)});
    }
}

} // namespace

const char* to_string(Action action) {
    return weight_of(action).name;
}

std::vector<Decision> make_plan(std::uint64_t seed, std::uint64_t seconds, unsigned slots) {
    std::vector<Decision> plan;
    for (const Row& row : kRows) {
        const std::vector<Decision> more = make_row(row, seed, seconds, slots);
        const auto middle = static_cast<std::ptrdiff_t>(plan.size());
        plan.insert(plan.end(), more.begin(), more.end());
        std::inplace_merge(
            plan.begin(), plan.begin() + middle, plan.end(),
            [](const Decision& one, const Decision& other) { return one.at_ms < other.at_ms; });
    }
    return plan;
}

std::string to_string(const Decision& decision) {
    std::string text = std::to_string(decision.at_ms) + " ms: " + to_string(decision.action) +
                       " process " + std::to_string(decision.slot);
    if (decision.length_ms != 0)
        text += " for " + std::to_string(decision.length_ms) + " ms";
    return text;
}

} // namespace stm::storm
