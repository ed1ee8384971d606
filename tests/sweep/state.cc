// SPDX-License-Identifier: GPL-2.0
#include "state.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>

namespace stm::sweep {

State State::of(const Try& attempt) {
    State state;
    // To look at the bytes is a call that counts.
    state.contents_ = attempt.contents();
    state.info_ = test::make<struct stm_info>(STM_BY_HANDLE);
    state.statistics_ = test::make<struct stm_statistics>(STM_BY_HANDLE);
    state.transaction_ = test::make<struct stm_transaction>();
    ::ioctl(attempt.observer.get(), STM_IOC_INFO, &state.info_);
    ::ioctl(attempt.observer.get(), STM_IOC_STATISTICS, &state.statistics_);
    if (attempt.fd)
        ::ioctl(attempt.fd.get(), STM_IOC_TRANSACTION, &state.transaction_);
    return state;
}

void State::expect_unchanged(Try& attempt, const Site& site) const {
    State now;
    now.info_ = test::make<struct stm_info>(STM_BY_HANDLE);
    now.statistics_ = test::make<struct stm_statistics>(STM_BY_HANDLE);
    now.transaction_ = test::make<struct stm_transaction>();
    ::ioctl(attempt.observer.get(), STM_IOC_INFO, &now.info_);
    ::ioctl(attempt.observer.get(), STM_IOC_STATISTICS, &now.statistics_);
    if (attempt.fd)
        ::ioctl(attempt.fd.get(), STM_IOC_TRANSACTION, &now.transaction_);

    const auto same = [&](unsigned long long before, unsigned long long after, const char* what) {
        if (before != after)
            attempt.wrong(std::string(what) + " was " + std::to_string(before) + ", is " +
                          std::to_string(after));
    };
    same(info_.region_size, now.info_.region_size, "the size");
    same(info_.mode, now.info_.mode, "the mode");
    same(info_.handles, now.info_.handles, "the number of handles");
    same(info_.reads, now.info_.reads, "the count of read calls");
    same(info_.writes, now.info_.writes, "the count of write calls");
    if (!site.leaves_traces_in_mappings) {
        same(info_.mappings, now.info_.mappings, "the number of mappings");
        same(info_.faults, now.info_.faults, "the count of faults");
    }
    same(statistics_.starts, now.statistics_.starts, "the count of starts");
    same(statistics_.commits, now.statistics_.commits, "the count of commits");
    same(statistics_.read_only, now.statistics_.read_only, "the count of read-only commits");
    same(statistics_.calls, now.statistics_.calls, "the count of single calls");
    same(statistics_.restarts, now.statistics_.restarts, "the count of restarts");
    same(statistics_.waits, now.statistics_.waits, "the count of waits");
    same(statistics_.waiting, now.statistics_.waiting, "the number of waiting threads");
    // A single call, or a commit, is a transaction: that it ended so is what these counts are for.
    for (unsigned reason = 0; reason < STM_REASONS; ++reason) {
        const bool may_end = reason == STM_REASON_NO_MEMORY || reason == STM_REASON_FAULT ||
                             reason == STM_REASON_CANCEL || reason == STM_REASON_RETRY;
        const unsigned long long most = statistics_.aborts[reason] + (may_end ? 1 : 0);
        if (now.statistics_.aborts[reason] > most)
            same(statistics_.aborts[reason], now.statistics_.aborts[reason],
                 ("the count of aborts for reason " + std::to_string(reason)).c_str());
    }
    if (site.ends_transaction) {
        same(0, now.transaction_.depth, "the transaction's depth");
    } else {
        same(transaction_.depth, now.transaction_.depth, "the transaction's depth");
        same(transaction_.stripes_written, now.transaction_.stripes_written,
             "the size of the write set");
    }
    same(0, now.transaction_.doom, "the transaction's doom");
    if (attempt.contents() != contents_)
        attempt.wrong("the bytes of the region have changed");
}

void State::expect_nothing_committed(Try& attempt) const {
    auto now = test::make<struct stm_statistics>(STM_BY_HANDLE);
    auto transaction = test::make<struct stm_transaction>();
    ::ioctl(attempt.observer.get(), STM_IOC_STATISTICS, &now);
    ::ioctl(attempt.fd.get(), STM_IOC_TRANSACTION, &transaction);
    attempt.expect(now.commits == statistics_.commits, "the count of commits has changed");
    attempt.expect(now.aborts[STM_REASON_NO_MEMORY] == statistics_.aborts[STM_REASON_NO_MEMORY] + 1,
                   "not one abort for want of memory");
    attempt.expect(transaction.depth == 0 && transaction.doom == 0, "a transaction is left");
    attempt.expect(attempt.contents() == contents_, "the bytes of the region have changed");
}

Totals Totals::now() {
    auto version = test::make<struct stm_version>();
    test::request(STM_IOC_VERSION, &version);
    const int next = ::fcntl(0, F_DUPFD, 0);
    ::close(next);
    return {version.regions, version.bytes, version.resident_bytes, next};
}

std::string Totals::text() const {
    return std::to_string(regions) + " regions, " + std::to_string(bytes) + " bytes, " +
           std::to_string(resident) + " resident, first free descriptor " +
           std::to_string(next_descriptor);
}

} // namespace stm::sweep
