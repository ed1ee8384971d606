// SPDX-License-Identifier: GPL-2.0
// The goals in time: each is a ratio of two rates that are measured in turns.
#pragma once

#include "group.hpp"

#include <vector>

namespace stm::bench {

struct Goal {
    std::string name;
    Setup base;
    Setup variant;
    double least;         // of the variant's rate to the base's
    unsigned stretch = 1; // turns are so many times longer
    enum class In { instructions_and_time, time } in = In::instructions_and_time;
};
std::vector<Goal> all_goals();

// -- What they compare beside the ways --

// A contestant beside which `others` more processes have its region attached.
std::unique_ptr<Contestant> make_attached(unsigned others);
// One beside which each of `others` processes has an open transaction during each turn, by
// stm_start and a read, in its region.
std::unique_ptr<Contestant> make_beside_open(unsigned others, bool typed);
// Allocates and frees blocks of 64 bytes, each in a transaction of its own.
std::unique_ptr<Contestant> make_allocating();

// Scans 64 MiB in a transaction, or writes a word of that in one, by plain pointers; alone, or
// beside a process that does the other one all the time.
enum class Job { scan, write };
enum class Company { none, present };
std::unique_ptr<Contestant> make_scan(Job job, Company company);

} // namespace stm::bench
