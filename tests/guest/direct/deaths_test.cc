// SPDX-License-Identifier: GPL-2.0
// A process is killed at each instruction of a commit. What it was about to write is there as a
// whole or not at all, and nobody waits for it.
#include "typed.hpp"

#include <csignal>
#include <cstdio>
#include <ctime>
#include <map>
#include <sys/ptrace.h>
#include <sys/user.h>

using namespace stm::test;

namespace {

double now() {
    struct timespec time {};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// Words of a region that change together.
struct Shape {
    const char* name;
    unsigned words;
    std::uint64_t first;
    std::uint64_t distance;
    unsigned stride; // a kill at each so-many-th instruction

    [[nodiscard]] std::uint64_t at(unsigned word) const { return first + word * distance; }
};

int store_all(stm_tx* tx, stm_region* region, const Shape& shape, long value) {
    for (unsigned word = 0; word < shape.words; ++word) {
        if (const int result = stm_tx_store(tx, region, shape.at(word), &value, sizeof value);
            result != 0)
            return result;
    }
    return 0;
}

// The value of all of them; -1: they differ.
long common_value(stm_region* region, const Shape& shape) {
    long first = 0;
    bool same = false;
    EXPECT_TRUE(atomically(region, STM_TX_READ_ONLY, [&](stm_tx* tx) {
        same = true;
        for (unsigned word = 0; word < shape.words; ++word) {
            long value = 0;
            if (stm_tx_load(tx, region, shape.at(word), &value, sizeof value) != 0)
                return;
            if (word == 0)
                first = value;
            same = same && value == first;
        }
    }));
    return same ? first : -1;
}

// A child that is stopped where it begins a commit of `value` + 1.
class Committer {
public:
    Committer(stm_region* region, const Shape& shape, long value) {
        std::fflush(stdout);
        child_ = ::fork();
        if (child_ == 0)
            run(region, shape, value);
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

private:
    [[noreturn]] static void run(stm_region* region, const Shape& shape, long value) {
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        // The first commit gets the journal, and touches the pages.
        const auto store = [&](stm_tx* tx) {
            static_cast<void>(store_all(tx, region, shape, value));
        };
        if (!atomically(region, 0, store))
            ::_exit(1);
        stm_tx* const tx = stm_tx_begin(region, 0);
        long seen = 0;
        if (stm_tx_load(tx, region, shape.at(0), &seen, sizeof seen) != 0 ||
            store_all(tx, region, shape, value + 1) != 0)
            ::_exit(1);
        ::raise(SIGSTOP);
        const int committed = stm_tx_commit(tx);
        ::raise(SIGSTOP);
        ::_exit(committed);
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
std::vector<Moment> moments_of(stm_region* region, const Shape& shape) {
    std::vector<Moment> moments;
    std::map<unsigned long, unsigned> times;
    Committer committer(region, shape, 0);
    do {
        const unsigned long address = committer.address();
        moments.push_back({address, ++times[address]});
    } while (committer.step());
    return moments;
}

class DirectDeaths : public testing::TestWithParam<Shape> {};

TEST_P(DirectDeaths, LeaveAllOrNothing) {
    const Shape& shape = GetParam();
    const TypedRegion region("deaths", 16 * kPage, STM_DIRECT);
    const std::vector<Moment> moments = moments_of(region, shape);
    unsigned kills = 0;
    unsigned finished = 0;
    unsigned slow = 0;
    double longest = 0;
    long value = 10;
    for (std::size_t i = 0; i < moments.size(); i += shape.stride, value += 10) {
        {
            Committer committer(region, shape, value);
            ASSERT_FALSE(HasFailure());
            if (!committer.run_to(moments[i].address, moments[i].times))
                continue;
        }
        const double begun = now();
        const long found = common_value(region, shape);
        set_value(region, shape.at(shape.words - 1), found);
        const double took = now() - begun;
        longest = std::max(longest, took);
        slow += took > 0.010 * time_scale() ? 1 : 0;
        ASSERT_TRUE(found == value || found == value + 1) << found << " at instruction " << i;
        ++kills;
        finished += found == value + 1 ? 1 : 0;
        // Every record can be locked again.
        ASSERT_TRUE(atomically(
            region, 0, [&](stm_tx* tx) { static_cast<void>(store_all(tx, region, shape, 0)); }));
        ASSERT_EQ(common_value(region, shape), 0);
    }
    std::printf("%s: killed at %u of %zu instructions, %u commits were finished, the next "
                "transaction took %.2f ms at most\n",
                shape.name, kills, moments.size(), finished, longest * 1e3);
    EXPECT_GT(kills, moments.size() / shape.stride / 2);
    EXPECT_GT(finished, 1u);
    EXPECT_LT(finished, kills);
    // A machine that has other things to do does not count.
    EXPECT_LE(slow, kills / 20);
}

INSTANTIATE_TEST_SUITE_P(Shapes, DirectDeaths,
                         testing::Values(Shape{"OneStripe", 1, 128, 8, 1},
                                         Shape{"TwoStripes", 2, 64, 640, 1},
                                         Shape{"AcrossPages", 3, kPage - 64, 64, 1},
                                         Shape{"SixtyFourStripes", 64, 2 * kPage, 192, 41}),
                         [](const auto& shape) { return std::string(shape.param.name); });

} // namespace
