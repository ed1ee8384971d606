// SPDX-License-Identifier: GPL-2.0
#include "group.hpp"

#include "balance.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <new>
#include <sched.h>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace stm::bench {
namespace {

constexpr int kPatience = 60; // seconds, for one transaction on a machine that is busy

double now() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// Each has a processor of its own, as long as there are enough.
void stay_on_processor(std::size_t worker) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(worker % static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_ONLN)), &set);
    ::sched_setaffinity(0, sizeof(set), &set);
}

void wait_for(sem_t& semaphore) {
    while (::sem_wait(&semaphore) < 0 && errno == EINTR) {
    }
}

// It ends with its parent.
pid_t fork_child() {
    const pid_t child = ::fork();
    if (child < 0)
        throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0)
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

} // namespace

Group::Group(const Setup& setup) : setup_(setup) {
    void* const memory =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        throw std::system_error(errno, std::generic_category(), "mmap");
    shared_ = new (memory) Shared{};
    ::sem_init(&shared_->begun, 1, 0);
    ::sem_init(&shared_->done, 1, 0);
    for (Worker& worker : shared_->workers)
        ::sem_init(&worker.go, 1, 0);
    leader_ = fork_child();
    if (leader_ == 0)
        lead();
    for (std::size_t worker = 0; worker < setup_.workers; ++worker)
        wait_for_one(shared_->done);
}

Group::~Group() {
    if (leader_ > 0) {
        ::kill(leader_, SIGKILL);
        ::waitpid(leader_, nullptr, 0);
    }
    ::munmap(shared_, sizeof(Shared));
}

double Group::turn(unsigned milliseconds) {
    shared_->command = Command::work;
    shared_->stop = false;
    for (std::size_t worker = 0; worker < setup_.workers; ++worker)
        ::sem_post(&shared_->workers[worker].go);
    for (std::size_t worker = 0; worker < setup_.workers; ++worker)
        wait_for_one(shared_->begun);
    const timespec pause{milliseconds / 1000, milliseconds % 1000 * 1000000L};
    ::nanosleep(&pause, nullptr);
    shared_->stop = true;
    double rate = 0;
    for (std::size_t worker = 0; worker < setup_.workers; ++worker)
        wait_for_one(shared_->done);
    for (std::size_t worker = 0; worker < setup_.workers; ++worker)
        rate += static_cast<double>(shared_->workers[worker].transactions) /
                shared_->workers[worker].seconds;
    return rate;
}

void Group::check() {
    shared_->command = Command::check;
    ::sem_post(&shared_->workers[0].go);
    wait_for_one(shared_->done);
    // It removes what it has made.
    ::waitpid(leader_, nullptr, 0);
    leader_ = 0;
    if (setup_.sums == Setup::Sums::not_checked)
        return;
    long expected = first_total(setup_.work);
    for (const Worker& worker : shared_->workers)
        expected += worker.effect;
    if (shared_->total != expected)
        throw std::runtime_error(setup_.name + ", " + setup_.work.name + ": a total of " +
                                 std::to_string(shared_->total) + " instead of " +
                                 std::to_string(expected));
}

void Group::wait_for_one(sem_t& semaphore) {
    for (int seconds = 0; seconds < kPatience; ++seconds) {
        timespec until{};
        ::clock_gettime(CLOCK_REALTIME, &until);
        ++until.tv_sec;
        const bool done = ::sem_timedwait(&semaphore, &until) == 0;
        if (shared_->problem[0] != 0)
            throw std::runtime_error(setup_.name + ", " + setup_.work.name + ": " +
                                     shared_->problem);
        if (done)
            return;
        if (::waitpid(leader_, nullptr, WNOHANG) == leader_) {
            leader_ = 0;
            throw std::runtime_error(setup_.name + ", " + setup_.work.name +
                                     ": a worker has ended early");
        }
    }
    throw std::runtime_error(setup_.name + ", " + setup_.work.name + ": a worker hangs");
}

void Group::tell(const std::string& problem) {
    problem.copy(shared_->problem, sizeof(shared_->problem) - 1);
    ::sem_post(&shared_->done);
}

// The leader has made the contestant; it is the first worker.
void Group::lead() {
    try {
        const std::unique_ptr<Contestant> contestant = setup_.make();
        start_others(*contestant);
        contestant->enter();
        serve(*contestant, 0);
        if (setup_.sums == Setup::Sums::checked)
            shared_->total = total_of(*contestant, setup_.work);
        ::sem_post(&shared_->done);
    } catch (const std::exception& problem) {
        tell(problem.what());
    }
    // Others that are there end with this process.
    ::_exit(0);
}

void Group::start_others(Contestant& contestant) {
    for (std::size_t worker = 1; worker < setup_.workers; ++worker) {
        if (setup_.kind == Workers::threads) {
            std::thread([this, worker, &contestant] { serve(contestant, worker); }).detach();
        } else if (fork_child() == 0) {
            try {
                contestant.enter();
                serve(contestant, worker);
            } catch (const std::exception& problem) {
                tell(problem.what());
            }
            ::_exit(0);
        }
    }
}

void Group::serve(Contestant& contestant, std::size_t worker) {
    stay_on_processor(worker);
    Random random;
    random.state += worker * 0x9e3779b97f4a7c15ull;
    ::sem_post(&shared_->done);
    for (;;) {
        wait_for(shared_->workers[worker].go);
        if (shared_->command == Command::check)
            return;
        work(contestant, worker, random);
        ::sem_post(&shared_->done);
    }
}

void Group::work(Contestant& contestant, std::size_t worker, Random& random) {
    if (worker == 0)
        contestant.before_turn();
    ::sem_post(&shared_->begun);
    unsigned long transactions = 0;
    long effect = 0;
    const double begin = now();
    while (!shared_->stop.load(std::memory_order_relaxed)) {
        effect += effect_of(setup_.work, contestant.run(setup_.work, random, worker));
        ++transactions;
    }
    const double seconds = now() - begin;
    if (worker == 0)
        contestant.after_turn();
    Worker& own = shared_->workers[worker];
    own.transactions = transactions;
    own.seconds = seconds > 0 ? seconds : 1e-9;
    own.effect += effect;
}

} // namespace stm::bench
