// SPDX-License-Identifier: GPL-2.0
// The signal masks of the program. A thread that blocks everything, as workers do that leave
// signals to another thread, restarts as any other.
#include "signals.hpp"

#include <atomic>
#include <functional>
#include <sys/syscall.h>
#include <thread>

// Some of the functions are there for old programs only.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

using namespace stm::test;

namespace {

class Masks : public Signals {
protected:
    // What is predicted needs no load that could be doomed.
    static void SetUpTestSuite() { ::setenv("STM_PREDICT", "0", 1); }

    Mapping memory_{fd(), 8 * kPage};
    volatile long& word(std::size_t page) { return *memory_.at<volatile long>(page * kPage); }

    /** A transaction that is doomed between two loads: begins again, and then commits. */
    void doomed_load(const std::function<void()>& inside = [] {}) {
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            long first = word(0);
            if (attempts == 1) {
                inside();
                change_elsewhere();
            }
            EXPECT_EQ(word(1), first) << "one state";
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
    }

    void change_elsewhere() {
        elsewhere([&] {
            Fd other = another();
            volatile int attempts = 0;
            do {
                stm_start(other.get());
                attempts = attempts + 1;
                put(other.get(), get(other.get()) + 1);
                put(other.get(), get(other.get(), kPage) + 1, kPage);
            } while (stm_commit(other.get()) != 0);
        });
    }

    Parameter no_watchdog_{"watchdog_ms", "0"};
};

sigset_t all_signals() {
    sigset_t all;
    sigfillset(&all);
    return all;
}

/** What the kernel says, whatever functions the program calls. */
std::uint64_t kernels_mask() {
    std::uint64_t mask = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sizeof mask);
    return mask;
}
bool is_blocked(int signal) {
    return (kernels_mask() >> (signal - 1) & 1) != 0;
}

constexpr int kOurs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGURG};

// Each way to block, from a list.
struct Way {
    const char* name;
    void (*block)();
    void (*restore)();
};
sigset_t before_block;

const Way kWays[] = {
    {"pthread_sigmask",
     [] {
         const sigset_t all = all_signals();
         pthread_sigmask(SIG_BLOCK, &all, &before_block);
     },
     [] { pthread_sigmask(SIG_SETMASK, &before_block, nullptr); }},
    {"sigprocmask",
     [] {
         const sigset_t all = all_signals();
         ::sigprocmask(SIG_SETMASK, &all, &before_block);
     },
     [] { ::sigprocmask(SIG_SETMASK, &before_block, nullptr); }},
    {"sighold",
     [] {
         for (int signal : kOurs)
             ::sighold(signal);
     },
     [] {
         for (int signal : kOurs)
             ::sigrelse(signal);
     }},
    {"sigset",
     [] {
         for (int signal : kOurs)
             ::sigset(signal, SIG_HOLD);
     },
     [] {
         for (int signal : kOurs)
             ::sigrelse(signal);
     }},
};

TEST_F(Masks, WhateverIsBlockedBeforeTheFirstStartOfAThread) {
    in_child([&] {
        for (const Way& way : kWays) {
            SCOPED_TRACE(way.name);
            std::thread([&] {
                way.block();
                doomed_load();
                for (int signal : kOurs)
                    EXPECT_FALSE(is_blocked(signal)) << signal;
                doomed_load();
            }).join();
        }
    });
}

TEST_F(Masks, WhateverIsBlockedBetweenTransactions) {
    in_child([&] {
        for (const Way& way : kWays) {
            SCOPED_TRACE(way.name);
            for (int round = 0; round < 3; ++round) {
                doomed_load();
                way.block();
                doomed_load();
                way.restore();
            }
        }
    });
}

TEST_F(Masks, WhateverIsBlockedInsideATransaction) {
    in_child([&] {
        handle(SIGUSR2, note_and_return);
        doomed_load();
        for (const Way& way : kWays) {
            SCOPED_TRACE(way.name);
            doomed_load(way.block);
            // And a restart that is not from a load.
            volatile int attempts = 0;
            do {
                stm_start(fd());
                attempts = attempts + 1;
                if (attempts == 1) {
                    EXPECT_FALSE(is_blocked(SIGUSR2));
                    way.block();
                    stm_retry(fd());
                }
                EXPECT_FALSE(is_blocked(SIGUSR2)) << "the mask is that of the start again";
                EXPECT_FALSE(is_blocked(SIGURG));
            } while (stm_commit(fd()) != 0);
            way.block();
            way.restore();
        }
    });
}

TEST_F(Masks, WhoBlocksEverythingAroundEachTransaction) {
    in_child([&] {
        for (int round = 0; round < 5; ++round) {
            sigset_t before;
            const sigset_t all = all_signals();
            pthread_sigmask(SIG_BLOCK, &all, &before);
            doomed_load();
            EXPECT_TRUE(is_blocked(SIGTERM));
            pthread_sigmask(SIG_SETMASK, &before, nullptr);
            EXPECT_FALSE(is_blocked(SIGTERM));
        }
    });
}

// Its threads block everything.
std::function<void()> on_timer;
std::atomic<bool> timer_done;

TEST_F(Masks, ATimerThatCallsInAThread) {
    in_child([&] {
        on_timer = [&] { doomed_load(); };
        struct sigevent event {};
        event.sigev_notify = SIGEV_THREAD;
        event.sigev_notify_function = [](union sigval) {
            on_timer();
            timer_done = true;
        };
        timer_t timer;
        ASSERT_EQ(::timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
        struct itimerspec soon {
            {0, 0}, { 0, 1'000'000 }
        };
        ASSERT_EQ(::timer_settime(timer, 0, &soon, nullptr), 0);
        EXPECT_TRUE(eventually([] { return timer_done.load(); }));
        ::timer_delete(timer);
    });
}

TEST_F(Masks, FaultsRestartAlsoWhereTheyAreBlockedInside) {
    in_child([&] {
        for (const FaultKind& fault : kFaults) {
            SCOPED_TRACE(fault.name);
            volatile int attempts = 0;
            do {
                stm_start(fd());
                attempts = attempts + 1;
                long value = get(fd());
                if (attempts == 1) {
                    const sigset_t all = all_signals();
                    pthread_sigmask(SIG_BLOCK, &all, nullptr);
                    elsewhere([&] { put(fd(), value + 1); });
                    fault.make();
                }
            } while (stm_commit(fd()) != 0);
            EXPECT_EQ(attempts, 2);
            EXPECT_FALSE(is_blocked(SIGTERM));
        }
    });
}

TEST_F(Masks, ABlockedDoomSignalIsUnblockedByEachStart) {
    in_child([&] {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        first_transaction(fd());
        sigset_t now;
        pthread_sigmask(SIG_BLOCK, nullptr, &now);
        for (int signal : kOurs)
            EXPECT_EQ(sigismember(&now, signal), 0);
        EXPECT_EQ(sigismember(&now, SIGTERM), 1);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);

        // Blocked inside of a transaction, it cannot restart: the calls fail and so does the
        // commit.
        stm_start(fd());
        pthread_sigmask(SIG_BLOCK, nullptr, &now);
        EXPECT_EQ(sigismember(&now, kDoomSignal), 0);
        sigaddset(&now, kDoomSignal);
        pthread_sigmask(SIG_BLOCK, &now, nullptr);
        get(fd());
        elsewhere([&] {
            stm_start(fd());
            put(fd(), 1L);
            put(fd(), 1L, kStripe);
            stm_commit(fd());
        });
        char byte = 0;
        EXPECT_EQ(::pread(fd(), &byte, 1, kStripe), -1);
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(::pwrite(fd(), &byte, 1, kStripe), -1);
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(stm_commit(fd()), 1);
        EXPECT_EQ(errno, EAGAIN);
        EXPECT_EQ(get(fd()), 1);
        // What is still pending is of no consequence.
        pthread_sigmask(SIG_UNBLOCK, &all, nullptr);
        stm_start(fd());
        EXPECT_EQ(stm_commit(fd()), 0);
    });
}

// -- Handlers that are left by longjmp --

jmp_buf plain_way_out;

void leave_plainly(int, siginfo_t*, void*) {
    seen.calls = seen.calls + 1;
    longjmp(plain_way_out, 1); // does not restore the mask
}

TEST_F(Masks, AHandlerThatIsLeftByLongjmpLeavesNothingBlocked) {
    in_child([&] {
        first_transaction(fd());
        for (int signal : {SIGUSR1, SIGALRM, SIGSEGV, SIGFPE, SIGURG}) {
            SCOPED_TRACE(signal);
            handle(signal, leave_plainly, SA_NODEFER);
            const std::uint64_t before = kernels_mask();
            if (setjmp(plain_way_out) == 0)
                ::raise(signal);
            EXPECT_EQ(kernels_mask(), before);
            doomed_load();
            // And out of a transaction, which the program has to cancel.
            if (setjmp(plain_way_out) == 0) {
                stm_start(fd());
                volatile long first = word(0);
                EXPECT_GE(first, 0);
                ::raise(signal);
            }
            stm_cancel(fd());
            EXPECT_EQ(kernels_mask(), before);
            doomed_load();
        }
        EXPECT_EQ(seen.calls, 10);
    });
}

// The stack is deeper afterwards than where the handler was.
[[gnu::noinline]] void deeper(const std::function<void()>& what) {
    volatile char space[64 * 1024];
    for (volatile char& byte : space)
        byte = 1;
    what();
    space[1] = space[0];
}

TEST_F(Masks, AHandlerThatIsLeftIsOverForWhatIsCalledLater) {
    in_child([&] {
        AlternateStack stack;
        first_transaction(fd());
        for (int flags : {SA_NODEFER, SA_NODEFER | SA_ONSTACK}) {
            handle(SIGUSR1, leave_plainly, flags);
            if (setjmp(plain_way_out) == 0)
                ::raise(SIGUSR1);
            deeper([&] { doomed_load(); });
            // Left within a transaction, which goes on.
            volatile int attempts = 0;
            do {
                stm_start(fd());
                attempts = attempts + 1;
                long first = word(0);
                if (attempts == 1) {
                    if (setjmp(plain_way_out) == 0)
                        ::raise(SIGUSR1);
                    change_elsewhere();
                }
                deeper([&] { EXPECT_EQ(word(1), first); });
            } while (stm_commit(fd()) != 0);
            EXPECT_EQ(attempts, 2);
        }
    });
}

TEST_F(Masks, AHandlerThatUnblocksItsSignalAndIsLeft) {
    in_child([&] {
        first_transaction(fd());
        struct sigaction action {};
        action.sa_handler = [](int signal) {
            ::sigrelse(signal);
            longjmp(plain_way_out, 1);
        };
        sigemptyset(&action.sa_mask);
        ASSERT_EQ(::sigaction(SIGALRM, &action, nullptr), 0);
        const std::uint64_t before = kernels_mask();
        if (setjmp(plain_way_out) == 0)
            ::raise(SIGALRM);
        EXPECT_EQ(kernels_mask(), before);
        doomed_load();
    });
}

// A full mask is usual. The thread dies of no fault afterwards.
TEST_F(Masks, AHandlerWithAFullMaskThatIsLeft) {
    in_child([&] {
        first_transaction(fd());
        struct sigaction action {};
        action.sa_handler = [](int) { longjmp(plain_way_out, 1); };
        sigfillset(&action.sa_mask);
        ASSERT_EQ(::sigaction(SIGALRM, &action, nullptr), 0);
        if (setjmp(plain_way_out) == 0)
            ::raise(SIGALRM);
        EXPECT_TRUE(is_blocked(SIGTERM)) << "as without this library";
        doomed_load();
        EXPECT_TRUE(is_blocked(SIGTERM));
    });
}

} // namespace
