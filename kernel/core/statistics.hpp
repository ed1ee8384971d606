// SPDX-License-Identifier: GPL-2.0
// Counts of what transactions did. Each context counts for itself, without sharing a cache line
// with others. A request sums the numbers up.
#pragma once

#include "kernel/core/uapi.hpp"
#include "runtime/protocol/abort_reason.hpp"
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

// Counts of the commits of transactions that programs run by themselves, of one handle. Any thread
// may count.
class TypedCounters : runtime::NonCopyable {
    using Order = runtime::Order;

public:
    // `version`: of the commit; 0: it wrote nothing.
    void count(protocol::AbortReason reason, runtime::u64 version) noexcept {
        if (reason != protocol::AbortReason::none)
            aborts_[static_cast<runtime::u32>(reason)].fetch_add(1, Order::relaxed);
        else
            (version != 0 ? updates_ : read_only_).fetch_add(1, Order::relaxed);
    }
    void count_wait() noexcept { waits_.fetch_add(1, Order::relaxed); }

    void add_to(TransactionCounters& sum) const noexcept {
        const runtime::u64 read_only = read_only_.load(Order::relaxed);
        const runtime::u64 commits = updates_.load(Order::relaxed) + read_only;
        sum.commits.add(commits);
        sum.read_only.add(read_only);
        sum.starts.add(commits);
        for (runtime::u32 reason = 0; reason < STM_REASONS; ++reason) {
            const runtime::u64 aborts = aborts_[reason].load(Order::relaxed);
            sum.aborts[reason].add(aborts);
            sum.starts.add(aborts);
        }
        sum.waits.add(waits_.load(Order::relaxed));
    }

private:
    runtime::Atomic<runtime::u64> updates_{0};
    runtime::Atomic<runtime::u64> read_only_{0};
    runtime::Atomic<runtime::u64> aborts_[STM_REASONS];
    runtime::Atomic<runtime::u64> waits_{0};
};

// Counts of the commits that programs make by themselves, as these programs have stored them.
struct DirectCounts {
    runtime::u64 commits = 0;
    runtime::u64 conflicts = 0;
    runtime::u64 locked = 0; // of the conflicts

    void add(const DirectCounts& other) noexcept {
        commits += other.commits;
        conflicts += other.conflicts;
        locked += other.locked;
    }
    void add_to(TransactionCounters& sum) const noexcept {
        const runtime::u64 found_locked = runtime::min(locked, conflicts);
        sum.starts.add(commits + conflicts);
        sum.commits.add(commits);
        sum.aborts[STM_REASON_COMMIT_LOCKED].add(found_locked);
        sum.aborts[STM_REASON_COMMIT_VALIDATION].add(conflicts - found_locked);
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
