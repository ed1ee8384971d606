// SPDX-License-Identifier: GPL-2.0
// How many system calls a transaction in a mapping makes, when it begins by an offer and when not.
#include "mapped.hpp"

#include <csignal>
#include <cstdlib>
#include <map>
#include <string>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

using namespace stm::test;

namespace {

// The system calls of one program, between two calls of getppid(): how often each, and of ioctl
// each request.
using Calls = std::map<std::string, int>;

std::string name_of(const __ptrace_syscall_info& call) {
    if (call.entry.nr != SYS_ioctl)
        return "call " + std::to_string(call.entry.nr);
    switch (call.entry.args[1]) {
    case STM_IOC_START:
        return "START";
    case STM_IOC_COMMIT:
        return "COMMIT";
    case STM_IOC_CANCEL:
        return "CANCEL";
    default:
        return "ioctl " + std::to_string(call.entry.args[1]);
    }
}

Calls calls_of(const char* helper, const std::string& region, const char* predict = "0") {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
        ::setenv("STM_PREDICT", predict, 1);
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        ::execl("/proc/self/exe", "/proc/self/exe", "--helper", helper, region.c_str(), nullptr);
        ::_exit(127);
    }
    Calls calls;
    bool counting = false;
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child); // at the exec
    ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    long signal = 0;
    while (::ptrace(PTRACE_SYSCALL, child, nullptr, signal) == 0 &&
           ::waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        signal = 0;
        if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            signal = WSTOPSIG(status);
            continue;
        }
        __ptrace_syscall_info call{};
        ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof call, &call);
        if (call.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        if (call.entry.nr == SYS_getppid)
            counting = !counting;
        else if (counting)
            ++calls[name_of(call)];
    }
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    return calls;
}

// Does it a few times to get into the swing, and then ten times to be counted.
template <typename Action>
int counted(const Action& action) {
    for (int round = 0; round < 13; ++round) {
        if (round == 3)
            ::syscall(SYS_getppid);
        if (!action())
            return 1;
    }
    ::syscall(SYS_getppid);
    return 0;
}

STM_HELPER(steady) {
    View view(words.at(0), 16 * kPage);
    return counted([&] {
        stm_start(view.fd());
        view[0] = view[0] + 1;
        view[5 * kPage] = view[0];
        return stm_commit(view.fd()) == 0;
    });
}

STM_HELPER(idle) {
    View view(words.at(0), 16 * kPage);
    return counted([&] {
        stm_start(view.fd());
        return stm_commit(view.fd()) == 0;
    });
}

STM_HELPER(cancelled) {
    View view(words.at(0), 16 * kPage);
    return counted([&] {
        stm_start(view.fd());
        view[0] = 1;
        stm_cancel(view.fd());
        return true;
    });
}

STM_HELPER(calling) {
    Fd fd(stm_open(words.at(0).c_str(), 0, 0, 0));
    return counted([&] {
        long value = 0;
        stm_start(fd.get());
        (void)!::pread(fd.get(), &value, sizeof value, 0);
        ++value;
        (void)!::pwrite(fd.get(), &value, sizeof value, 0);
        return stm_commit(fd.get()) == 0;
    });
}

STM_HELPER(looking_before) {
    View view(words.at(0), 16 * kPage);
    return counted([&] {
        long before = view[0];
        stm_start(view.fd());
        bool same = view[0] == before;
        return stm_commit(view.fd()) == 0 && same;
    });
}

STM_HELPER(warm_loading) {
    View view(words.at(0), 16 * kPage);
    if (stm_set_warm(view.fd(), 1) < 0)
        return 1;
    return counted([&] {
        stm_start(view.fd());
        const long sum = view[0] + view[5 * kPage];
        return stm_commit(view.fd()) == 0 && sum == 0;
    });
}

class Counted : public ::testing::Test {
protected:
    Region region_{"counted", 16 * kPage, kTransactional};
};

TEST_F(Counted, ASteadyTransactionInAMappingIsOneSystemCall) {
    EXPECT_EQ(calls_of("steady", region_.name()), (Calls{{"COMMIT", 10}}));
}

TEST_F(Counted, SoIsOneThatTouchesNothing) {
    EXPECT_EQ(calls_of("idle", region_.name()), (Calls{{"COMMIT", 10}}));
    EXPECT_EQ(calls_of("idle", region_.name(), "1"), (Calls{{"COMMIT", 10}}));
}

TEST_F(Counted, AndOneThatIsCancelled) {
    EXPECT_EQ(calls_of("cancelled", region_.name()), (Calls{{"CANCEL", 10}}));
}

TEST_F(Counted, OneByCallsHasNoneMore) {
    const Calls expected{{"call " + std::to_string(SYS_pread64), 10},
                         {"call " + std::to_string(SYS_pwrite64), 10},
                         {"COMMIT", 10}};
    EXPECT_EQ(calls_of("calling", region_.name()), expected);
    EXPECT_EQ(calls_of("calling", region_.name(), "1"), expected) << "with prediction on";
}

TEST_F(Counted, ALoadBeforeHasToBeUnmapped) {
    EXPECT_EQ(calls_of("looking_before", region_.name()), (Calls{{"START", 10}, {"COMMIT", 10}}));
}

TEST_F(Counted, AReaderOfAWarmMappingMakesNone) {
    // One that does not run for a tenth of a second loses its pages.
    for (const char* predict : {"0", "1"})
        EXPECT_TRUE(eventually(
            [&] { return calls_of("warm_loading", region_.name(), predict) == Calls{}; }));
}

TEST_F(Counted, PredictedPagesHaveToBeMapped) {
    EXPECT_EQ(calls_of("steady", region_.name(), "1"), (Calls{{"START", 10}, {"COMMIT", 10}}));
}

} // namespace
