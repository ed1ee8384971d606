// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/plan.hpp"

#include <array>
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
}};
constexpr unsigned kLongestPause = 60; // milliseconds

const Weight& weight_of(Action action) {
    return kWeights[static_cast<std::size_t>(action)];
}

const Weight& choose(std::uint64_t number) {
    unsigned sum = 0;
    for (const Weight& weight : kWeights)
        sum += weight.weight;
    unsigned left = static_cast<unsigned>(number % sum);
    for (const Weight& weight : kWeights) {
        if (left < weight.weight)
            return weight;
        left -= weight.weight;
    }
    return kWeights.front();
}

} // namespace

const char* to_string(Action action) {
    return weight_of(action).name;
}

// No distribution of the standard library: what they give for a number is not the same everywhere.
std::vector<Decision> make_plan(std::uint64_t seed, std::uint64_t seconds, unsigned slots) {
    std::vector<Decision> plan;
    std::mt19937_64 random(seed);
    std::uint64_t now = 0;
    for (;;) {
        now += 1 + random() % kLongestPause;
        const Weight& weight = choose(random());
        const auto slot = static_cast<unsigned>(random() % slots);
        const std::uint64_t length = random();
        if (now >= seconds * 1000)
            return plan;
        plan.push_back(
            {now, weight.action, slot,
             weight.longest_ms == 0 ? 0 : 1 + static_cast<unsigned>(length % weight.longest_ms)});
    }
}

std::string to_string(const Decision& decision) {
    std::string text = std::to_string(decision.at_ms) + " ms: " + to_string(decision.action) +
                       " process " + std::to_string(decision.slot);
    if (decision.length_ms != 0)
        text += " for " + std::to_string(decision.length_ms) + " ms";
    return text;
}

} // namespace stm::storm
