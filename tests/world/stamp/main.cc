// SPDX-License-Identifier: GPL-2.0
// Five applications with transactions, in the spirit of STAMP (Cao Minh, Chung, Kozyrakis,
// Olukotun: "STAMP: Stanford Transactional Applications for Multi-Processing", 2008), written anew
// after its descriptions.
//
//   stamp [--workers N] [--size N] [--rounds N] [APPLICATION | WAY]…
//
// Each is run sequentially, in each way of access by processes, and with a mutex and GCC's libitm
// by threads. Each result must be that of the sequential run. Prints the times in milliseconds (the
// median of the rounds), and the table again as JSON.
#include "application.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

using namespace stm::stamp;

int main(int argc, char** argv) {
    unsigned workers = 2, size = 1, rounds = 1;
    std::set<std::string> wanted;
    for (int at = 1; at < argc; ++at) {
        const std::string word = argv[at];
        unsigned* number = word == "--workers"  ? &workers
                           : word == "--size"   ? &size
                           : word == "--rounds" ? &rounds
                                                : nullptr;
        if (number == nullptr)
            wanted.insert(word);
        else if (++at < argc)
            *number = static_cast<unsigned>(std::atoi(argv[at]));
    }
    if (workers < 1 || workers > kMaxWorkers || 240 % workers != 0 || size < 1 || size > 16 ||
        rounds < 1) {
        std::fprintf(stderr, "stamp: 1 to 6, or 8, workers; a size from 1 to 16\n");
        return 2;
    }
    const std::vector<std::string> all = {"vacation", "intruder", "genome", "kmeans", "labyrinth"};
    const std::vector<WayInfo> ways = {mutex_way(),
#ifdef STM_STAMP_LIBITM
                                       libitm_way(),
#endif
                                       typed_way(), mapped_way(), calls_way()};
    const auto is_any_of = [&](const auto& names) {
        return std::any_of(names.begin(), names.end(),
                           [&](const auto& name) { return wanted.count(name) != 0; });
    };
    std::vector<std::string> way_names;
    for (const WayInfo& way : ways)
        way_names.emplace_back(way.name);
    const bool some_ways = is_any_of(way_names), some_applications = is_any_of(all);
    const WayInfo alone = sequential_way();

    std::printf("%-10s %10s", "ms", alone.name);
    for (const WayInfo& way : ways)
        std::printf(" %10s", way.name);
    std::printf("   (%u workers, size %u)\n", workers, size);
    unsigned passed = 0, failed = 0;
    std::string json;
    for (const std::string& application : all) {
        if (some_applications && wanted.count(application) == 0)
            continue;
        std::printf("%-10s", application.c_str());
        u64 right = 0;
        const auto show = [&](const WayInfo& way, unsigned its_workers) {
            std::vector<double> times;
            bool good = true;
            for (unsigned round = 0; round < rounds; ++round) {
                const Outcome outcome = way.run(application, size, its_workers);
                if (&way == &alone)
                    right = outcome.result;
                good = good && outcome.result == right && right != 0;
                times.push_back(outcome.seconds * 1000);
            }
            std::sort(times.begin(), times.end());
            const double median = times[times.size() / 2];
            ++(good ? passed : failed);
            std::printf(" %9.2f%s", median, good ? " " : "!");
            std::fflush(stdout);
            char text[128];
            std::snprintf(text, sizeof text, "%s\"%s_%s_us\": %.0f", json.empty() ? "" : ", ",
                          application.c_str(), way.name, median * 1000);
            json += text;
        };
        show(alone, 1);
        for (const WayInfo& way : ways)
            if (!some_ways || wanted.count(way.name) != 0)
                show(way, workers);
            else
                std::printf(" %9s ", "");
        std::printf("\n");
    }
    if (failed != 0)
        std::printf("! is not what the sequential run gives\n");
    std::printf("{%s}\n%u passed, %u failed\n", json.c_str(), passed, failed);
    return failed == 0 ? 0 : 1;
}
