// SPDX-License-Identifier: GPL-2.0
// Counts of what transactions did. Each context counts for itself, without sharing a cache line
// with others. A request sums the numbers up.
#pragma once

#include "kernel/core/uapi.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

// A number with one writer and any number of readers.
class Counter : runtime::NonCopyable {
public:
    void add(runtime::u64 count) noexcept { value_.store(get() + count, runtime::Order::relaxed); }
    void raise_to(runtime::u64 value) noexcept {
        if (value > get())
            value_.store(value, runtime::Order::relaxed);
    }
    [[nodiscard]] runtime::u64 get() const noexcept { return value_.load(runtime::Order::relaxed); }

private:
    runtime::Atomic<runtime::u64> value_{0};
};

struct TransactionCounters {
    Counter starts;
    Counter commits;
    Counter read_only;
    Counter calls;
    Counter aborts[STM_REASONS];
    Counter restarts;
    Counter serial;
    Counter waits;
    Counter signals;
    Counter extensions;
    Counter load_faults;
    Counter store_faults;
    Counter predicted_used;
    Counter predicted_unused;
    Counter longest_streak;
    Counter last_version; // of the last commit that wrote something

    // The caller is the only writer of these.
    void add(const TransactionCounters& other) noexcept {
        starts.add(other.starts.get());
        commits.add(other.commits.get());
        read_only.add(other.read_only.get());
        calls.add(other.calls.get());
        for (runtime::u32 reason = 0; reason < STM_REASONS; ++reason)
            aborts[reason].add(other.aborts[reason].get());
        restarts.add(other.restarts.get());
        serial.add(other.serial.get());
        waits.add(other.waits.get());
        signals.add(other.signals.get());
        extensions.add(other.extensions.get());
        load_faults.add(other.load_faults.get());
        store_faults.add(other.store_faults.get());
        predicted_used.add(other.predicted_used.get());
        predicted_unused.add(other.predicted_unused.get());
        longest_streak.raise_to(other.longest_streak.get());
        last_version.raise_to(other.last_version.get());
    }
};

inline void fill(stm_statistics& statistics, const TransactionCounters& counters) noexcept {
    statistics.starts = counters.starts.get();
    statistics.commits = counters.commits.get();
    statistics.read_only = counters.read_only.get();
    statistics.calls = counters.calls.get();
    for (runtime::u32 reason = 0; reason < STM_REASONS; ++reason)
        statistics.aborts[reason] = counters.aborts[reason].get();
    statistics.restarts = counters.restarts.get();
    statistics.serial = counters.serial.get();
    statistics.waits = counters.waits.get();
    statistics.signals = counters.signals.get();
    statistics.extensions = counters.extensions.get();
    statistics.load_faults = counters.load_faults.get();
    statistics.store_faults = counters.store_faults.get();
    statistics.predicted_used = counters.predicted_used.get();
    statistics.predicted_unused = counters.predicted_unused.get();
    statistics.longest_streak = static_cast<runtime::u32>(counters.longest_streak.get());
}

} // namespace stm::kernel
