// SPDX-License-Identifier: GPL-2.0
// Real-time threads. A thread of a high priority wants what a thread of a low one has, on the same
// processor, and that one was interrupted in the middle. To wait for it by spinning would be for
// ever, because Linux lets the low one run only when the high one sleeps. (Where the administrator
// has not switched that off, Linux gives ordinary threads a share of some 5 % nevertheless. So a
// thread that spins uses up its processor for most of a second. That is what these tests look at.)
#include "mapped.hpp"

#include <algorithm>
#include <atomic>
#include <ctime>
#include <fstream>
#include <iterator>
#include <sched.h>
#include <string>
#include <thread>

using namespace stm::test;

namespace {

constexpr int kProcessor = 0;

/** The calling thread runs on one processor, with all that it starts. */
void stay_on_one_processor() {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(kProcessor, &set);
    ASSERT_EQ(::sched_setaffinity(0, sizeof set, &set), 0) << std::strerror(errno);
}

/** The calling thread goes before all others that do not say this. */
void become_urgent() {
    struct sched_param parameter {};
    parameter.sched_priority = 50;
    ASSERT_EQ(::sched_setscheduler(0, SCHED_FIFO, &parameter), 0) << std::strerror(errno);
}

double thread_seconds() {
    struct timespec now {};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

void sleep_us(long microseconds) {
    const struct timespec time { microseconds / 1000000, microseconds % 1000000 * 1000 };
    ::nanosleep(&time, nullptr);
}

/** More than any attempt needs, and less than a thread spins before Linux makes it pause. */
double too_long() {
    return 0.4 * time_scale();
}

constexpr int kRounds = 150;

/** Does something often, at moments that the low one does not choose, and says how long the longest
 * attempt kept the processor. */
template <typename Action>
double longest_use_of_the_processor(const Action& action) {
    double longest = 0;
    for (int round = 0; round < kRounds; ++round) {
        sleep_us(300 + 577L * round % 2900);
        const double before = thread_seconds();
        action(round);
        longest = std::max(longest, thread_seconds() - before);
    }
    return longest;
}

/** Until it is committed. */
template <typename Action>
void transact(int fd, const Action& action) {
    do {
        stm_start(fd);
        action();
    } while (stm_commit(fd) != 0);
}

/** Two thousand numbers in stripes of their own: more than a commit writes without a pause. */
constexpr std::size_t kLarge = 128 * 1024;
constexpr std::size_t kStripes = kLarge / kStripe;

class Priorities : public Mapped {
protected:
    Priorities() : Mapped(kLarge) {}
    void SetUp() override {
        Mapped::SetUp();
        stay_on_one_processor();
    }
    void TearDown() override {
        struct sched_param parameter {};
        ::sched_setscheduler(0, SCHED_OTHER, &parameter);
    }
    void write_all(const View& view, long value) {
        std::vector<long> numbers(kLarge / sizeof(long), value);
        EXPECT_EQ(::pwrite(view.fd(), numbers.data(), kLarge, 0), static_cast<ssize_t>(kLarge));
    }
};

TEST_F(Priorities, CallsGoOnBesideALargeCommitThatWasInterrupted) {
    Child writer = Child::doing([this] {
        const View own = another();
        for (long round = 1;; ++round)
            write_all(own, round);
    });
    EXPECT_TRUE(eventually([this] { return get(fd()) != 0; }));
    const View own = another();
    std::thread([&] {
        become_urgent();
        EXPECT_LT(longest_use_of_the_processor([&](int round) {
                      long first = 0;
                      long last = 0;
                      transact(own.fd(), [&] {
                          first = get(own.fd(), 0);
                          last = get(own.fd(), static_cast<off_t>((kStripes - 1) * kStripe));
                          if (round % 2 == 1)
                              put(own.fd(), last, 0);
                      });
                      EXPECT_EQ(first, last);
                  }),
                  too_long());
    }).join();
    writer.kill(SIGKILL);
    EXPECT_EQ(writer.wait(), 128 + SIGKILL);
}

TEST_F(Priorities, MappingsGoOnBesideALargeCommitThatWasInterrupted) {
    Child writer = Child::doing([this] {
        const View own = another();
        for (long round = 1;; ++round) {
            transact(own.fd(), [&] {
                for (std::size_t stripe = 0; stripe < kStripes; ++stripe)
                    own[stripe * kStripe] = round;
            });
        }
    });
    EXPECT_TRUE(eventually([this] { return get(fd()) != 0; }));
    const View own = another();
    std::thread([&] {
        become_urgent();
        EXPECT_LT(longest_use_of_the_processor([&](int round) {
                      long first = 0;
                      long last = 0;
                      transact(own.fd(), [&] {
                          first = own[0];
                          last = own[(kStripes - 1) * kStripe];
                          if (round % 2 == 1)
                              own[kPage] = first;
                      });
                      EXPECT_EQ(first, last);
                  }),
                  too_long());
    }).join();
    writer.kill(SIGKILL);
    EXPECT_EQ(writer.wait(), 128 + SIGKILL);
}

TEST_F(Priorities, ShortCommitsOfBothAreCounted) {
    constexpr int kLow = 20000;
    std::atomic<bool> done = false;
    std::thread writer([&] {
        const View own = another();
        for (int i = 0; i < kLow && !done; ++i) {
            transact(own.fd(), [&] {
                own[0] = own[0] + 1;
                own[kPage] = own[kPage] + 1;
            });
        }
    });
    const View own = another();
    std::thread([&] {
        become_urgent();
        EXPECT_LT(longest_use_of_the_processor([&](int) {
                      long one = 0;
                      long other = 0;
                      transact(own.fd(), [&] {
                          one = own[0];
                          other = own[kPage];
                          own[0] = one + 1;
                          own[kPage] = other + 1;
                      });
                      EXPECT_EQ(one, other);
                  }),
                  too_long());
    }).join();
    done = true;
    writer.join();
    EXPECT_EQ(number(0), number(kPage));
    EXPECT_GE(number(0), kRounds);
}

const std::string kTracing = "/sys/kernel/tracing/";

std::string contents_of(const char* file) {
    std::ifstream stream(kTracing + file);
    return {std::istreambuf_iterator<char>(stream), {}};
}

void tell_tracer(const std::string& file, const std::string& text) {
    std::ofstream(kTracing + file) << text;
}

/** While it lives, Linux notes when the module disables preemption. */
class Trace {
public:
    Trace() {
        tell_tracer("set_ftrace_filter", "stm_linux_*_processor");
        tell_tracer("current_tracer", "function");
    }
    ~Trace() {
        tell_tracer("current_tracer", "nop");
        tell_tracer("set_ftrace_filter", "");
    }
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;

    void forget() { tell_tracer("trace", ""); }
    /** How often it did since then. */
    [[nodiscard]] int stretches() const {
        std::ifstream trace(kTracing + "trace");
        int count = 0;
        for (std::string line; std::getline(trace, line);)
            count += line.find(": stm_linux_stay_on_processor") != std::string::npos ? 1 : 0;
        return count;
    }
};

/** What a commit does, and whether that is little enough for it to keep its processor meanwhile. */
struct Work {
    int written; // stripes
    int read;    // others
    bool keeps_processor;
};

TEST_F(Priorities, OnlySmallCommitsDisablePreemption) {
    // Debian's kernels have it; those that are built here for debugging do not.
    if (contents_of("available_tracers").find("function") == std::string::npos)
        GTEST_SKIP() << "this kernel has no tracer of functions";
    ASSERT_NE(contents_of("available_filter_functions").find("stm_linux_stay_on_processor"),
              std::string::npos);
    Trace trace;
    const View own = another();
    for (const Work work : {Work{1, 0, true}, Work{256, 0, true}, Work{257, 0, false},
                            Work{1, 1500, true}, Work{1, 1600, false}}) {
        stm_start(fd());
        for (int i = 0; i < work.written + work.read; ++i) {
            if (i < work.written)
                put(fd(), 1L, i * kStripe);
            else
                get(fd(), i * kStripe);
        }
        // There is something to validate then.
        put(own.fd(), 1L, static_cast<off_t>((kStripes - 1) * kStripe));
        trace.forget();
        EXPECT_EQ(stm_commit(fd()), 0);
        EXPECT_EQ(trace.stretches(), work.keeps_processor ? 1 : 0)
            << work.written << " written, " << work.read << " read";
    }
}

/** The token is with a thread of low priority, whose own work takes a while. */
TEST_F(Priorities, AnUrgentCommitWaitsForTheTokenAsleep) {
    Region region("urgent", kPage, STM_MUTEX);
    const auto handle = [&] { return Fd(stm_open(region.name().c_str(), 0, 0, 0)); };
    Child holder = Child::doing([&] {
        const Fd own = handle();
        for (;;) {
            transact(own.get(), [&] {
                const double until = thread_seconds() + 0.002;
                while (thread_seconds() < until) {
                }
                put(own.get(), get(own.get()) + 1);
            });
        }
    });
    EXPECT_TRUE(eventually([&] { return get(region.fd()) != 0; }));
    const Fd own = handle();
    std::thread([&] {
        become_urgent();
        EXPECT_LT(longest_use_of_the_processor([&](int) {
                      transact(own.get(), [&] { put(own.get(), get(own.get()) + 1); });
                  }),
                  too_long());
    }).join();
    holder.kill(SIGKILL);
    EXPECT_EQ(holder.wait(), 128 + SIGKILL);
    EXPECT_GT(get(region.fd()), kRounds);
}

/** The view is a transaction's that can not be given the page, and whose own thread, of a low
 * priority, has to end it. */
TEST_F(Priorities, AFaultWaitsAsleepForADoomedTransactionOfAnotherThread) {
    std::atomic<bool> is_begun = false;
    double used = 0;
    std::thread urgent([&] {
        while (!is_begun)
            sleep_us(1000);
        const double before = thread_seconds();
        become_urgent();
        EXPECT_EQ(number(3 * kPage), 2); // no page of the snapshot is to be had
        used = thread_seconds() - before;
    });
    volatile int attempts = 0;
    stm_start(fd());
    attempts = attempts + 1;
    EXPECT_EQ(number(0), attempts == 1 ? 0 : 1);
    if (attempts == 1) {
        stm_defer_restarts();
        elsewhere([this] {
            put(fd(), 1L, 0);
            put(fd(), 2L, static_cast<off_t>(3 * kPage));
        });
        is_begun = true;
        const double until = thread_seconds() + 0.05;
        while (thread_seconds() < until) {
        }
        stm_allow_restarts();
    }
    EXPECT_EQ(stm_commit(fd()), 0);
    urgent.join();
    EXPECT_EQ(attempts, 2);
    EXPECT_LT(used, too_long());
}

/** The library's record of the program's handlers, which handlers read. */
TEST_F(Priorities, HandlersAreChangedAndCalledAtAnyPriority) {
    std::atomic<bool> done = false;
    std::thread changer([&] {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        while (!done)
            EXPECT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
    });
    stm_start(fd()); // from now on handlers are the library's
    stm_cancel(fd());
    std::thread([&] {
        become_urgent();
        struct sigaction action {};
        action.sa_handler = [](int) {};
        EXPECT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
        EXPECT_LT(longest_use_of_the_processor([&](int round) {
                      if (round % 2 == 0)
                          EXPECT_EQ(::pthread_kill(::pthread_self(), SIGUSR1), 0);
                      else
                          EXPECT_EQ(::sigaction(SIGUSR1, &action, nullptr), 0);
                  }),
                  too_long());
    }).join();
    done = true;
    changer.join();
}

} // namespace
