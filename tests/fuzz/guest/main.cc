// SPDX-License-Identifier: GPL-2.0
// Random calls on /dev/stm by several processes, for a guest: whatever they do, the kernel stays
// well, and when they are gone the module's books are as they were.
#include "remains.hpp"
#include "shared.hpp"
#include "worker.hpp"

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include <sys/wait.h>

namespace {

std::uint64_t seconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec);
}

int usage(int status) {
    std::puts("usage: guest_fuzz [--seconds N] [--seed S] [--processes N] [--workers N]\n"
              "  random calls on /dev/stm by N processes at a time (default 4), for N seconds\n"
              "  (default 10) or until N workers have run; S is the seed of the first worker");
    return status;
}

} // namespace

using namespace stm::fuzz;

int main(int count, char** arguments) {
    if (count == 3 && std::strcmp(arguments[1], "--heir") == 0) {
        if (!map_shared())
            return 1;
        be_worker(std::strtoull(arguments[2], nullptr, 10), Program::after_exec);
    }
    std::uint64_t limit = 10;
    std::uint64_t seed = 1;
    std::uint64_t processes = 4;
    std::uint64_t workers = ~0ull;
    for (int i = 1; i < count; ++i) {
        const std::string option = arguments[i];
        if (option == "--help")
            return usage(0);
        if (i + 1 == count)
            return usage(2);
        char* end = nullptr;
        const std::uint64_t value = std::strtoull(arguments[++i], &end, 10);
        if (*end != 0 || end == arguments[i])
            return usage(2);
        if (option == "--seconds")
            limit = value;
        else if (option == "--seed")
            seed = value;
        else if (option == "--processes" && value != 0)
            processes = value;
        else if (option == "--workers")
            workers = value;
        else
            return usage(2);
    }
    if (!make_shared()) {
        std::perror("guest_fuzz: no memory to share");
        return 2;
    }
    const DeviceMode mode;
    make_nodes();
    std::mt19937_64 random(seed);
    struct Slot {
        pid_t pid = 0;
        std::uint64_t since = 0;
        bool killed = false;
    };
    std::vector<Slot> slots(processes);
    std::uint64_t started = 0;
    std::uint64_t killed = 0;
    const std::uint64_t began = seconds();
    std::uint64_t told = began;
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    bool running = true;
    while (running) {
        const bool over = seconds() - began >= limit || started >= workers;
        running = false;
        for (Slot& slot : slots) {
            int status = 0;
            if (slot.pid != 0 && waitpid(slot.pid, &status, WNOHANG) == slot.pid)
                slot.pid = 0;
            if (slot.pid == 0 && !over) {
                slot.pid = start_worker(seed + started++);
                slot.since = seconds();
                slot.killed = false;
            } else if (slot.pid != 0 &&
                       (random() % 400 == 0 || seconds() - slot.since > 20 || over)) {
                // Its time is over, or it has bad luck.
                kill(slot.pid, SIGKILL);
                killed += slot.killed ? 0 : 1;
                slot.killed = true;
            }
            running = running || slot.pid != 0;
        }
        if (seconds() - told >= 5) {
            told = seconds();
            std::printf("%llu s: %llu calls, workers with the seeds %llu to %llu\n",
                        static_cast<unsigned long long>(told - began),
                        static_cast<unsigned long long>(shared->calls),
                        static_cast<unsigned long long>(seed),
                        static_cast<unsigned long long>(seed + started));
            std::fflush(stdout);
        }
        const timespec moment{0, 10'000'000};
        nanosleep(&moment, nullptr);
    }
    // Children of killed workers are killed with them, and take a moment to go.
    constexpr int kAttempts = 300;
    bool good = false;
    for (int attempt = 0; attempt < kAttempts && !good; ++attempt) {
        if (attempt != 0) {
            const timespec moment{0, 200'000'000};
            nanosleep(&moment, nullptr);
        }
        good = clean_up(attempt == kAttempts - 1 ? Tell::why : Tell::nothing);
    }
    remove_nodes();
    std::printf("%llu workers, %llu of them killed; %llu calls, %llu of them succeeded; %llu "
                "signals\n",
                static_cast<unsigned long long>(started), static_cast<unsigned long long>(killed),
                static_cast<unsigned long long>(shared->calls),
                static_cast<unsigned long long>(shared->succeeded),
                static_cast<unsigned long long>(shared->signals));
    std::printf("successes by kind:");
    for (unsigned kind = 0; kind < 24; ++kind)
        std::printf(" %llu", static_cast<unsigned long long>(shared->kinds[kind]));
    std::printf("\n%s\n", good ? "1 passed, 0 failed" : "0 passed, 1 failed");
    return good ? 0 : 1;
}
