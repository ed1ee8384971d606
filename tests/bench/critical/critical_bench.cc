// SPDX-License-Identifier: GPL-2.0
// The longest stretch without preemption: what the largest commits do between
// stm_linux_stay_on_processor() and stm_linux_leave_processor(), as the module's own code on this
// host's processor, in microseconds.
//
//   critical_bench [ROUNDS]     (default 25)
//
// Each commit is measured with what it touches in the processor's caches, and with nothing of it
// there. The smallest number of all rounds is the commit's own time. Larger ones have in them what
// else this host did. What the limit for a real-time kernel is compared with is the smallest one,
// cold, and the median beside it tells how quiet the host was.
#include "tests/unit/kernel/simulated_linux.hpp"

#include "kernel/core/handle.hpp"
#include "kernel/core/region_memory.hpp"
#include "runtime/protocol/transaction.hpp"

#include <stm/ioctl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace stm;
using kernel::kPageBytes;
using protocol::AbortReason;
using protocol::kCostOfPage;
using protocol::kCostOfStripe;
using protocol::kMaxConcurrentCost;
using protocol::kMaxConcurrentSpins;
using protocol::kMaxConcurrentStripes;
using protocol::kStripeBytes;
using protocol::kStripesPerPage;
using runtime::u32;
using runtime::u64;
using runtime::u8;
using Clock = std::chrono::steady_clock;
using Transaction = protocol::Transaction<kernel::RegionMemory>;

// What the wrapped services do.
enum class Caches { warm, cold };
Caches caches = Caches::warm;
Clock::time_point began;
double took_us = 0;

// More than any cache that a processor has for itself, and its share of a common one.
void empty_caches() {
    static std::vector<u64> other(u64{192} << 20 >> 3, 1);
    for (u64 i = 0; i < other.size(); i += 8)
        other[i] += i;
}

void must(bool is_so, const char* what) {
    if (is_so)
        return;
    std::fprintf(stderr, "critical_bench: %s\n", what);
    std::exit(1);
}

} // namespace

extern "C" {
void __real_stm_linux_stay_on_processor();
void __real_stm_linux_leave_processor();
void __wrap_stm_linux_stay_on_processor() {
    if (caches == Caches::cold)
        empty_caches();
    began = Clock::now();
}
void __wrap_stm_linux_leave_processor() {
    took_us = std::chrono::duration<double, std::micro>(Clock::now() - began).count();
}
// As in the module.
void __wrap_stm_linux_pause() {
    runtime::spin_hint();
}
}

namespace {

// One record of the pages beyond these is written by somebody else, so that there is something to
// validate.
constexpr u64 kPages = kMaxConcurrentCost;
constexpr u64 kAllPages = kPages + 1;
constexpr u64 kRegionBytes = kAllPages * kPageBytes;

// The core, with one handle of one large region.
class Core {
public:
    Core() {
        settings_.default_mode = 0666;
        settings_.device_major = 240;
        settings_.max_regions = settings_.max_user_regions = 4;
        settings_.default_size = kPageBytes;
        settings_.max_region_bytes = settings_.max_bytes = settings_.max_user_bytes =
            2 * kRegionBytes;
        settings_.max_stripes = 1 << 20;
        settings_.max_contexts = 4;
        settings_.serial_after = 16;
        must(stm_core_init(&settings_) == 0, "no core");
        stm_handle* control = nullptr;
        must(stm_core_open_minor(0, STM_ACCESS_READ | STM_ACCESS_WRITE, node_.get(), &control) == 0,
             "no control handle");
        stm_open argument{};
        argument.size = sizeof(argument);
        argument.flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE;
        argument.region_size = kRegionBytes;
        argument.mode = 0600;
        std::string("bench").copy(argument.name, sizeof(argument.name) - 1);
        const long descriptor =
            stm_core_control(control, STM_IOC_OPEN, reinterpret_cast<u64>(&argument));
        must(descriptor >= 0, "no region");
        handle_ = reinterpret_cast<kernel::Handle*>(
            simulated::file_at(static_cast<int>(descriptor)).handle);
    }
    kernel::Handle& handle() { return *handle_; }

private:
    stm_settings settings_{};
    simulated::Node node_{0, 0, 0666};
    kernel::Handle* handle_ = nullptr;
};

// A commit: so many stripes written, so many records read, each in a page of its own, and so many
// pages read as a whole.
struct Case {
    const char* name;
    u64 writes;
    u64 reads;
    u64 pages;
};

class Bench {
public:
    Bench()
        : context_(context()), memory_(core_.handle().region(), context_, nullptr),
          other_memory_(core_.handle().region(), context_, nullptr),
          transaction_(memory_, 1u << 20, protocol::Limits{}),
          other_(other_memory_, (1u << 20) + 1, protocol::Limits{}) {
        for (u64 page = 0; page < kPages; ++page)
            places_.push_back(page * kStripesPerPage + page % kStripesPerPage);
        std::shuffle(places_.begin(), places_.end(), random_);
        for (u64 page = 0; page < kAllPages; ++page)
            store_elsewhere(page);
    }

    // What one commit takes, in microseconds.
    double commit(const Case& what) {
        must(transaction_.begin() == AbortReason::none, "begin");
        u64 place = 0;
        for (u64 i = 0; i < what.writes; ++i) {
            const u64 value = i;
            must(transaction_.write(places_[place++] * kStripeBytes, &value, sizeof(value)) ==
                     AbortReason::none,
                 "write");
        }
        for (u64 i = 0; i < what.reads; ++i) {
            u64 value = 0;
            must(transaction_.read(places_[place++] * kStripeBytes, &value, sizeof(value)) ==
                     AbortReason::none,
                 "read");
        }
        for (u64 i = 0; i < what.pages; ++i) {
            static u8 copy[kPageBytes];
            must(transaction_.read_page(places_[place++] / kStripesPerPage, copy) ==
                     AbortReason::none,
                 "read_page");
        }
        const Caches wanted = std::exchange(caches, Caches::warm);
        store_elsewhere(kAllPages - 1);
        caches = wanted;
        took_us = 0;
        must(transaction_.commit() == AbortReason::none, "commit");
        must(took_us != 0, "the commit was a serial one");
        return took_us;
    }

private:
    kernel::Context& context() {
        const auto found = core_.handle().obtain_context();
        must(found.ok(), "no context");
        return **found;
    }
    void store_elsewhere(u64 page) {
        const u64 value = page;
        must(other_.begin() == AbortReason::none &&
                 other_.write(page * kPageBytes, &value, sizeof(value)) == AbortReason::none &&
                 other_.commit() == AbortReason::none,
             "a commit of another one");
    }

    Core core_;
    kernel::Context& context_;
    kernel::RegionMemory memory_;
    kernel::RegionMemory other_memory_;
    Transaction transaction_;
    Transaction other_;
    std::mt19937_64 random_{1}; // NOLINT(cert-msc51-cpp): the same places each time
    std::vector<u64> places_;
};

} // namespace

int main(int argc, char** argv) {
    const long rounds = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 25;
    must(rounds > 0, "usage: critical_bench [ROUNDS]");
    // The largest of each kind: half of the cost for stripes written is most of what there is.
    constexpr u64 kHalf = kMaxConcurrentCost / 2;
    constexpr u64 kAllButOne = kMaxConcurrentCost - kCostOfStripe;
    const Case cases[] = {
        {"a stripe", 1, 0, 0},
        {"the most stripes", kMaxConcurrentStripes, 0, 0},
        {"a stripe, the most records", 1, kAllButOne, 0},
        {"a stripe, the most pages", 1, 0, kAllButOne / kCostOfPage},
        {"half stripes, half records", kHalf / kCostOfStripe, kHalf, 0},
        {"half stripes, half pages", kHalf / kCostOfStripe, 0, kHalf / kCostOfPage},
    };
    Bench bench;
    std::printf("%-40s %10s %10s %10s\n", "us without preemption", "warm", "cold", "median");
    for (const Case& each : cases) {
        double least[2];
        double median = 0;
        for (const Caches state : {Caches::warm, Caches::cold}) {
            std::vector<double> samples;
            for (long round = 0; round < rounds; ++round) {
                caches = state;
                samples.push_back(bench.commit(each));
                caches = Caches::warm;
            }
            std::sort(samples.begin(), samples.end());
            least[state == Caches::cold] = samples.front();
            median = samples[samples.size() / 2];
        }
        std::printf("%-40s %10.1f %10.1f %10.1f\n", each.name, least[0], least[1], median);
    }
    const Clock::time_point before = Clock::now();
    for (u32 spin = 0; spin < kMaxConcurrentSpins; ++spin)
        runtime::spin_hint();
    std::printf("%-40s %10.1f\n", "the longest wait for locks",
                std::chrono::duration<double, std::micro>(Clock::now() - before).count());
    // The core stays as it is: there is no transaction, and the process ends.
    std::fflush(stdout);
    std::_Exit(0);
}
