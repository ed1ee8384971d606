// SPDX-License-Identifier: GPL-2.0
// Faults and signals: of doomed transactions, which begin again, and of the program, which is
// treated as if the library were not there.
#include "faults.hpp"
#include "transactions.hpp"

#include <atomic>
#include <csetjmp>
#include <elf.h>
#include <fstream>
#include <iterator>
#include <pthread.h>
#include <sys/procfs.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr int kDoomSignal = SIGURG; // what the library uses

class Signals : public Transactions {};

// The watchdog would be there first.
class Faults : public Signals {
    Parameter no_watchdog_{"watchdog_ms", "0"};
};
class EachFault : public Faults, public ::testing::WithParamInterface<FaultKind> {};

INSTANTIATE_TEST_SUITE_P(All, EachFault, ::testing::ValuesIn(kFaults),
                         [](const auto& fault) { return fault.param.name; });

// What a program's handler saw. Of the process, so that children have their own.
struct Seen {
    volatile int calls = 0;
    volatile int signal = 0;
    volatile int code = 0;
    void* volatile address = nullptr;
    void* volatile stack = nullptr;
    volatile unsigned depth = 77; // of the transaction
    sigset_t mask{};
} seen;
int seen_fd = -1;
sigjmp_buf after_handler;

void note(int signal, siginfo_t* info) {
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

void note_and_return(int signal, siginfo_t* info, void*) {
    note(signal, info);
}
void note_and_leave(int signal, siginfo_t* info, void*) {
    note(signal, info);
    siglongjmp(after_handler, 1);
}

void handle(int signal, void (*handler)(int, siginfo_t*, void*), int flags = 0, int masked = 0) {
    struct sigaction action {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigemptyset(&action.sa_mask);
    if (masked != 0)
        sigaddset(&action.sa_mask, masked);
    ASSERT_EQ(::sigaction(signal, &action, nullptr), 0);
}

// The library's handlers are installed by the first transaction of a process.
void first_transaction(int fd) {
    stm_start(fd);
    stm_cancel(fd);
}

/** In a process of its own, without the handlers that others have left. */
void in_child(const std::function<void()>& body) {
    EXPECT_EQ(Child::doing([&] {
                  for (const FaultKind& fault : kFaults)
                      ::signal(fault.signal, SIG_DFL);
                  body();
              }).wait(),
              0);
}

/** The raw wait status of a child that does this. */
int status_of(const std::function<void()>& action) {
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

/** Where core files go meanwhile. */
class CoreFolder {
public:
    CoreFolder() {
        EXPECT_EQ(::mkdir(path_.c_str(), 0700), 0);
        std::getline(std::ifstream(kPattern), before_);
        std::ofstream(kPattern) << core();
    }
    ~CoreFolder() {
        std::ofstream(kPattern) << before_;
        ::unlink(core().c_str());
        ::rmdir(path_.c_str());
    }
    CoreFolder(const CoreFolder&) = delete;
    CoreFolder& operator=(const CoreFolder&) = delete;
    [[nodiscard]] std::string core() const { return path_ + "/core"; }

private:
    static constexpr const char* kPattern = "/proc/sys/kernel/core_pattern";
    std::string path_ = unique_path("cores");
    std::string before_;
};

/** Where the thread that died was, from the core file. */
std::uint64_t place_in_core(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> core(std::istreambuf_iterator<char>(file), {});
    if (core.size() < sizeof(Elf64_Ehdr))
        return 0;
    const auto* header = reinterpret_cast<const Elf64_Ehdr*>(core.data());
    for (int index = 0; index < header->e_phnum; ++index) {
        const auto* segment = reinterpret_cast<const Elf64_Phdr*>(
            core.data() + header->e_phoff + static_cast<unsigned>(index) * header->e_phentsize);
        if (segment->p_type != PT_NOTE)
            continue;
        // The first note is the status of the thread that died.
        const char* note = core.data() + segment->p_offset;
        const auto* start = reinterpret_cast<const Elf64_Nhdr*>(note);
        if (start->n_type != NT_PRSTATUS)
            return 0;
        prstatus_t status;
        std::memcpy(&status, note + sizeof *start + ((start->n_namesz + 3) & ~3U), sizeof status);
        return status.pr_reg[16]; // rip
    }
    return 0;
}

// -- A fault that is the program's own --

TEST_P(EachFault, KillsAtTheInstructionWithACore) {
    CoreFolder folder;
    for (bool inside : {true, false}) {
        ::unlink(folder.core().c_str());
        int status = status_of([&] {
            first_transaction(fd());
            if (inside) {
                stm_start(fd());
                get(fd());
            }
            GetParam().make();
        });
        EXPECT_TRUE(WIFSIGNALED(status));
        EXPECT_EQ(WTERMSIG(status), GetParam().signal);
        EXPECT_TRUE(WCOREDUMP(status));
        std::uint64_t place = place_in_core(folder.core());
        auto function = reinterpret_cast<std::uint64_t>(GetParam().make);
        EXPECT_GE(place, function);
        EXPECT_LT(place, function + 100);
    }
    EXPECT_EQ(get(fd()), 0);
}

TEST_P(EachFault, CallsAHandlerThatWasInstalledBefore) {
    in_child([&] {
        seen_fd = fd();
        handle(GetParam().signal, note_and_leave);
        volatile int attempts = 0;
        if (sigsetjmp(after_handler, 1) == 0) {
            stm_start(fd());
            attempts = attempts + 1;
            put(fd(), 1L);
            GetParam().make();
        }
        EXPECT_EQ(attempts, 1);
        EXPECT_EQ(seen.calls, 1);
        EXPECT_EQ(seen.signal, GetParam().signal);
        EXPECT_GT(seen.code, 0);
        EXPECT_EQ(seen.depth, 0u) << "the transaction is cancelled";
        EXPECT_EQ(get(fd()), 0);
    });
}

TEST_P(EachFault, CallsAHandlerThatWasInstalledAfter) {
    in_child([&] {
        seen_fd = fd();
        first_transaction(fd());
        handle(GetParam().signal, note_and_leave);
        if (sigsetjmp(after_handler, 1) == 0) {
            stm_start(fd());
            GetParam().make();
        }
        EXPECT_EQ(seen.calls, 1);
        // And outside of a transaction, and again.
        if (sigsetjmp(after_handler, 1) == 0)
            GetParam().make();
        EXPECT_EQ(seen.calls, 2);
        if (GetParam().signal == SIGSEGV) {
            EXPECT_EQ(seen.address, reinterpret_cast<void*>(kBadAddress));
        }
        if (GetParam().signal == SIGBUS) {
            EXPECT_EQ(seen.address, bad_page());
        }
        // Back to the default.
        EXPECT_NE(::signal(GetParam().signal, SIG_DFL), SIG_ERR);
    });
}

TEST_P(EachFault, CancelsAllTransactionsOfTheThread) {
    Region second("second", kPage, kTransactional);
    in_child([&] {
        handle(GetParam().signal, note_and_leave);
        if (sigsetjmp(after_handler, 1) == 0) {
            stm_start(fd());
            stm_start(fd());
            stm_start(second.fd());
            put(second.fd(), 1L);
            GetParam().make();
        }
        EXPECT_EQ(seen.calls, 1);
        EXPECT_EQ(transaction(fd()).depth, 0u);
        EXPECT_EQ(transaction(second.fd()).depth, 0u);
    });
}

// -- A fault with data that is not valid any more --

TEST_P(EachFault, RestartsADoomedTransaction) {
    in_child([&] {
        handle(GetParam().signal, note_and_return);
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            stm_start(fd()); // a part
            long value = get(fd());
            if (value == 0) {
                elsewhere([&] { put(fd(), 5L); });
                GetParam().make();
                ADD_FAILURE() << "the fault did not restart";
            }
            EXPECT_EQ(stm_commit(fd()), 0);
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
        EXPECT_EQ(seen.calls, 0) << "the program's handler is not concerned";
        sigset_t mask;
        pthread_sigmask(SIG_SETMASK, nullptr, &mask);
        EXPECT_EQ(sigismember(&mask, GetParam().signal), 0);
    });
}

TEST_P(EachFault, RestartsManyTimes) {
    in_child([&] {
        for (long round = 0; round < 200; ++round) {
            volatile int attempts = 0;
            do {
                stm_start(fd());
                attempts = attempts + 1;
                long value = get(fd());
                if (attempts == 1) {
                    std::thread([&] { put(fd(), value + 1); }).join();
                    GetParam().make();
                }
            } while (stm_commit(fd()) != 0);
            ASSERT_EQ(attempts, 2);
        }
        EXPECT_EQ(get(fd()), 200);
    });
}

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

TEST_F(Faults, AStackThatIsFullRestarts) {
    static volatile long never = -1;
    struct Endless {
        [[gnu::noinline]] static long go(long depth) {
            volatile char space[4096];
            space[depth % 4096] = 1;
            return depth == never ? 0 : go(depth + 1) + space[0];
        }
    };
    in_child([&] {
        AlternateStack stack;
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            if (get(fd()) == 0) {
                elsewhere([&] { put(fd(), 1L); });
                put(fd(), Endless::go(0), 8);
            }
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
    });
    EXPECT_EQ(WTERMSIG(status_of([&] {
                  AlternateStack stack;
                  stm_start(fd());
                  put(fd(), Endless::go(0), 8);
              })),
              SIGSEGV)
        << "with valid data it is a bug";
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

TEST_P(EachFault, SentByKillItIsTheProgramsAlone) {
    in_child([&] {
        seen_fd = fd();
        first_transaction(fd());
        handle(GetParam().signal, note_and_return);
        stm_start(fd());
        ::raise(GetParam().signal);
        EXPECT_EQ(seen.calls, 1);
        EXPECT_EQ(seen.code, SI_TKILL);
        EXPECT_EQ(seen.depth, 1u) << "the transaction goes on";
        ::kill(::getpid(), GetParam().signal);
        EXPECT_EQ(seen.calls, 2);
        EXPECT_EQ(seen.code, SI_USER);
        EXPECT_EQ(stm_commit(fd()), 0);
        ::signal(GetParam().signal, SIG_IGN);
        ::raise(GetParam().signal);
        EXPECT_EQ(seen.calls, 2);
    });
    CoreFolder folder;
    for (bool inside : {true, false}) {
        int status = status_of([&] {
            first_transaction(fd());
            if (inside)
                stm_start(fd());
            ::raise(GetParam().signal);
        });
        EXPECT_TRUE(WIFSIGNALED(status));
        EXPECT_EQ(WTERMSIG(status), GetParam().signal);
        EXPECT_TRUE(WCOREDUMP(status));
    }
}

TEST_P(EachFault, AnIgnoredFaultKills) {
    int status = status_of([&] {
        ::signal(GetParam().signal, SIG_IGN);
        first_transaction(fd());
        GetParam().make();
    });
    EXPECT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), GetParam().signal);
}

// -- Handlers that mend --

char* mended_page = nullptr;

void mend(int, siginfo_t*, void*) {
    seen.calls = seen.calls + 1;
    ::mprotect(mended_page, kPage, PROT_READ | PROT_WRITE);
}

TEST_F(Signals, AHandlerThatMendsRestartsTheTransaction) {
    in_child([&] {
        Mapping memory(-1, kPage, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
        mended_page = memory.at();
        handle(SIGSEGV, mend);
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            put(fd(), get(fd()) + 1);
            *static_cast<volatile char*>(mended_page) = 1;
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(seen.calls, 1);
        EXPECT_EQ(attempts, 2);
        EXPECT_EQ(get(fd()), 1);
    });
}

void skip_ud2(int, siginfo_t*, void* context) {
    seen.calls = seen.calls + 1;
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
}

TEST_F(Signals, AHandlerThatGoesElsewhereIsFollowed) {
    in_child([&] {
        handle(SIGILL, skip_ud2);
        stm_start(fd());
        put(fd(), 1L);
        asm volatile("ud2");
        EXPECT_EQ(seen.calls, 1);
        EXPECT_EQ(transaction(fd()).depth, 0u);
        EXPECT_EQ(stm_commit(fd()), 1);
        EXPECT_EQ(errno, EINVAL);
        EXPECT_EQ(get(fd()), 0);
    });
}

// -- The signal of the module --

TEST_F(Signals, AnEndlessLoopOnOldDataEnds) {
    in_child([&] {
        volatile int attempts = 0;
        double before = seconds();
        do {
            stm_start(fd());
            attempts = attempts + 1;
            volatile long value = get(fd());
            if (attempts == 1)
                elsewhere([&] { put(fd(), 1L); });
            while (value == 0)
                continue;
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
        EXPECT_LT(seconds() - before, 2 * time_scale());
        EXPECT_EQ(statistics(fd()).signals, 1u);
    });
}

TEST_F(Signals, ASleepOnOldDataEnds) {
    in_child([&] {
        volatile int attempts = 0;
        double before = seconds();
        do {
            stm_start(fd());
            attempts = attempts + 1;
            long value = get(fd());
            if (attempts == 1)
                elsewhere([&] { put(fd(), 1L); });
            if (value == 0)
                ::sleep(static_cast<unsigned>(20 * time_scale()));
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
        EXPECT_LT(seconds() - before, 10 * time_scale());
    });
}

TEST_F(Signals, TheProgramsOwnHandlerForTheDoomSignalGetsItsOwn) {
    in_child([&] {
        handle(kDoomSignal, note_and_return);
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            volatile long value = get(fd());
            ::raise(kDoomSignal);
            if (attempts == 1)
                elsewhere([&] { put(fd(), 1L); });
            while (value == 0)
                continue;
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
        EXPECT_EQ(seen.calls, 2) << "one for each raise, none of the module's";
    });
}

TEST_F(Signals, ABlockedDoomSignalIsUnblockedByTheFirstStart) {
    in_child([&] {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        first_transaction(fd());
        sigset_t now;
        pthread_sigmask(SIG_BLOCK, nullptr, &now);
        EXPECT_EQ(sigismember(&now, kDoomSignal), 0);
        EXPECT_EQ(sigismember(&now, SIGSEGV), 1);

        // Blocked afterwards, it can not restart: the calls fail and so does the commit.
        sigaddset(&now, kDoomSignal);
        pthread_sigmask(SIG_BLOCK, &now, nullptr);
        stm_start(fd());
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

// -- Threads --

TEST_F(Faults, ThreadsRestartAtOnce) {
    constexpr int kThreads = 4;
    constexpr int kRounds = 50;
    in_child([&] {
        std::atomic<long> current = 0; // what the region holds at least, told past it
        std::atomic<int> ended = 0;
        std::atomic<long> restarts = 0;
        auto worker = [&](int number) {
            AlternateStack stack;
            for (int round = 0; round < kRounds; ++round) {
                volatile int attempts = 0;
                do {
                    stm_start(fd());
                    attempts = attempts + 1;
                    long value = get(fd());
                    if (attempts > 1)
                        continue;
                    while (current.load() <= value) // the region may be ahead
                        std::this_thread::yield();
                    kFaults[(number + round) % 4].make();
                } while (stm_commit(fd()) != 0);
                restarts += attempts - 1;
            }
            ++ended;
        };
        std::vector<std::thread> threads;
        for (int number = 0; number < kThreads; ++number)
            threads.emplace_back(worker, number);
        for (long value = 1; ended < kThreads; ++value) {
            put(fd(), value);
            current = value;
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
        for (std::thread& thread : threads)
            thread.join();
        EXPECT_GE(restarts, kThreads * kRounds);
    });
}

// Signals in the middle of everything that the library does: each of them makes it look after the
// transactions of the thread.
TEST_F(Signals, InTheMiddleOfTheLibrary) {
    in_child([&] {
        constexpr int kRounds = 3000;
        std::atomic<bool> stop = false;
        std::atomic<long> others = 0;
        std::thread rival([&] {
            while (!stop) {
                do {
                    stm_start(fd());
                    put(fd(), get(fd()) + 1);
                    put(fd(), get(fd(), kStripe) + 1, kStripe);
                } while (stm_commit(fd()) != 0);
                ++others;
                std::this_thread::sleep_for(std::chrono::microseconds(100));
            }
        });
        std::atomic<bool> ready = false;
        std::atomic<bool> done = false;
        std::thread worker([&] {
            first_transaction(fd());
            ready = true;
            for (int round = 0; round < kRounds; ++round) {
                do {
                    stm_start(fd());
                    put(fd(), get(fd()) + 1);
                    stm_start(fd());
                    put(fd(), 77L, 2 * kStripe);
                    stm_cancel(fd());
                    stm_start(fd());
                    put(fd(), get(fd(), kStripe) + 1, kStripe);
                    stm_validate(fd());
                    EXPECT_EQ(stm_commit(fd()), 0);
                } while (stm_commit(fd()) != 0);
            }
            done = true;
        });
        while (!ready)
            std::this_thread::yield();
        long sent = 0;
        std::thread bomber([&] {
            while (!stop) {
                pthread_kill(worker.native_handle(), kDoomSignal);
                ++sent;
                for (int spin = 0; spin < 2000; ++spin)
                    asm volatile("pause");
            }
        });
        while (!done)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        stop = true;
        bomber.join(); // before the thread that it aims at
        worker.join();
        rival.join();
        EXPECT_EQ(get(fd()), kRounds + others);
        EXPECT_EQ(get(fd(), kStripe), kRounds + others);
        EXPECT_EQ(get(fd(), 2 * kStripe), 0);
        RecordProperty("signals", static_cast<int>(sent));
    });
}

// -- fork --

TEST_F(Signals, AChildHasNoTransaction) {
    in_child([&] {
        volatile int attempts = 0;
        stm_start(fd());
        attempts = attempts + 1;
        put(fd(), 1L);
        if (attempts == 1) {
            elsewhere([&] {
                EXPECT_EQ(transaction(fd()).depth, 0u);
                EXPECT_EQ(stm_commit(fd()), 1);
                EXPECT_EQ(errno, EINVAL);
                EXPECT_EQ(get(fd()), 0);
                // One of its own.
                volatile int own = 0;
                stm_start(fd());
                own = own + 1;
                if (own < 3)
                    stm_retry(fd());
                put(fd(), 5L, kStripe);
                EXPECT_EQ(stm_commit(fd()), 0);
            });
            // A fault of the child is its own affair.
            EXPECT_EQ(signal_of([] { fault_fpe(); }), SIGFPE);
            stm_retry(fd());
        }
        EXPECT_EQ(get(fd(), kStripe), 5);
        EXPECT_EQ(stm_commit(fd()), 0);
        EXPECT_EQ(attempts, 2);
    });
}

} // namespace
