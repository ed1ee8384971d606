// SPDX-License-Identifier: GPL-2.0
// One of the benchmark's loops on this host, for a profiler: the library and the module's core are
// in this process, and Linux is the simulated one of the unit tests. What the simulation itself
// costs is in the profile, too, and no time in it is that of a system call.
//
//   perf record -g build/host/bench/native_bench --way typed --work bank-2r2w
#include "../ways/way.hpp"
#include "tests/unit/kernel/simulated_linux.hpp"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

namespace {

using namespace stm::bench;

constexpr Work kWorks[] = {
    kReadOnly8,
    kBank,
    kBankWithSums,
    kHotCounter,
    kSum,
    kQueueWork,
    {"ordered-map-20", Kind::ordered_map, 2},
    {"hash-set-20", Kind::hash_set, 2},
    {"list-20", Kind::list, 2},
};

const Work& work_of(const std::string& name) {
    for (const Work& work : kWorks)
        if (name == work.name)
            return work;
    throw std::runtime_error("there is no work '" + name + "'");
}

std::unique_ptr<Contestant> contestant_of(const std::string& way) {
    if (way == "typed")
        return make_typed();
    if (way == "direct")
        return make_direct();
    if (way == "vectored")
        return make_vectored();
    if (way == "two-regions")
        return make_halves(2);
    if (way == "one-region")
        return make_halves(1);
    return make_calls();
}

int run(int argc, char** argv) {
    CLI::App app{"Does one work again and again, in this process, for a profiler."};
    std::string way = "typed";
    std::string name = kBank.name;
    double seconds = 5;
    app.add_option("--way", way,
                   "of access; one-region and two-regions are typed transfers between two halves")
        ->check(
            CLI::IsMember({"typed", "direct", "calls", "vectored", "one-region", "two-regions"}))
        ->capture_default_str();
    app.add_option("--work", name, "as in 'ci/bench ways'")->capture_default_str();
    app.add_option("--seconds", seconds, "how long")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    const Work& work = work_of(name);

    stm::simulated::Process process(1, stm::simulated::kRoot);
    const stm::simulated::As caller(process);
    const std::unique_ptr<Contestant> contestant = contestant_of(way);
    contestant->enter();
    Random random;
    unsigned long transactions = 0;
    const auto begin = std::chrono::steady_clock::now();
    std::chrono::duration<double> passed{};
    do {
        for (int i = 0; i < 100; ++i)
            contestant->run(work, random, 0);
        transactions += 100;
        passed = std::chrono::steady_clock::now() - begin;
    } while (passed.count() < seconds);
    Task all{};
    all.kind = Kind::sum_1024;
    const long sum = contestant->run(all);
    std::printf("%s, %s: %.0f ns for a transaction\n", work.name, way.c_str(),
                passed.count() * 1e9 / static_cast<double>(transactions));
    if (sum != kMoney)
        throw std::runtime_error("the money is " + std::to_string(sum));
    // The core stays as it is.
    std::fflush(stdout);
    std::_Exit(0);
}

} // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "native_bench: %s\n", error.what());
        return 1;
    }
}
