// SPDX-License-Identifier: GPL-2.0
// From samples of transactions to a table or JSON.
#pragma once

#include "../fault/report.hpp"

#include <string>
#include <vector>

namespace stm::bench {

// One contestant in one case: nanoseconds for one transaction, one sample a round.
struct Series {
    std::string name;
    std::string goal; // the largest ratio to the floor that is wanted, as text; empty: none
    std::vector<double> samples;
};

// One case. The series "floor" and "mutex" are what the others are compared with: the ratios are
// those of the samples of one round, which were taken one right after the other.
struct Comparison {
    std::string name;
    std::vector<Series> series;
};

std::string table_of(const Machine& machine, const std::vector<Comparison>& comparisons);
std::string json_of(const Machine& machine, const std::vector<Comparison>& comparisons);

} // namespace stm::bench
