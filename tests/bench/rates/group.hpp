// SPDX-License-Identifier: GPL-2.0
// Workers that do one work in one way of access, when they are told to. Several groups take turns,
// so that what else the machine does disturbs all of them alike.
#pragma once

#include "../ways/way.hpp"

#include <atomic>
#include <functional>
#include <semaphore.h>
#include <string>
#include <sys/types.h>

namespace stm::bench {

struct Setup {
    std::string name;
    std::function<std::unique_ptr<Contestant>()> make;
    Work work;
    std::size_t workers = 1;
    Workers kind = Workers::processes;
    enum class Sums { checked, not_checked } sums = Sums::checked;
};

class Group {
public:
    // Returns when all of them are ready. Throws if one cannot do its work.
    explicit Group(const Setup& setup);
    ~Group();
    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

    // Lets them work for so long: how many transactions all of them have made in a second.
    double turn(unsigned milliseconds);
    // Throws if what they did does not add up. Not used after that.
    void check();

private:
    enum class Command { work, check };
    struct Worker {
        sem_t go;
        unsigned long transactions;
        double seconds;
        long effect; // of all turns
    };
    // In memory that all of them share.
    struct Shared {
        Command command;
        std::atomic<bool> stop;
        sem_t begun;
        sem_t done;
        char problem[200];
        long total;
        Worker workers[kMostWorkers];
    };

    [[noreturn]] void lead();
    void start_others(Contestant& contestant);
    void serve(Contestant& contestant, std::size_t worker);
    void work(Contestant& contestant, std::size_t worker, Random& random);
    void tell(const std::string& problem);
    void wait_for_one(sem_t& semaphore);

    Setup setup_;
    Shared* shared_;
    pid_t leader_;
};

} // namespace stm::bench
