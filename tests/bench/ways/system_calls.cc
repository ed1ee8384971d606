// SPDX-License-Identifier: GPL-2.0
#include "system_calls.hpp"

#include <cerrno>
#include <csignal>
#include <stdexcept>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace stm::bench {
namespace {

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

constexpr int kTimes = 50;
// Until it is known which predictions pay.
constexpr int kTimesBefore = 600;

// Stops the child for its tracer, before and after what is counted.
void mark() {
    ::raise(SIGSTOP);
}

[[noreturn]] void be_counted(const Counted& counted) {
    const std::function<void()> function = counted();
    for (int i = 0; i < kTimesBefore; ++i)
        function();
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    mark();
    for (int i = 0; i < kTimes; ++i)
        function();
    mark();
    ::_exit(0);
}

// Lets the child go on to its next stop: the signal that it stops for.
int next_stop(pid_t child, int signal) {
    int status = 0;
    if (::ptrace(PTRACE_SYSCALL, child, nullptr, signal) < 0)
        fail("ptrace");
    if (::waitpid(child, &status, 0) != child)
        fail("waitpid");
    if (!WIFSTOPPED(status))
        throw std::runtime_error("the child that is counted has ended early");
    return WSTOPSIG(status);
}

// The entries into system calls, and the ways out of them, between the marks.
long stops_of(const Counted& counted) {
    const pid_t child = ::fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        be_counted(counted);
    int status = 0;
    if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
        throw std::runtime_error("the child that is counted has ended early");
    ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    long stops = 0;
    for (int signal = next_stop(child, 0); signal != SIGSTOP;) {
        const bool of_a_call = signal == (SIGTRAP | 0x80);
        stops += of_a_call ? 1 : 0;
        signal = next_stop(child, of_a_call ? 0 : signal);
    }
    ::ptrace(PTRACE_KILL, child, nullptr, 0);
    ::waitpid(child, &status, 0);
    return stops;
}

} // namespace

double system_calls_of(const Counted& counted) {
    static const long of_the_marks = stops_of([] { return [] {}; });
    return static_cast<double>(stops_of(counted) - of_the_marks) / 2 / kTimes;
}

} // namespace stm::bench
