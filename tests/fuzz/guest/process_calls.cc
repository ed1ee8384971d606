// SPDX-License-Identifier: GPL-2.0
// Processes: children, exec, signals, and the worker itself.
#include "worker.hpp"

#include "shared.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <random>
#include <string>
#include <thread>

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

namespace stm::fuzz {

// With everything that it has inherited, and its only thread, or several.
void Worker::be_child(Random& random) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(5);
    std::signal(SIGALRM, SIG_DFL);
    const int calls = static_cast<int>(random() % 60);
    const std::uint64_t kind = random() % 4;
    if (kind == 0) {
        // The first that maps it, if nobody has.
        Mapping& mapping = mappings_[0];
        void* const fresh =
            mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file(random), 0);
        if (fresh != MAP_FAILED) {
            mapping.address = static_cast<std::uint8_t*>(fresh);
            mapping.bytes = kPage;
            look(mapping.address, 8);
        }
    }
    const auto go_on = [this, calls](std::uint64_t seed) {
        Random own(seed);
        for (int i = 0; i < calls; ++i)
            call(static_cast<unsigned>(own() % 23), own);
    };
    if (kind == 1) {
        std::thread one(go_on, random());
        std::thread other(go_on, random());
        one.join();
        other.join();
    } else {
        go_on(random());
    }
    _exit(0);
}

// All but those that a load or store that may fault needs, until the next time.
long Worker::block_signals(Random& random) {
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    return pthread_sigmask(random() % 3 == 0 ? SIG_BLOCK : SIG_UNBLOCK, &all, nullptr);
}

// The other thread ends by that, wherever it is.
void Worker::become_new(std::uint64_t seed) {
    const std::string text = std::to_string(seed);
    execl("/proc/self/exe", "guest_fuzz", "--heir", text.c_str(), static_cast<char*>(nullptr));
    _exit(1);
}

long Worker::process_call(Random& random) {
    switch (random() % 24) {
    case 0:
    case 1:
    case 2:
        break;
    case 3:
    case 4:
        return block_signals(random);
    case 5:
        if (random() % 8 == 0)
            become_new(random());
        return 0;
    default:
        return sched_yield();
    }
    const pid_t child = fork();
    if (child == 0)
        be_child(random);
    if (child < 0)
        return -1;
    // Beside us, until it has ended or the alarm comes; a child that nobody waits for is init's.
    if (random() % 2 == 0)
        return 0;
    if (random() % 3 == 0) {
        const timespec moment{0, static_cast<long>(random() % 3'000'000)};
        nanosleep(&moment, nullptr);
        kill(child, SIGKILL);
    }
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return 0;
}

namespace {

constexpr int kCalls = 400;

void on_other(int) {
    shared->signals.fetch_add(1, std::memory_order_relaxed);
}

} // namespace

void be_worker(std::uint64_t seed, Program program) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::mt19937_64 random(seed);
    struct sigaction action {};
    action.sa_handler = on_fault;
    action.sa_flags = SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
    action.sa_handler = on_other;
    action.sa_flags = 0; // interrupts calls
    for (int signal = SIGUSR1; signal <= 64; ++signal) {
        if (signal != SIGCHLD && signal != SIGSTOP && signal != SIGTSTP && signal != SIGTERM &&
            signal != SIGSEGV)
            sigaction(signal, &action, nullptr);
    }
    // What waits too long is interrupted again and again.
    itimerval often{{0, 100'000}, {0, 100'000}};
    setitimer(ITIMER_REAL, &often, nullptr);
    if (program == Program::first && random() % 3 == 0 &&
        (setgid(65534) != 0 || setuid(65534) != 0))
        _exit(1);
    // Not on the stack: the threads are killed with it, not joined, when a signal ends them.
    static Worker* process = nullptr;
    process = new Worker(seed);
    if (program == Program::after_exec)
        process->adopt();
    process->run(static_cast<int>(50 + random() % kCalls));
    _exit(0);
}

pid_t start_worker(std::uint64_t seed) {
    const pid_t worker = fork();
    if (worker == 0)
        be_worker(seed, Program::first);
    return worker;
}

} // namespace stm::fuzz
