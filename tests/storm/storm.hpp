// SPDX-License-Identifier: GPL-2.0
// The storm itself: keeps the cast alive, does to it what the plan says, has the histories
// checked, and looks in the end whether all is as it was.
#pragma once

#include <cstdint>
#include <string>

namespace stm::storm {

struct Options {
    std::uint64_t seconds = 60;
    std::uint64_t seed = 0;
    std::string keep;    // a folder for histories that are wrong; empty: nowhere
    std::string plant;   // whom to do wrong, to see that it is found
    std::string json;    // a file for the figures; empty: none
    bool hotplug = true; // take a processor out
    bool direct = false; // in regions to which programs commit by themselves
};

/** 0: nothing was lost; 1: something is wrong. */
int run(const Options& options);

} // namespace stm::storm
