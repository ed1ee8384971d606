// SPDX-License-Identifier: GPL-2.0
// How long the module keeps a processor for itself, as Linux's tracer of such stretches tells. Only
// the kernel debug-rt has it:
//
//   ci/vm run --deterministic --kernel debug-rt --
//   build/host/tests/guest/transactions/stretches_test
//
// In such a guest a microsecond is 1000 instructions. They are those of a kernel with KASAN and
// lockdep, so what the tracer shows is where a stretch begins and ends, and which is the longest.
// What it takes without these is another question (critical_bench).
#include "transactions.hpp"

#include <algorithm>
#include <iterator>
#include <optional>
#include <stm/stm.hpp>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

using namespace stm::test;

namespace {

const std::string kTracing = "/sys/kernel/tracing/";
constexpr int kPages = 2048;
constexpr off_t kBytes = kPages * kPage;

// What a commit does without preemption (runtime/protocol): 6 for a stripe that it writes, 10 for a
// page that it has read as a whole, 1 for another record; 1536 at most.
constexpr int kMaxCost = 1536;
constexpr int kCostOfStripe = 6;
constexpr int kCostOfPage = 10;

/** The longest stretch within an action. */
struct Stretch {
    long us = 0;
    std::string begin; // functions
    std::string end;
};

class Tracer {
public:
    Tracer() : on_(::open((kTracing + "tracing_on").c_str(), O_WRONLY | O_CLOEXEC)) {
        tell("tracing_on", "0");
        tell("current_tracer", "preemptirqsoff");
    }
    ~Tracer() {
        tell("current_tracer", "nop");
        tell("tracing_on", "1");
    }
    Tracer(const Tracer&) = delete;
    Tracer& operator=(const Tracer&) = delete;

    template <typename Action>
    [[nodiscard]] Stretch longest_of(const Action& action) {
        tell("tracing_max_latency", "0");
        EXPECT_EQ(::write(on_.get(), "1", 1), 1);
        action();
        EXPECT_EQ(::write(on_.get(), "0", 1), 1);
        Stretch found;
        std::ifstream(kTracing + "tracing_max_latency") >> found.us;
        std::ifstream trace(kTracing + "trace");
        for (std::string line; std::getline(trace, line);) {
            if (const auto at = line.find("=> started at: "); at != std::string::npos)
                found.begin = line.substr(line.find_first_not_of(' ', at + 15));
            if (const auto at = line.find("=> ended at: "); at != std::string::npos)
                found.end = line.substr(line.find_first_not_of(' ', at + 13));
        }
        return found;
    }

private:
    static void tell(const std::string& file, const std::string& text) {
        std::ofstream(kTracing + file) << text;
    }
    Fd on_;
};

/** A commit: stripes written, records read, each in a page of its own, and pages read as a whole.
 */
struct Work {
    const char* name;
    int writes;
    int reads;
    int pages;
};

class Stretches : public ::testing::Test {
protected:
    Stretches() : region_("stretches", kBytes, kTransactional), view_(region_.fd(), kBytes) {}
    void SetUp() override {
        std::ifstream tracers(kTracing + "available_tracers");
        const std::string all{std::istreambuf_iterator<char>(tracers), {}};
        if (all.find("preemptirqsoff") == std::string::npos)
            FAIL() << "this kernel has no tracer of stretches without preemption";
        std::ifstream mounts("/proc/mounts");
        if (std::string{std::istreambuf_iterator<char>(mounts), {}}.find(" 9p ") !=
            std::string::npos)
            FAIL() << "this is for a guest whose instructions are counted";
        no_prediction_.emplace("predicted_pages", "0");
        ASSERT_GE(fd(), 0);
        ASSERT_NE(view_.data(), MAP_FAILED);
        for (int page = 0; page < kPages; ++page)
            put(fd(), 1L, page * kPage);
    }
    [[nodiscard]] int fd() const { return region_.fd(); }
    [[nodiscard]] volatile char* at(off_t page) const {
        return static_cast<volatile char*>(view_.data()) + page * off_t{4096};
    }

    /** An action's own stretch: the shortest of some runs, as an interrupt may come into one. */
    template <typename Run>
    static Stretch shortest(const char* name, const Run& run) {
        Stretch least;
        for (int round = 0; round < 4; ++round) {
            const Stretch found = run();
            if (round == 0 || found.us < least.us)
                least = found;
        }
        std::printf("%-32s %5ld us  %s .. %s\n", name, least.us, least.begin.c_str(),
                    least.end.c_str());
        std::fflush(stdout);
        return least;
    }

    Stretch of_commit(Tracer& tracer, const Work& work) {
        const Fd other(stm_open(region_.name().c_str(), 0, 0, 0));
        return shortest(work.name, [&] {
            stm_start(fd());
            off_t page = 0;
            for (int i = 0; i < work.writes; ++i, ++page)
                put(fd(), 1L, page * kPage + page % 64 * kStripe);
            for (int i = 0; i < work.reads; ++i, ++page)
                get(fd(), page * kPage + page % 64 * kStripe);
            for (int i = 0; i < work.pages; ++i, ++page)
                static_cast<void>(*at(page));
            // There is something to validate then.
            put(other.get(), 1L, (kPages - 1) * kPage);
            return tracer.longest_of([&] { EXPECT_EQ(stm_commit(fd()), 0); });
        });
    }

    Region region_;
    Mapping view_;
    std::optional<Parameter> no_prediction_;
};

constexpr Work kLargest[] = {
    {"the most stripes", kMaxCost / kCostOfStripe, 0, 0},
    {"a stripe, the most records", 1, kMaxCost - kCostOfStripe, 0},
    {"a stripe, the most pages", 1, 0, (kMaxCost - kCostOfStripe) / kCostOfPage},
    {"half stripes, half records", kMaxCost / 2 / kCostOfStripe, kMaxCost / 2, 0},
    {"half stripes, half pages", kMaxCost / 2 / kCostOfStripe, 0, kMaxCost / 2 / kCostOfPage},
};

/** What the largest concurrent commit takes on this kernel: on one without KASAN and lockdep it is
 * less than 100000 instructions. */
constexpr long kLimit = 900;

/** Numbers that no two of share a stripe. */
constexpr int kCells = 2048;
struct Cells {
    struct alignas(kStripe) Cell {
        stm::var<long> number;
    };
    Cell cells[kCells];
};

void expect_a_commit(const char* name, const Stretch& stretch) {
    EXPECT_NE(stretch.begin.find("stm_linux_stay_on_processor"), std::string::npos)
        << name << ": " << stretch.begin;
    EXPECT_NE(stretch.end.find("stm_linux_leave_processor"), std::string::npos)
        << name << ": " << stretch.end;
    EXPECT_LE(stretch.us, kLimit) << name;
}

void expect_none(const char* name, const Stretch& stretch) {
    EXPECT_EQ(stretch.begin.find("stm_"), std::string::npos) << name << ": " << stretch.begin;
    EXPECT_LT(stretch.us, kLimit / 3) << name << ": " << stretch.begin;
}

TEST_F(Stretches, OfConcurrentCommitsAreBoundedAndLargerOnesHaveNone) {
    Tracer tracer;
    for (const Work& work : kLargest)
        expect_a_commit(work.name, of_commit(tracer, work));
    for (const Work& work :
         {Work{"stripes in 1800 pages", 1800, 0, 0}, Work{"records in 1800 pages", 1, 1800, 0},
          Work{"1800 whole pages", 1, 0, 1800}})
        expect_none(work.name, of_commit(tracer, work));
}

TEST_F(Stretches, OfTypedCommitsAreBoundedAndLargerOnesHaveNone) {
    Tracer tracer;
    const std::string names[] = {unique_name("typed"), unique_name("typed")};
    auto region = stm::region::create(names[0], 2 * sizeof(Cells));
    auto second = stm::region::create(names[1], 2 * sizeof(Cells));
    auto& cells = region.root<Cells>().cells;
    auto& others = second.root<Cells>().cells;
    const auto of_typed = [&](const char* what, int writes, int reads, int writes_to_second = 0) {
        return shortest(what, [&] {
            return tracer.longest_of([&] {
                stm::atomically(region, [&](stm::transaction& tx) {
                    for (int i = 0; i < writes; ++i)
                        tx[cells[i].number] = 1;
                    for (int i = 0; i < writes_to_second; ++i)
                        tx[others[i].number] = 1;
                    long sum = 0;
                    for (int i = writes; i < writes + reads; ++i)
                        sum += tx[cells[i].number];
                    EXPECT_GE(sum, 0);
                    // There is something to validate then.
                    std::thread([&] {
                        stm::atomically(region, [&](stm::transaction& other) {
                            other[cells[kCells - 1].number] = 1;
                        });
                    }).join();
                });
            });
        });
    };
    for (const int to_second : {0, 125}) {
        const char* what = to_second == 0 ? "typed, the most stripes" : "typed, in two regions";
        expect_a_commit(what, of_typed(what, 250 - to_second, 0, to_second));
    }
    // It looks at its records so fast that something of Linux may take longer.
    EXPECT_LE(of_typed("typed, the most records", 1, 1500).us, kLimit);
    expect_none("typed, 1600 stripes", of_typed("typed, 1600 stripes", 1600, 0));
    expect_none("typed, 2 x 200 stripes", of_typed("typed, 2 x 200 stripes", 200, 0, 200));
    expect_none("typed, 1800 records", of_typed("typed, 1800 records", 1, 1800));
    for (const std::string& name : names)
        stm_unlink(name.c_str());
}

TEST_F(Stretches, AreInNothingElse) {
    Tracer tracer;
    const auto expect_none_in = [&](const char* name, const auto& action) {
        expect_none(name, shortest(name, [&] { return tracer.longest_of(action); }));
    };
    expect_none_in("a transaction in a mapping", [&] {
        stm_start(fd());
        for (int page = 0; page < 1000; ++page)
            *at(page) = static_cast<char>(*at(page) + 1);
        EXPECT_EQ(stm_commit(fd()), 0);
    });
    expect_none_in("one that is cancelled", [&] {
        stm_start(fd());
        for (int page = 0; page < 1000; ++page)
            *at(page) = 1;
        stm_cancel(fd());
    });
    std::vector<char> all(kBytes);
    const auto read = [&] { return ::pread(fd(), all.data(), all.size(), 0); };
    const auto write = [&](int to) { return ::pwrite(to, all.data(), all.size(), 0); };
    expect_none_in("a large read", [&] { EXPECT_EQ(read(), kBytes); });
    expect_none_in("a large write", [&] { EXPECT_EQ(write(fd()), kBytes); });
    expect_none_in("a region that comes and goes", [&] {
        Region own("own", kBytes, kTransactional);
        EXPECT_EQ(write(own.fd()), kBytes);
        const Mapping view(own.fd(), kBytes);
        EXPECT_EQ(*static_cast<volatile char*>(view.data()), all[0]);
    });
}

} // namespace
