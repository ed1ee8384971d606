// SPDX-License-Identifier: GPL-2.0
// All that can be seen of a region and of the calling thread's transaction, to find out whether a
// call that failed has left anything.
#pragma once

#include "site.hpp"

namespace stm::sweep {

class State {
public:
    static State of(const Try& attempt);
    // What has changed until now and must not, as the problems of `attempt`.
    void expect_unchanged(Try& attempt, const Site& site) const;
    // The same, of a transaction that was running and is over.
    void expect_nothing_committed(Try& attempt) const;
    [[nodiscard]] const std::vector<char>& contents() const { return contents_; }

private:
    struct stm_info info_ {};
    struct stm_statistics statistics_ {};
    struct stm_transaction transaction_ {};
    std::vector<char> contents_;
};

// What all tries together must leave as it was.
struct Totals {
    unsigned regions;
    unsigned long long bytes, resident;
    int next_descriptor;

    static Totals now();
    bool operator==(const Totals&) const = default;
    [[nodiscard]] std::string text() const;
};

} // namespace stm::sweep
