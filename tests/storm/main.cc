// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/board.hpp"
#include "tests/storm/cast.hpp"
#include "tests/storm/plan.hpp"
#include "tests/storm/storm.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <random>

int main(int argc, char** argv) {
    using namespace stm::storm;
    // A process of the storm that called exec.
    if (argc == 3 && std::strcmp(argv[1], "--process") == 0)
        live(*inherited_board(), static_cast<unsigned>(std::stoul(argv[2])));

    Options options;
    options.seed = std::random_device{}();
    bool show_plan = false;
    CLI::App app{"Processes that share regions in every way, and are killed, stopped, forked, "
                 "unmapped and starved of "
                 "memory, while auditors look for anything lost.\nNeeds the loaded module and "
                 "root: see ci/storm.",
                 "storm"};
    app.add_option("--seconds", options.seconds, "how long (60)")->check(CLI::Range(1, 86400));
    app.add_option("--seed", options.seed, "of all decisions; a random one if none is given");
    app.add_option("--json", options.json, "a file for the figures, as JSON");
    app.add_option("--keep", options.keep, "a folder for histories that are found wrong");
    app.add_option("--plant", options.plant, "do wrong on purpose, to see that it is found")
        ->check(CLI::IsMember({"accounts", "locked", "list", "tree", "history", "plain", "calls"}));
    std::string way;
    app.add_option("--only", way, "only the processes of one way of access")
        ->check(CLI::IsMember({"calls", "mapped", "typed", "vectors"}));
    app.add_flag("--direct", options.direct,
                 "in regions to which typed transactions are committed without a system call");
    app.add_flag("!--no-hotplug", options.hotplug, "take no processor out");
    app.add_flag("--plan", show_plan, "only print what would be done, and when");
    app.footer("Exit status: 0 nothing was lost, 1 something is wrong, 2 it could not run.");
    CLI11_PARSE(app, argc, argv);
    set_only(way);

    if (show_plan) {
        for (const Decision& decision :
             make_plan(options.seed, options.seconds, static_cast<unsigned>(cast().size())))
            std::puts(to_string(decision).c_str());
        return 0;
    }
    std::fprintf(stderr, "storm: seed %llu\n", static_cast<unsigned long long>(options.seed));
    return run(options);
}
