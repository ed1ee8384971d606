// SPDX-License-Identifier: GPL-2.0
// The handlers of the program: called with its flags, told as it installed them, and not left half
// done by a restart.
#include "signals.hpp"

#include <sys/syscall.h>
#include <sys/time.h>

using namespace stm::test;

namespace {

INSTANTIATE_TEST_SUITE_P(All, EachFault, ::testing::ValuesIn(kFaults),
                         [](const auto& fault) { return fault.param.name; });

// -- The program's flags --

TEST_P(EachFault, TheMaskIsTheHandlersOwn) {
    in_child([&] {
        first_transaction(fd());
        handle(GetParam().signal, note_and_leave, 0, SIGUSR1);
        if (sigsetjmp(after_handler, 1) == 0) {
            stm_start(fd());
            GetParam().make();
        }
        EXPECT_EQ(sigismember(&seen.mask, SIGUSR1), 1);
        EXPECT_EQ(sigismember(&seen.mask, SIGUSR2), 0);
        EXPECT_EQ(sigismember(&seen.mask, GetParam().signal), 1);
        EXPECT_EQ(sigismember(&seen.mask, kDoomSignal), 0);
        handle(GetParam().signal, note_and_leave, SA_NODEFER);
        if (sigsetjmp(after_handler, 1) == 0)
            GetParam().make();
        EXPECT_EQ(sigismember(&seen.mask, SIGUSR1), 0);
        EXPECT_EQ(sigismember(&seen.mask, GetParam().signal), 0);
    });
}

TEST_P(EachFault, ResetHandIsOnceOnly) {
    int status = status_of([&] {
        first_transaction(fd());
        handle(GetParam().signal, note_and_leave, static_cast<int>(SA_RESETHAND));
        if (sigsetjmp(after_handler, 1) == 0)
            GetParam().make();
        struct sigaction now {};
        ::sigaction(GetParam().signal, nullptr, &now);
        if (seen.calls != 1 || now.sa_handler != SIG_DFL)
            ::_exit(1);
        // A restart still works, and then the default.
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            if (get(fd()) == 0) {
                elsewhere([&] { put(fd(), 1L); });
                GetParam().make();
            }
        } while (stm_commit(fd()) != 0);
        GetParam().make();
    });
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), GetParam().signal);
}

TEST_P(EachFault, OnStackIsRespected) {
    in_child([&] {
        AlternateStack stack;
        first_transaction(fd());
        handle(GetParam().signal, note_and_leave, SA_ONSTACK);
        if (sigsetjmp(after_handler, 1) == 0) {
            stm_start(fd());
            GetParam().make();
        }
        EXPECT_TRUE(stack.contains(seen.stack));
        handle(GetParam().signal, note_and_leave);
        if (sigsetjmp(after_handler, 1) == 0) {
            stm_start(fd());
            GetParam().make();
        }
        EXPECT_FALSE(stack.contains(seen.stack));
        EXPECT_EQ(seen.calls, 2);
    });
}

TEST_P(EachFault, RestartsFromTheAlternateStack) {
    in_child([&] {
        AlternateStack stack;
        handle(GetParam().signal, note_and_return, SA_ONSTACK);
        for (int round = 0; round < 3; ++round) {
            volatile int attempts = 0;
            do {
                stm_start(fd());
                attempts = attempts + 1;
                long value = get(fd());
                EXPECT_FALSE(stack.in_use());
                if (attempts == 1) {
                    elsewhere([&] { put(fd(), value + 1); });
                    GetParam().make();
                }
            } while (stm_commit(fd()) != 0);
            EXPECT_EQ(attempts, 2);
        }
        EXPECT_EQ(seen.calls, 0);
    });
}

// -- sigaction and signal --

TEST_P(EachFault, TheProgramIsToldItsOwnAction) {
    in_child([&] {
        handle(GetParam().signal, note_and_leave, SA_NODEFER, SIGUSR2);
        first_transaction(fd());
        struct sigaction told {};
        ASSERT_EQ(::sigaction(GetParam().signal, nullptr, &told), 0);
        EXPECT_EQ(told.sa_sigaction, note_and_leave);
        EXPECT_EQ(told.sa_flags & (SA_SIGINFO | SA_NODEFER | SA_ONSTACK), SA_SIGINFO | SA_NODEFER);
        EXPECT_EQ(sigismember(&told.sa_mask, SIGUSR2), 1);
        EXPECT_EQ(reinterpret_cast<void*>(::signal(GetParam().signal, SIG_IGN)),
                  reinterpret_cast<void*>(note_and_leave));
        EXPECT_EQ(::signal(GetParam().signal, SIG_DFL), SIG_IGN);
        EXPECT_EQ(::signal(GetParam().signal, SIG_DFL), SIG_DFL);
    });
}

// Both signals may be there at once, and then the restart must not take the place of the handler.
TEST_F(Signals, OtherHandlersRunBesideRestarts) {
    Child rival([&] {
        for (;;) {
            put(fd(), get(fd(), kStripe) + 1, kStripe);
            ::usleep(300);
        }
        return 0;
    });
    in_child([&] {
        handle(SIGALRM, note_and_return); // without SA_RESTART
        first_transaction(fd());
        handle(SIGVTALRM, note_and_return, 0, kDoomSignal);
        struct itimerval often {
            {0, 500}, { 0, 500 }
        };
        ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
        double end = seconds() + 2;
        long done = 0;
        while (seconds() < end) {
            do {
                stm_start(fd());
                put(fd(), get(fd()) + 1);
                for (volatile int spin = 0; spin < 20000;)
                    spin = spin + 1;
                put(fd(), get(fd(), kStripe), 2 * kStripe);
            } while (stm_commit(fd()) != 0);
            ++done;
        }
        sigset_t now;
        pthread_sigmask(SIG_SETMASK, nullptr, &now);
        EXPECT_EQ(sigismember(&now, SIGALRM), 0);
        int before = seen.calls;
        EXPECT_TRUE(eventually([&] { return seen.calls > before + 5; }));
        struct itimerval off {};
        ::setitimer(ITIMER_REAL, &off, nullptr);
        EXPECT_EQ(get(fd()), done);
        // The mask that the program asked for is what it is told.
        struct sigaction told {};
        ASSERT_EQ(::sigaction(SIGALRM, nullptr, &told), 0);
        EXPECT_EQ(sigismember(&told.sa_mask, kDoomSignal), 0);
        EXPECT_EQ(told.sa_sigaction, note_and_return);
        ASSERT_EQ(::sigaction(SIGVTALRM, nullptr, &told), 0);
        EXPECT_EQ(sigismember(&told.sa_mask, kDoomSignal), 1);
    });
}

void wait_for_doom(int, siginfo_t*, void*) {
    seen.calls = seen.calls + 1;
    for (volatile long spin = 0; spin < 100'000'000;)
        spin = spin + 1;
    seen.calls = seen.calls + 1;
}

TEST_F(Signals, ARestartWaitsForAHandlerOfTheProgram) {
    in_child([&] {
        handle(SIGUSR1, wait_for_doom);
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            volatile long value = get(fd());
            if (attempts == 1) {
                stm_defer_restarts();
                elsewhere([&] { put(fd(), 1L); });
                ::raise(SIGUSR1);
                EXPECT_EQ(seen.calls, 2);
                stm_allow_restarts();
                ADD_FAILURE() << "it was due";
            }
            EXPECT_EQ(value, 1);
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
        do {
            stm_start(fd());
            attempts = attempts + 1;
            volatile long value = get(fd());
            if (value == 1) {
                pid_t self = ::getpid();
                elsewhere([&] {
                    put(fd(), 2L);
                    ::kill(self, SIGUSR1);
                });
            }
            while (value == 1)
                continue;
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 4);
        EXPECT_TRUE(eventually([] { return seen.calls % 2 == 0; }));
    });
}

// -- Children that share the memory --

void resets_everything_as_shells_do() {
    struct sigaction told {};
    struct sigaction reset {};
    reset.sa_handler = SIG_DFL;
    for (int signal = 1; signal < 32; ++signal)
        ::sigaction(signal, &reset, &told);
    // What it is told is as if it were alone.
    if (::sigaction(SIGSEGV, nullptr, &told) != 0 || told.sa_handler != SIG_DFL)
        ::_exit(1);
    ::signal(SIGUSR1, SIG_IGN);
    if (::sigaction(SIGUSR1, nullptr, &told) != 0 || told.sa_handler != SIG_IGN)
        ::_exit(2);
}

TEST_F(Signals, AChildOfVforkLeavesTheParentsHandlersAlone) {
    in_child([&] {
        for (int signal : {SIGSEGV, SIGBUS, SIGURG, SIGUSR1, SIGALRM})
            handle(signal, note_and_return, SA_RESTART, SIGUSR2);
        first_transaction(fd());
        pid_t child = ::vfork();
        if (child == 0) {
            struct sigaction told {};
            if (::sigaction(SIGSEGV, nullptr, &told) != 0 || told.sa_sigaction != note_and_return ||
                sigismember(&told.sa_mask, SIGURG) == 1)
                ::_exit(3);
            if (::sigaction(SIGUSR1, nullptr, &told) != 0 || told.sa_sigaction != note_and_return)
                ::_exit(4);
            resets_everything_as_shells_do();
            ::execl("/bin/true", "true", nullptr);
            ::_exit(127);
        }
        int status = -1;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
        for (int signal : {SIGSEGV, SIGBUS, SIGURG, SIGUSR1, SIGALRM}) {
            struct sigaction told {};
            ASSERT_EQ(::sigaction(signal, nullptr, &told), 0);
            EXPECT_EQ(told.sa_sigaction, note_and_return) << signal;
            EXPECT_EQ(sigismember(&told.sa_mask, SIGUSR2), 1);
            const int before = seen.calls;
            ::raise(signal);
            EXPECT_EQ(seen.calls, before + 1);
            EXPECT_EQ(seen.signal, signal);
        }
    });
}

TEST_F(Signals, AChildOfVforkCanHandleSignalsItself) {
    in_child([&] {
        first_transaction(fd());
        pid_t child = ::vfork();
        if (child == 0) {
            handle(SIGSEGV, [](int, siginfo_t*, void*) { ::_exit(77); });
            fault_segv();
            ::_exit(1);
        }
        int status = -1;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(WEXITSTATUS(status), 77);
        EXPECT_EQ(signal_of([] { fault_segv(); }), SIGSEGV);
    });
}

TEST_F(Signals, AChildWithACopyOfTheMemoryHasWishesOfItsOwn) {
    in_child([&] {
        handle(SIGSEGV, note_and_leave);
        first_transaction(fd());
        // Past the functions that fork calls in the child.
        pid_t child =
            static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0));
        if (child == 0) {
            handle(SIGFPE, note_and_leave);
            struct sigaction told {};
            ::sigaction(SIGFPE, nullptr, &told);
            if (told.sa_sigaction != note_and_leave)
                ::_exit(1);
            if (sigsetjmp(after_handler, 1) == 0)
                fault_fpe();
            // The library's handler is still in its place.
            volatile int attempts = 0;
            do {
                stm_start(fd());
                attempts = attempts + 1;
                if (get(fd()) == 0) {
                    elsewhere([&] { put(fd(), 1L); });
                    fault_fpe();
                }
            } while (stm_commit(fd()) != 0);
            ::_exit(seen.calls == 1 && attempts == 2 ? 0 : 2);
        }
        int status = -1;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
        struct sigaction told {};
        ::sigaction(SIGFPE, nullptr, &told);
        EXPECT_EQ(told.sa_handler, SIG_DFL);
    });
}

} // namespace
