// SPDX-License-Identifier: GPL-2.0
// From samples to a table or JSON.
#pragma once

#include <string>
#include <vector>

namespace stm::bench {

// One thing that was measured: nanoseconds for one operation, a pair for each repetition.
struct Measurement {
    std::string name;
    std::string goal; // the largest ratio wanted, as text; empty: none
    std::vector<double> region;
    std::vector<double> memfd;
};

// What the numbers were taken on.
struct Machine {
    std::string kernel;
    long processors = 0;
    bool counted = false; // nanoseconds stand for instructions
};

struct Quartiles {
    double low = 0;
    double median = 0;
    double high = 0;
};

// `values` must not be empty.
Quartiles quartiles_of(std::vector<double> values);

// The quotient of each pair, whose two samples were taken one right after the other.
std::vector<double> ratios_of(const Measurement& measurement);

std::string table_of(const Machine& machine, const std::vector<Measurement>& measurements);
std::string json_of(const Machine& machine, const std::vector<Measurement>& measurements);

} // namespace stm::bench
