// SPDX-License-Identifier: GPL-2.0
// What a region needs for transactions beside its bytes: the clock, the ownership records, the
// serial token, and the threads that wait for a change. Every region has one; a plain region uses
// only the count of changes.
#pragma once

#include "kernel/core/clock_page.hpp"
#include "kernel/core/fixed_snapshots.hpp"
#include "kernel/core/page_store.hpp"
#include "kernel/core/serial_token.hpp"
#include "kernel/core/wait_queue.hpp"
#include "runtime/protocol/clock.hpp"
#include "runtime/protocol/page_changes.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/wait_filter.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"

namespace stm::kernel {

struct Versions : runtime::NonCopyable {
    explicit Versions(const stm_settings& settings) noexcept : snapshots(settings) {}

    // Bytes of ownership records for one byte of the region: 8 for each stripe of 64.
    static constexpr runtime::u64 kPagesPerOrecPage = 8;

    // The clock. A plain region has none.
    ClockPage clock_page;
    // Every commit writes these. Data that is only read does not share their cache line, wherever
    // that begins.
    char padding_before[64];
    // The number of successful commits that wrote something, and of write calls; poll looks at it.
    runtime::Atomic<runtime::u64> changes{0};
    runtime::Atomic<runtime::u64> next_owner{1};
    char padding_behind[64];
    PageStore orecs;
    // Null if not all commits count: in a direct region. A plain one has no commits.
    runtime::Unique<protocol::PageChanges> page_changes;
    SerialToken token;
    FixedSnapshots snapshots; // none in a direct region, where not all commits keep old versions
    protocol::WaitFilter wait_filter;
    WaitQueue readers; // sleep until something that they read changes
    PollQueue pollers; // poll and epoll

    // Of a direct region, whose commits are not all counted: the clock, which each of them
    // advances.
    bool counted_by_clock = false;
    [[nodiscard]] runtime::u64 count_of_changes() const noexcept {
        return counted_by_clock ? clock_page.now().load(runtime::Order::acquire)
                                : changes.load(runtime::Order::acquire);
    }
    // A program that polls is on the queue, and about to look whether something has changed. From
    // now on those who commit to a direct region tell of it.
    void expect_pollers() noexcept {
        if (!counted_by_clock)
            return;
        // In this order: who finds that another one is expected already relies on its count.
        clock_page.sleepers().fetch_add(1, runtime::Order::release);
        if (polled_.exchange(true, runtime::Order::acq_rel))
            clock_page.sleepers().fetch_sub(1, runtime::Order::release);
        protocol::clock_meet(clock_page.now());
    }

    // After a commit or a write call.
    void changed() noexcept {
        changes.fetch_add(1, runtime::Order::release);
        static_cast<void>(pollers.wake());
    }
    // After a direct commit that was told of. If nobody polls any more, the next ones need not be.
    void changed_directly() noexcept {
        changes.fetch_add(1, runtime::Order::release);
        if (pollers.wake() || !polled_.exchange(false, runtime::Order::acq_rel))
            return;
        clock_page.sleepers().fetch_sub(1, runtime::Order::acq_rel);
        // One that came meanwhile may have found that it is expected. It looks once more, because
        // what was committed just now was not told of.
        if (pollers.wake()) {
            expect_pollers();
            static_cast<void>(pollers.wake());
        }
    }

private:
    runtime::Atomic<bool> polled_{false};
};

} // namespace stm::kernel
