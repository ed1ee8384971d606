// SPDX-License-Identifier: GPL-2.0
// Faults: with data that is not valid any more they restart the transaction; all others are the
// program's own.
#include "signals.hpp"

#include <elf.h>
#include <fstream>
#include <iterator>
#include <sys/procfs.h>

using namespace stm::test;

namespace {

INSTANTIATE_TEST_SUITE_P(All, EachFault, ::testing::ValuesIn(kFaults),
                         [](const auto& fault) { return fault.param.name; });

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

} // namespace
