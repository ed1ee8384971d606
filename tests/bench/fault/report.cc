// SPDX-License-Identifier: GPL-2.0
#include "report.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace stm::bench {
namespace {

[[gnu::format(printf, 1, 2)]] std::string text(const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    char buffer[256];
    std::vsnprintf(buffer, sizeof(buffer), format, arguments);
    va_end(arguments);
    return buffer;
}

std::string json_of(const Quartiles& values) {
    return text(R"({"median": %.4f, "low": %.4f, "high": %.4f})", values.median, values.low,
                values.high);
}

} // namespace

Quartiles quartiles_of(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    auto at = [&](double part) {
        double position = part * static_cast<double>(values.size() - 1);
        auto below = static_cast<std::size_t>(position);
        std::size_t above = std::min(below + 1, values.size() - 1);
        double weight = position - static_cast<double>(below);
        return values[below] * (1 - weight) + values[above] * weight;
    };
    return {at(0.25), at(0.5), at(0.75)};
}

std::vector<double> ratios_of(const Measurement& measurement) {
    std::vector<double> ratios;
    for (std::size_t pair = 0; pair < measurement.region.size(); ++pair)
        ratios.push_back(measurement.region[pair] / measurement.memfd[pair]);
    return ratios;
}

std::string table_of(const Machine& machine, const std::vector<Measurement>& measurements) {
    std::string table =
        text("Linux %s, %ld processors; %s for one operation\n\n", machine.kernel.c_str(),
             machine.processors, machine.counted ? "instructions of the guest" : "nanoseconds");
    table += text("%-42s %9s %9s %7s  %-13s %s\n", "", "region", "memfd", "ratio", "(quartiles)",
                  "goal");
    for (const Measurement& measurement : measurements) {
        Quartiles ratio = quartiles_of(ratios_of(measurement));
        table +=
            text("%-42s %9.0f %9.0f %7.2f  (%.2f - %.2f) %s\n", measurement.name.c_str(),
                 quartiles_of(measurement.region).median, quartiles_of(measurement.memfd).median,
                 ratio.median, ratio.low, ratio.high, measurement.goal.c_str());
    }
    return table;
}

std::string json_of(const Machine& machine, const std::vector<Measurement>& measurements) {
    std::string json =
        text(R"({"kernel": "%s", "processors": %ld, "unit": "%s", "results": [)",
             machine.kernel.c_str(), machine.processors, machine.counted ? "instructions" : "ns");
    const char* separator = "\n";
    for (const Measurement& measurement : measurements) {
        json += separator;
        json += text(R"(  {"name": "%s", "goal": "%s", "samples": %zu, )", measurement.name.c_str(),
                     measurement.goal.c_str(), measurement.region.size());
        json += "\"region\": " + json_of(quartiles_of(measurement.region));
        json += ", \"memfd\": " + json_of(quartiles_of(measurement.memfd));
        json += ", \"ratio\": " + json_of(quartiles_of(ratios_of(measurement))) + "}";
        separator = ",\n";
    }
    return json + "\n]}\n";
}

} // namespace stm::bench
