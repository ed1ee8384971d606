// SPDX-License-Identifier: GPL-2.0
#include "report.hpp"

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

const Series* find(const Comparison& comparison, const std::string& name) {
    for (const Series& series : comparison.series)
        if (series.name == name)
            return &series;
    return nullptr;
}

// Empty: there is nothing to compare with.
std::vector<double> ratios(const Comparison& comparison, const Series& series,
                           const std::string& to) {
    std::vector<double> result;
    const Series* base = find(comparison, to);
    if (base == nullptr || base == &series)
        return result;
    for (std::size_t round = 0; round < series.samples.size(); ++round)
        result.push_back(series.samples[round] / base->samples[round]);
    return result;
}

std::string ratio_text(const std::vector<double>& values) {
    if (values.empty())
        return text("%26s", "");
    const Quartiles ratio = quartiles_of(values);
    return text("%8.2f  (%6.2f -%6.2f)", ratio.median, ratio.low, ratio.high);
}

std::string json_of(const std::vector<double>& values) {
    const Quartiles q = quartiles_of(values);
    return text(R"({"median": %.4f, "low": %.4f, "high": %.4f})", q.median, q.low, q.high);
}

} // namespace

std::string table_of(const Machine& machine, const std::vector<Comparison>& comparisons) {
    std::string table =
        text("Linux %s, %ld processors; %s for one transaction; ratios with their quartiles\n\n",
             machine.kernel.c_str(), machine.processors,
             machine.counted ? "instructions of the guest" : "nanoseconds");
    table += text("%-18s %-12s %9s  %-26s %-26s %s\n", "", "", "", "to the floor", "to the mutex",
                  "goal, floor");
    for (const Comparison& comparison : comparisons) {
        for (const Series& series : comparison.series)
            table +=
                text("%-18s %-12s %9.0f  %s %s %s\n", comparison.name.c_str(), series.name.c_str(),
                     quartiles_of(series.samples).median,
                     ratio_text(ratios(comparison, series, "floor")).c_str(),
                     ratio_text(ratios(comparison, series, "mutex")).c_str(), series.goal.c_str());
    }
    return table;
}

std::string json_of(const Machine& machine, const std::vector<Comparison>& comparisons) {
    std::string json =
        text(R"({"kernel": "%s", "processors": %ld, "unit": "%s", "results": [)",
             machine.kernel.c_str(), machine.processors, machine.counted ? "instructions" : "ns");
    const char* separator = "\n";
    for (const Comparison& comparison : comparisons) {
        for (const Series& series : comparison.series) {
            json += separator;
            json += text(R"(  {"name": "%s", "way": "%s", "goal": "%s", "samples": %zu, "cost": )",
                         comparison.name.c_str(), series.name.c_str(), series.goal.c_str(),
                         series.samples.size());
            json += json_of(series.samples);
            for (const char* base : {"floor", "mutex"}) {
                const std::vector<double> values = ratios(comparison, series, base);
                if (!values.empty())
                    json += text(R"(, "to_%s": )", base) + json_of(values);
            }
            json += "}";
            separator = ",\n";
        }
    }
    return json + "\n]}\n";
}

} // namespace stm::bench
