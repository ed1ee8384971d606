// SPDX-License-Identifier: GPL-2.0
// What the tests of signals share: a program's handlers and what they saw.
#pragma once

#include "faults.hpp"
#include "transactions.hpp"

#include <csetjmp>
#include <pthread.h>
#include <sys/resource.h>
#include <vector>

namespace stm::test {

inline constexpr int kDoomSignal = SIGURG; // what the library uses

class Signals : public Transactions {};

// The watchdog would be there first.
class Faults : public Signals {
    Parameter no_watchdog_{"watchdog_ms", "0"};
};
class EachFault : public Faults, public ::testing::WithParamInterface<FaultKind> {};

// What a program's handler saw. Of the process, so that children have their own.
struct Seen {
    volatile int calls = 0;
    volatile int signal = 0;
    volatile int code = 0;
    void* volatile address = nullptr;
    void* volatile stack = nullptr;
    volatile unsigned depth = 77; // of the transaction
    sigset_t mask{};
};
inline Seen seen;
inline int seen_fd = -1;
inline sigjmp_buf after_handler;

inline void note(int signal, siginfo_t* info) {
    seen.calls = seen.calls + 1;
    seen.signal = signal;
    seen.code = info->si_code;
    seen.address = info->si_addr;
    seen.stack = __builtin_frame_address(0);
    struct stm_transaction now {};
    now.size = sizeof now;
    if (::ioctl(seen_fd, STM_IOC_TRANSACTION, &now) == 0)
        seen.depth = now.depth;
    pthread_sigmask(SIG_SETMASK, nullptr, &seen.mask);
}

inline void note_and_return(int signal, siginfo_t* info, void*) {
    note(signal, info);
}
inline void note_and_leave(int signal, siginfo_t* info, void*) {
    note(signal, info);
    siglongjmp(after_handler, 1);
}

inline void handle(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0,
                   int masked = 0) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigemptyset(&action.sa_mask);
    if (masked != 0)
        sigaddset(&action.sa_mask, masked);
    ASSERT_EQ(::sigaction(signal, &action, nullptr), 0);
}

// The library's handlers are installed by the first transaction of a process.
inline void first_transaction(int fd) {
    stm_start(fd);
    stm_cancel(fd);
}

/** In a process of its own, without the handlers that others have left. */
inline void in_child(const std::function<void()>& body) {
    EXPECT_EQ(Child::doing([&] {
                  for (const FaultKind& fault : kFaults)
                      ::signal(fault.signal, SIG_DFL);
                  body();
              }).wait(),
              0);
}

/** The raw wait status of a child that does this. */
inline int status_of(const std::function<void()>& action) {
    pid_t pid = ::fork();
    if (pid == 0) {
        struct rlimit unlimited {
            RLIM_INFINITY, RLIM_INFINITY
        };
        ::setrlimit(RLIMIT_CORE, &unlimited);
        for (const FaultKind& fault : kFaults)
            ::signal(fault.signal, SIG_DFL);
        action();
        ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return status;
}

class AlternateStack {
public:
    AlternateStack() {
        stack_t wanted{};
        wanted.ss_sp = memory_.data();
        wanted.ss_size = memory_.size();
        EXPECT_EQ(::sigaltstack(&wanted, nullptr), 0);
    }
    ~AlternateStack() {
        stack_t none{};
        none.ss_flags = SS_DISABLE;
        ::sigaltstack(&none, nullptr);
    }
    AlternateStack(const AlternateStack&) = delete;
    AlternateStack& operator=(const AlternateStack&) = delete;
    [[nodiscard]] bool contains(const void* address) const {
        const char* at = static_cast<const char*>(address);
        return at >= memory_.data() && at < memory_.data() + memory_.size();
    }
    [[nodiscard]] bool in_use() const {
        stack_t now{};
        ::sigaltstack(nullptr, &now);
        return (now.ss_flags & SS_ONSTACK) != 0;
    }

private:
    std::vector<char> memory_ = std::vector<char>(64 * 1024);
};

} // namespace stm::test
