// SPDX-License-Identifier: GPL-2.0
// Runs an application in a way: Way is made for the memory of one run, and Way::Worker for each of
// its workers.
#pragma once

#include "application.hpp"
#include "genome.hpp"
#include "intruder.hpp"
#include "kmeans.hpp"
#include "labyrinth.hpp"
#include "vacation.hpp"

#include <cstdio>
#include <cstdlib>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace stm::stamp {

/** A barrier for threads or processes. */
class Barrier {
public:
    explicit Barrier(unsigned workers) {
        barrier_ = static_cast<pthread_barrier_t*>(::mmap(
            nullptr, sizeof *barrier_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        pthread_barrierattr_t attributes;
        pthread_barrierattr_init(&attributes);
        pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        if (barrier_ == MAP_FAILED || pthread_barrier_init(barrier_, &attributes, workers) != 0)
            std::abort();
    }
    ~Barrier() { ::munmap(barrier_, sizeof *barrier_); }
    Barrier(const Barrier&) = delete;
    Barrier& operator=(const Barrier&) = delete;

    void wait() { pthread_barrier_wait(barrier_); }

private:
    pthread_barrier_t* barrier_;
};

template <typename Way, typename Application>
Outcome run_application(unsigned size, unsigned workers) {
    const Application application(size);
    Barrier barrier(workers), start(workers + 1), end(workers + 1);
    Way memory(memory_bytes<Application>);
    typename Way::Worker first(memory, barrier);
    auto& shared = first.template root<typename Application::Shared>();
    share_out<Application>(first, shared);
    application.fill(first, shared);
    const auto work = [&](unsigned worker) {
        typename Way::Worker mine(memory, barrier);
        start.wait();
        application.work(mine, mine.template root<typename Application::Shared>(), worker, workers);
        end.wait();
    };
    std::vector<std::thread> threads;
    std::vector<pid_t> children;
    for (unsigned worker = 0; worker < workers; ++worker) {
        if constexpr (Way::kWorkers == Workers::threads) {
            threads.emplace_back(work, worker);
        } else {
            const pid_t child = ::fork();
            if (child == 0) {
                work(worker);
                ::_exit(0);
            }
            children.push_back(child);
        }
    }
    start.wait();
    const auto began = std::chrono::steady_clock::now();
    end.wait();
    const double seconds = seconds_since(began);
    for (std::thread& thread : threads)
        thread.join();
    bool good = true;
    for (const pid_t child : children) {
        int status = 0;
        ::waitpid(child, &status, 0);
        good = good && status == 0;
    }
    return {seconds, good ? application.result(first, shared) : 0};
}

template <typename Way>
Outcome run(const std::string& application, unsigned size, unsigned workers) {
    if (application == Vacation::kName)
        return run_application<Way, Vacation>(size, workers);
    if (application == Intruder::kName)
        return run_application<Way, Intruder>(size, workers);
    if (application == Genome::kName)
        return run_application<Way, Genome>(size, workers);
    if (application == Kmeans::kName)
        return run_application<Way, Kmeans>(size, workers);
    if (application == Labyrinth::kName)
        return run_application<Way, Labyrinth>(size, workers);
    std::fprintf(stderr, "stamp: there is no application %s\n", application.c_str());
    std::exit(2);
}

} // namespace stm::stamp
