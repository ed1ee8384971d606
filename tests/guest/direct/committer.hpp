// SPDX-License-Identifier: GPL-2.0
// A process that is stopped at any instruction of a commit to a direct region.
#pragma once

#include "typed.hpp"

#include <csignal>
#include <cstdio>
#include <ctime>
#include <map>
#include <sys/ptrace.h>
#include <sys/user.h>

namespace stm::test {

inline double now() {
    struct timespec time {};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// A child that calls prepare(), then body(tx) again and again until it is committed. It is stopped
// where it begins the first commit of that, and again when all is over.
class Committer {
public:
    using Body = std::function<void(stm_tx* tx)>;
    using Commit = std::function<int(stm_tx* tx)>;
    Committer(stm_region* region, const Body& prepare, const Body& body,
              const Commit& commit = stm_tx_commit) {
        std::fflush(stdout);
        child_ = ::fork();
        if (child_ == 0)
            run(region, prepare, body, commit);
        int status = 0;
        if (::waitpid(child_, &status, 0) != child_ || !WIFSTOPPED(status))
            ADD_FAILURE() << "the child has not come to its commit: " << status;
    }
    Committer(const Committer&) = delete;
    Committer& operator=(const Committer&) = delete;
    ~Committer() {
        int status = 0;
        ::kill(child_, SIGKILL);
        ::waitpid(child_, &status, 0);
    }

    /** Executes one instruction. False: the commit has ended. */
    bool step() { return go(PTRACE_SINGLESTEP); }
    /** Goes on until it comes to that address for the n-th time. False: it does not. */
    bool run_to(unsigned long address, unsigned times) {
        if (this->address() == address && --times == 0)
            return true;
        const unsigned long word = peek(address);
        for (;;) {
            poke(address, (word & ~0xfful) | 0xcc);
            const bool hit = go(PTRACE_CONT);
            poke(address, word);
            if (!hit)
                return false;
            user_regs_struct registers{};
            ::ptrace(PTRACE_GETREGS, child_, nullptr, &registers);
            registers.rip = address;
            ::ptrace(PTRACE_SETREGS, child_, nullptr, &registers);
            if (--times == 0)
                return true;
            if (!step())
                return false;
        }
    }
    [[nodiscard]] unsigned long address() const {
        user_regs_struct registers{};
        ::ptrace(PTRACE_GETREGS, child_, nullptr, &registers);
        return registers.rip;
    }

    /** Goes on, first with that signal if it is not 0. */
    void let_go(int signal) { ::ptrace(PTRACE_CONT, child_, nullptr, signal); }
    /** The same, until it stops. False: it has ended. */
    bool go_on(int signal) {
        int status = 0;
        let_go(signal);
        return ::waitpid(child_, &status, 0) == child_ && WIFSTOPPED(status);
    }
    /** The same, to its end. Its exit status, or 1000 and a signal that it got. */
    int finish(int signal = 0) {
        let_go(signal);
        return end();
    }
    int end() {
        int status = 0;
        ::waitpid(child_, &status, 0);
        if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP) {
            ::ptrace(PTRACE_CONT, child_, nullptr, 0);
            ::waitpid(child_, &status, 0);
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WSTOPSIG(status);
    }

private:
    [[noreturn]] static void run(stm_region* region, const Body& prepare, const Body& body,
                                 const Commit& commit) {
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        // The first commit gets the journal, and touches the pages.
        if (!atomically(region, 0, prepare))
            ::_exit(1);
        stm_tx* const tx = stm_tx_begin(region, 0);
        body(tx);
        ::raise(SIGSTOP);
        int result = commit(tx);
        while (result > 0) {
            body(tx);
            result = commit(tx);
        }
        ::raise(SIGSTOP);
        ::_exit(result == 0 ? 0 : 1);
    }
    bool go(__ptrace_request request) const {
        int status = 0;
        if (::ptrace(request, child_, nullptr, 0) != 0 || ::waitpid(child_, &status, 0) != child_) {
            ADD_FAILURE() << "the child does not go on";
            return false;
        }
        const bool trapped = WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
        EXPECT_TRUE(trapped || (WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP)) << status;
        return trapped;
    }
    [[nodiscard]] unsigned long peek(unsigned long address) const {
        return static_cast<unsigned long>(::ptrace(PTRACE_PEEKTEXT, child_, address, 0));
    }
    void poke(unsigned long address, unsigned long word) const {
        ::ptrace(PTRACE_POKETEXT, child_, address, word);
    }

    pid_t child_;
};

// Where a commit is, instruction by instruction, and for the how many-th time.
struct Moment {
    unsigned long address;
    unsigned times;
};
inline std::vector<Moment> moments_of(Committer& committer) {
    std::vector<Moment> moments;
    std::map<unsigned long, unsigned> times;
    do {
        const unsigned long address = committer.address();
        moments.push_back({address, ++times[address]});
    } while (committer.step());
    return moments;
}

} // namespace stm::test
